from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.postgres.database import open_database
from tests import integrity, postgres
from tests.conftest import StartGateway
from tests.remote.elsewhere import Elsewhere
from tests.running import Gateway
from tests.scripted import ScriptedUpstream

LOOPBACK = ("127.0.0.1/32",)


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    async with Elsewhere() as server:
        yield server


@pytest.fixture
async def near(start_gateway: StartGateway) -> Gateway:
    """A gateway whose operator lets it call this machine."""
    return await start_gateway(egress_allow=LOOPBACK)


@pytest.fixture
async def far_upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def far(
    postgres_server: str, start_gateway: StartGateway, far_upstream: ScriptedUpstream
) -> AsyncIterator[Gateway]:
    """Another gateway, with a database and models of its own."""
    async with postgres.clone(postgres_server) as dsn:
        settings = {"openai_base_url": far_upstream.base_url, "egress_allow": LOOPBACK}
        yield await start_gateway(dsn=dsn, **settings)
        async with open_database(dsn, pool_size=1) as database:
            await integrity.check(database)
