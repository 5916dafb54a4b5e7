"""What tests stand on. See `postgres`, `running` and `scripted` for how it is made."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest

from gateway.postgres.database import Database, open_database
from tests import integrity, postgres
from tests.running import Gateway, running_gateway, settings_for
from tests.scripted import ScriptedUpstream

# Clients in tests call servers on this machine, and nothing else.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

# A busy machine is no fault of what is tested.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "mutants", hypothesis.settings.get_profile("suite"), max_examples=20, derandomize=True
)
hypothesis.settings.load_profile("suite")


class StartGateway(Protocol):
    """`await start_gateway(dsn=…, workers=…)`: settings by name, and whose database it uses."""

    def __call__(self, *, dsn: str | None = None, **settings: object) -> Awaitable[Gateway]: ...


def server_directory(testrun_uid: str) -> Path:
    """What the workers of one run share."""
    return Path(tempfile.gettempdir()) / f"gateway-tests-{testrun_uid}"


@pytest.fixture(scope="session")
def postgres_server(testrun_uid: str) -> Iterator[str]:
    """The server's DSN. All xdist workers share one server; the last to leave stops it."""
    shared = server_directory(testrun_uid)
    with postgres.template(shared) as dsn:
        yield dsn
    if not (shared / "postgres" / "postmaster.pid").exists():
        shutil.rmtree(shared, ignore_errors=True)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Where a Postgres may live. Not below `tmp_path`: each start of pytest closes that to others,
    and as root Postgres is another."""
    with tempfile.TemporaryDirectory(prefix="gateway-test-") as directory:
        yield Path(directory).resolve()


@pytest.fixture
async def dsn(postgres_server: str) -> AsyncIterator[str]:
    """A migrated, empty database of the test's own."""
    async with postgres.clone(postgres_server) as fresh:
        yield fresh


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """A pool on the test's database, the one that `gateway` uses too."""
    async with open_database(dsn) as opened:
        yield opened


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """The model server that `gateway` calls; it does what the test scripts."""
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def start_gateway(
    dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> AsyncIterator[StartGateway]:
    """Starts gateways over one database, with the settings that a test names."""
    async with AsyncExitStack() as running:

        async def start(*, dsn: str | None = None, **settings: object) -> Gateway:
            base = {"openai_base_url": upstream.base_url, **settings}
            configured = settings_for(tmp_path, **base)
            return await running.enter_async_context(running_gateway(dsn or own, configured))

        own = dsn
        yield start
    async with open_database(own, pool_size=1) as database:
        await integrity.check(database)


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A running gateway over `dsn`, with `upstream` as its model."""
    return await start_gateway()
