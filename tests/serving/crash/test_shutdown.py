"""A process that is told to end hands its turns over at once, and ends, however many follow it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from gateway.postgres.database import Database
from tests.scripted import ScriptedUpstream
from tests.serving.crash.conftest import Spawn
from tests.serving.crash.processes import Process
from tests.serving.crash.proxy import FaultProxy, Mode
from tests.serving.crash.scenes import staged
from tests.streams.reading import following

STREAMS = 200
END_S = 10.0
DELAY_S = 0.3
"""What each round trip to Postgres takes."""
LEASE_S = 60
"""So long that whoever is answered was not kept waiting for it."""


@pytest.mark.parametrize("door", ["rpc", "chat"])
async def test_a_process_that_ends_hands_its_turns_over_and_says_goodbye(
    door: str, spawn: Spawn, upstream: ScriptedUpstream, database: Database
) -> None:
    one, other = await asyncio.gather(
        spawn("one", GATEWAY_LEASE_S=LEASE_S), spawn("other", GATEWAY_LEASE_S=LEASE_S)
    )
    async with staged((one, other), upstream, database, door=door, slow=4.0) as scene:
        async with AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(following(one.http, conversation))
                for conversation in scene.conversations
                for _ in range(STREAMS // len(scene.conversations) + 1)
            ]
            scene.door.caller.processes = [one]
            scene.ask("the end")
            await scene.counting.next_call(one)
            await asyncio.sleep(0.3)
            scene.note_hits(one)
            scene.door.caller.processes = [one, other]
            code, seconds = await one.terminate()
            assert (code, seconds < END_S) == (0, True), (code, seconds, one.said())
            for stream in streams:
                await stream.until(lambda one: one.ended)
                assert stream.comments[-1].startswith("goodbye")
        assert scene.hits, "no turn ran"
        await scene.check()
        assert not scene.counting.open_calls(one)


async def test_what_nobody_waits_for_is_handed_over_however_slow_that_is(
    spawn: Spawn,
    postgres_proxy: FaultProxy,
    proxied_dsn: str,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    """No connection is open that would keep the server from ending meanwhile."""
    one, other = await asyncio.gather(
        spawn("one", GATEWAY_LEASE_S=LEASE_S, DATABASE_URL=proxied_dsn),
        spawn("other", GATEWAY_LEASE_S=LEASE_S),
    )
    async with staged((one, other), upstream, database, slow=4.0, readers_at=[1]) as scene:
        scene.door.caller.processes = [one]
        for number, conversation in enumerate(scene.conversations):
            await scene.door.say(conversation, f"What of {number}.0?", streamed=True)
        scene.note_hits(one)
        assert scene.hits, "no turn ran"
        async with postgres_proxy.fault(Mode.DELAY, seconds=DELAY_S):
            code, seconds = await one.terminate()
        assert (code, seconds < END_S) == (0, True), (code, seconds, one.said())
        await scene.check()


async def test_a_process_ends_at_once_if_nothing_runs(pair: tuple[Process, Process]) -> None:
    """What it says to Redis in the end is the first that it says."""
    for process in pair:
        code, seconds = await process.terminate()
        assert (code, seconds < END_S) == (0, True), (code, seconds, process.said())
