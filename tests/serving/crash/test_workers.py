"""Four workers share one port: any of them may be asked, listened to, or told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack

import httpx

from gateway.postgres.database import Database
from tests.client import bearer
from tests.ports import free_port
from tests.running import ROOT_KEY
from tests.scripted import ScriptedUpstream, silence
from tests.serving.crash.conftest import Spawn
from tests.serving.crash.counting import MANAGER
from tests.serving.crash.processes import Process
from tests.serving.crash.scenes import staged
from tests.streams.reading import following
from tests.team import make_team

WORKERS = 4
READERS = 8
NODES = "SELECT DISTINCT owner_node FROM turn"


async def spawn_four(spawn: Spawn) -> Process:
    # Nobody searches here: it is enough that the index is said to be elsewhere.
    elsewhere = f"http://127.0.0.1:{free_port()}"
    return await spawn("four", GATEWAY_WORKERS=WORKERS, CHROMA_URL=elsewhere)


async def test_four_workers_are_as_good_as_one(
    spawn: Spawn, upstream: ScriptedUpstream, database: Database
) -> None:
    four = await spawn_four(spawn)
    async with (
        staged([four], upstream, database, conversations=6, door="chat") as scene,
        AsyncExitStack() as stack,
    ):
        streams = []
        for conversation in scene.conversations * (READERS // 2):
            # A connection of its own may be any worker's.
            http = await stack.enter_async_context(fresh(four.base_url))
            streams.append(await stack.enter_async_context(following(http, conversation)))
        for number in range(3):
            scene.ask(f"{number}")
        await scene.check()
        heads = {
            row["id"]: row["version"]
            for row in await database.fetch(
                "SELECT 'conv_' || replace(id::text, '-', '') AS id, version FROM conversation"
            )
        }
        for conversation, stream in zip(scene.conversations * (READERS // 2), streams, strict=True):
            await stream.until_version(heads[conversation])
            assert stream.ids == list(range(stream.ids[0], heads[conversation] + 1))
    assert len(await database.fetch(NODES)) > 1, "one worker did it all"
    code, _ = await four.terminate()
    assert code == 0, four.said()


async def test_a_worker_that_is_killed_is_replaced_and_its_turns_go_on(
    spawn: Spawn, upstream: ScriptedUpstream, database: Database
) -> None:
    four = await spawn_four(spawn)
    async with staged([four], upstream, database, conversations=4) as scene:
        scene.ask("before")
        await scene.counting.next_call(skip=2)
        busy = await database.fetch(f"{NODES} WHERE state = 'running'")
        assert busy, "no turn ran"
        victim = int(busy[0]["owner_node"].split(":")[1])
        assert victim in four.workers()
        os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(20):
            while victim in (workers := four.workers()) or len(workers) < WORKERS:
                await asyncio.sleep(0.05)
        scene.ask("after")
        await scene.check(interrupted=1)


async def test_a_turn_is_cancelled_at_whichever_worker_is_asked(
    spawn: Spawn, upstream: ScriptedUpstream, database: Database
) -> None:
    four = await spawn_four(spawn)
    team = await make_team(four)  # type: ignore[arg-type]
    upstream.always(MANAGER, silence())
    body = {"model": "m", "messages": [{"role": "user", "content": "How long?"}]}
    path = f"/api/agency/{team.id}/chat/completions"
    for number in range(WORKERS * 2):
        async with fresh(four.base_url) as asker, fresh(four.base_url) as canceller:
            asking = asyncio.create_task(asker.post(path, json=body))
            call = await upstream.arrived(count=number + 1)
            (turn,) = await database.fetch(
                "SELECT 'turn_' || replace(id::text, '-', '') AS id FROM turn "
                "WHERE state = 'running'"
            )
            cancelled = await canceller.post(f"/api/turns/{turn['id']}/cancel")
            assert cancelled.json()["state"] == "cancelled", cancelled.text
            assert (await asking).json()["error"]["code"] == "turn_cancelled"
            await asyncio.wait_for(call.disconnected.wait(), 10)


def fresh(base_url: str) -> httpx.AsyncClient:
    headers = bearer(ROOT_KEY)
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30)
