"""A gateway that offers two plain models."""

from __future__ import annotations

import pytest

from tests.conftest import StartGateway
from tests.plain.asking import MODEL, OTHER
from tests.running import Gateway


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(models=(MODEL, OTHER))
