from __future__ import annotations

import pytest

from tests.rooms.asking import Caller, calling
from tests.running import Gateway


@pytest.fixture
async def ann(gateway: Gateway) -> Caller:
    """A caller who may converse and nothing else."""
    return await calling(gateway, "ann")


@pytest.fixture
async def bob(gateway: Gateway) -> Caller:
    return await calling(gateway, "bob")
