from __future__ import annotations

import pytest

from tests.rooms.asking import Caller, calling
from tests.running import Gateway
from tests.team import Team, make_team


@pytest.fixture
async def ann(gateway: Gateway) -> Caller:
    return await calling(gateway, "ann", "conversations", "chat")


@pytest.fixture
async def bob(gateway: Gateway) -> Caller:
    """A caller who may converse and nothing else."""
    return await calling(gateway, "bob")


@pytest.fixture
async def team(gateway: Gateway) -> Team:
    """An agency of ann's."""
    return await make_team(gateway, "programmer", owner_key=await gateway.key("ann", "agencies"))
