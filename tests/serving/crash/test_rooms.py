"""Messages are posted to rooms while processes are killed: each is accepted once, in its sender's
order, and answered, and in the end nobody is seen at work."""

from __future__ import annotations

import asyncio

import pytest

from gateway import ids
from gateway.postgres.database import Database
from tests.scripted import ScriptedUpstream
from tests.serving.crash.callers import ROOMS
from tests.serving.crash.invariants import all_ended
from tests.serving.crash.processes import Process
from tests.serving.crash.scenes import Scene, staged
from tests.serving.crash.transcripts import Transcript

SEEDS = (50,)
KILLS = 3
RESTS_S = 20.0
"""What people do is looked after every five seconds."""
# What people say to be doing has been over for a minute.
_AGE = "UPDATE participant SET status_until = now() WHERE status_until IS NOT NULL"
_BUSY = "SELECT FROM participant WHERE status NOT IN ('idle', 'offline')"
_TWICE = """
    SELECT content FROM interaction GROUP BY conversation_id, content HAVING count(*) > 1
"""


async def check_rest(scene: Scene) -> None:
    """Nobody works any more, and nobody is seen to. Who was told so, was told all of it."""
    await scene.database.execute(_AGE)
    async with asyncio.timeout(RESTS_S):
        while await scene.database.fetch(_BUSY):
            await asyncio.sleep(0.05)
    assert not await scene.database.fetch(_TWICE)
    for transcript in scene.transcripts:
        bodies = [
            (await process.http.get(f"{ROOMS}/{transcript.channel}")).json()
            for process in scene.processes
        ]
        assert bodies[0] == bodies[1]
        conversation = ids.read(ids.CONVERSATION, transcript.channel)
        row = await scene.database.fetchrow(
            "SELECT version FROM conversation WHERE id = $1", conversation
        )
        assert row is not None
        async with asyncio.timeout(10):
            while not transcript.reached(row["version"]):
                await asyncio.sleep(0.02)
        assert seen(transcript) == {
            (one["kind"], one["identifier"]): one["status"] for one in bodies[0]["participants"]
        }


def seen(transcript: Transcript) -> dict[tuple[str, str], str]:
    """What everybody does, as a client shows it."""
    shown: dict[tuple[str, str], str] = {}
    for one in transcript.told:
        match one.name:
            case "snapshot" | "reset":
                people = one.data["conversation"]["participants"]
            case "participant.updated":
                people = [one.data["participant"]]
            case _:
                people = []
        shown |= {(who["kind"], who["identifier"]): who["status"] for who in people}
    return shown


@pytest.mark.parametrize("seed", SEEDS)
async def test_rooms_outlive_the_process(
    seed: int, pair: tuple[Process, Process], upstream: ScriptedUpstream, database: Database
) -> None:
    async with staged(pair, upstream, database, door="rooms", seed=seed) as scene:
        for number in range(KILLS):
            scene.ask(f"Ann of {seed}.{number}", most=3)
            scene.ask(f"her phone of {seed}.{number}")
            victim = await scene.at_some_point()
            await scene.lose(victim)
            await victim.restart()
            await scene.answered()
            await all_ended(database)
        await scene.check()
        await check_rest(scene)
        scene.check_waits()
