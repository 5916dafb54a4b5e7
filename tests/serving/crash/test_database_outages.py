"""Postgres is restarted or out of reach while teams answer. Callers are answered, or told by a 503
when to come again; what was accepted is completed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.postgres.database import Database, open_database
from gateway.postgres.migrate import migrate
from gateway.postgres.postmaster import Postmaster
from tests.postgres import OPTIONS
from tests.scripted import ScriptedUpstream
from tests.serving.crash.conftest import Spawn
from tests.serving.crash.proxy import FAULTS, FaultProxy, Mode
from tests.serving.crash.scenes import staged

AWAY_S = 2.0
DELAY_S = 0.3
BREAKS = 12
INTERRUPTED = 2
"""How often a model call may be made again: its answer could not be written, or the lease ran out
before it was."""


# ---- restarted ----------------------------------------------------------------------------------


@pytest.fixture
def own_postgres(data_dir: Path) -> Iterator[Postmaster]:
    """A server of the test's own, which it may stop."""
    # Committed is committed, also for a server that is stopped at once.
    options = {**OPTIONS, "synchronous_commit": "on"}
    server = Postmaster(data_dir / "postgres", options)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_dsn(own_postgres: Postmaster) -> str:
    await migrate(own_postgres.dsn)
    return own_postgres.dsn


async def in_order(server: Postmaster, directory: Path) -> None:
    """Every connection is told to end."""
    await asyncio.to_thread(server.stop)


async def at_once(server: Postmaster, directory: Path) -> None:
    """As after a power cut: the next start must recover."""
    pid = int((directory / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    async with asyncio.timeout(20):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.02)


Stop = Callable[[Postmaster, Path], Awaitable[None]]


@pytest.mark.parametrize("stop", [in_order, at_once], ids=lambda stop: stop.__name__)
async def test_postgres_is_restarted(
    stop: Stop,
    own_dsn: str,
    own_postgres: Postmaster,
    spawn: Spawn,
    upstream: ScriptedUpstream,
    data_dir: Path,
) -> None:
    pair = await asyncio.gather(*(spawn(name, DATABASE_URL=own_dsn) for name in ("one", "other")))
    async with (
        open_database(own_dsn) as database,
        staged(pair, upstream, database, seed=1) as scene,
    ):
        scene.ask("before")
        await scene.counting.next_call(pair[0])
        await stop(own_postgres, data_dir / "postgres")
        scene.ask("meanwhile")
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(own_postgres.start)
        await asyncio.gather(*(process.ready() for process in pair))
        scene.ask("after")
        await scene.check(interrupted=INTERRUPTED)
        assert scene.door.caller.met["503"], "nobody was told that the database was away"


# ---- out of reach -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", FAULTS, ids=lambda mode: mode.value)
async def test_postgres_is_out_of_reach(
    mode: Mode,
    postgres_proxy: FaultProxy,
    proxied_dsn: str,
    spawn: Spawn,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    pair = await asyncio.gather(
        *(spawn(name, DATABASE_URL=proxied_dsn) for name in ("one", "other"))
    )
    async with staged(pair, upstream, database, seed=2) as scene:
        scene.ask("before")
        await scene.counting.next_call(pair[0])
        async with postgres_proxy.fault(mode, seconds=DELAY_S):
            scene.ask("meanwhile")
            await asyncio.sleep(AWAY_S)
        scene.ask("after")
        await scene.check(interrupted=INTERRUPTED)


async def test_connections_break_again_and_again(
    postgres_proxy: FaultProxy,
    proxied_dsn: str,
    spawn: Spawn,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    """Some of them after a commit of which nobody was told."""
    pair = await asyncio.gather(
        *(spawn(name, DATABASE_URL=proxied_dsn) for name in ("one", "other"))
    )
    async with staged(pair, upstream, database, seed=4) as scene:
        for number in range(BREAKS):
            if number % 4 == 0:
                scene.ask(f"{number}")
            await asyncio.sleep(scene.chance.uniform(0.02, 0.3))
            await postgres_proxy.connected()
            async with postgres_proxy.fault(Mode.RESET):
                pass
        await scene.check(interrupted=BREAKS)


async def test_postgres_is_out_of_reach_of_one_process_alone(
    postgres_proxy: FaultProxy,
    proxied_dsn: str,
    spawn: Spawn,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    """The other one takes its turns over, and it writes nothing when it is back."""
    cut, whole = await asyncio.gather(spawn("cut", DATABASE_URL=proxied_dsn), spawn("whole"))
    async with staged((cut, whole), upstream, database, seed=3) as scene:
        scene.door.caller.processes = [cut]
        scene.ask("before", most=1)
        await scene.counting.next_call(cut)
        scene.note_hits(cut)
        cut.lost.add(cut.caller)
        scene.door.caller.processes = [cut, whole]
        async with postgres_proxy.fault(Mode.CUT):
            await scene.answered()
        await scene.check()
        assert scene.hits, "nothing ran when it was cut off"
