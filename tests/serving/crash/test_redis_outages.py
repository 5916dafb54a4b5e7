"""Redis is down, slow, restarted or flushed: no event is lost, and none is late for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway import ids
from gateway.postgres.database import Database
from tests.scripted import ScriptedUpstream
from tests.serving.crash.conftest import Spawn
from tests.serving.crash.processes import Process
from tests.serving.crash.proxy import FAULTS, FaultProxy, Mode
from tests.serving.crash.scenes import Scene, staged
from tests.serving.crash.transcripts import Transcript
from tests.streams.servers import RedisServer

LATE_S = 2.0
SLACK_S = 4.0
"""What a machine that does other things may take on top."""
AWAY_S = 2.5
DELAY_S = 0.2
WRITTEN = """
    SELECT s.version, extract(epoch FROM s.completed_at)::float AS at
    FROM step s JOIN turn t ON t.id = s.turn_id WHERE t.conversation_id = $1
"""


@pytest.fixture
async def proxied_pair(spawn: Spawn, redis_proxy: FaultProxy) -> tuple[Process, Process]:
    url = f"redis://127.0.0.1:{redis_proxy.port}/0"
    one, other = await asyncio.gather(*(spawn(name, REDIS_URL=url) for name in ("one", "other")))
    return one, other


async def lateness(transcript: Transcript, database: Database) -> list[float]:
    """Seconds between a step's commit and its telling, oldest first."""
    conversation = ids.read(ids.CONVERSATION, transcript.channel)
    told = {one.id: one.at + transcript.ahead for one in transcript.told}
    written = await database.fetch(WRITTEN, conversation)
    return [told[row["version"]] - row["at"] for row in written if row["version"] in told]


async def held(scene: Scene, fault: Callable[[], Awaitable[None]]) -> None:
    """Turns run at one process, their readers are at the other."""
    one, other = scene.processes
    scene.door.caller.processes = [one]
    scene.ask("before")
    await scene.counting.next_call(one)
    scene.ask("meanwhile")
    await fault()
    scene.ask("after")
    await scene.check()
    for transcript in scene.transcripts:
        assert [visit.process for visit in transcript.visits] == [other]
        late = await lateness(transcript, scene.database)
        assert len(late) > 8
        assert max(late) < LATE_S + SLACK_S, late


@pytest.mark.parametrize("mode", FAULTS, ids=lambda mode: mode.value)
async def test_redis_is_out_of_reach(
    mode: Mode,
    proxied_pair: tuple[Process, Process],
    redis_proxy: FaultProxy,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    async def fault() -> None:
        async with redis_proxy.fault(mode, seconds=DELAY_S):
            await asyncio.sleep(AWAY_S)

    async with staged(proxied_pair, upstream, database, readers_at=[1], seed=4) as scene:
        await held(scene, fault)


async def restarted(server: RedisServer) -> None:
    server.kill()
    await asyncio.sleep(1)
    server.start()


async def flushed(server: RedisServer) -> None:
    server.flush()


async def frozen(server: RedisServer) -> None:
    server.freeze()
    await asyncio.sleep(AWAY_S)
    server.thaw()


@pytest.mark.parametrize("fault", [restarted, flushed, frozen], ids=lambda fault: fault.__name__)
async def test_redis_is_in_trouble_itself(
    fault: Callable[[RedisServer], Awaitable[None]],
    pair: tuple[Process, Process],
    redis_server: RedisServer,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    async with staged(pair, upstream, database, readers_at=[1], seed=5) as scene:
        await held(scene, lambda: fault(redis_server))
