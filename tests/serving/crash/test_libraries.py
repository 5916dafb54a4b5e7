"""Processes are killed before, during and after searches, and while agents that were asked ask
others in turn: what was asked is answered, once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from gateway.postgres.database import Database
from tests.scripted import Call, ScriptedUpstream
from tests.serving.crash.books import Books
from tests.serving.crash.callers import Caller
from tests.serving.crash.counting import MANAGER
from tests.serving.crash.processes import Process
from tests.serving.crash.proxy import FaultProxy, Mode
from tests.serving.crash.researching import BIKE, COLLECTION, Researching, query
from tests.serving.crash.scenes import Scene, staged

SEEDS = (40,)
HELD_S = 0.4
"""How long each piece of a search takes on its way, while it is to be interrupted."""
# $1 what the library was asked, if it has not answered.
_SEARCHING = """
    SELECT FROM message q WHERE q.to_id = -1 AND q.text = $1 AND NOT EXISTS (
        SELECT FROM message a
        WHERE a.turn_id = q.turn_id AND a.from_id = -1 AND a.to_id = q.from_id)
"""


@dataclass
class Stage:
    scene: Scene
    chroma: FaultProxy
    database: Database

    async def call(self, like: Callable[[Call], bool]) -> Process:
        """Who makes such a call, while it is open."""
        return self.scene.life((await self.scene.counting.next_call(like=like)).caller)


def heard(call: Call, agent: str, sender: int) -> bool:
    """Whether it is this agent that speaks, and this one whom it heard last."""
    return call.agent == agent and call.inbound[-1][0] == sender


async def before(stage: Stage) -> None:
    """Who is about to ask the library is lost."""
    await lose_at(stage, lambda call: heard(call, MANAGER, 0))


async def during(stage: Stage) -> None:
    """The library's answer is on its way to the one who is lost."""
    async with stage.chroma.fault(Mode.DELAY, seconds=HELD_S):
        delayed = stage.chroma.counts.delayed
        asked = await stage.scene.counting.next_call(like=lambda call: heard(call, MANAGER, 0))
        search = query(MANAGER, asked.call.inbound[-1][1])
        async with asyncio.timeout(10):
            while stage.chroma.counts.delayed == delayed or not await searching(stage, search):
                await asyncio.sleep(0.005)
        victim = stage.scene.life(asked.caller)
        await stage.scene.lose(victim)
        assert await searching(stage, search), "the search had ended"
    await victim.restart()


async def after(stage: Stage) -> None:
    """What was found is in the rows, and who asked reads it."""
    await lose_at(stage, lambda call: heard(call, "programmer", -1))


async def nested(stage: Stage) -> None:
    """Who was asked by who was asked is about to answer."""
    await lose_at(stage, lambda call: call.agent == "designer")


async def lose_at(stage: Stage, like: Callable[[Call], bool]) -> None:
    victim = await stage.call(like)
    await stage.scene.lose(victim)
    await victim.restart()


async def searching(stage: Stage, search: str) -> bool:
    return bool(await stage.database.fetch(_SEARCHING, search))


MOMENTS: tuple[Callable[[Stage], Awaitable[None]], ...] = (before, during, after, nested)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_search_and_a_nested_call_outlive_the_process(
    seed: int,
    reading_pair: tuple[Process, Process],
    chroma_proxy: FaultProxy,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    books = Books(Caller(reading_pair, seed), COLLECTION)
    await books.open()
    await books.add(BIKE.text, source=BIKE.source)
    await books.ready(reading_pair[0], 1)
    stage = staged(reading_pair, upstream, database, seed=seed, playing=Researching)
    async with stage as scene:
        for moment in scene.chance.sample(MOMENTS, len(MOMENTS)):
            for process in reading_pair:
                assert [one["text"] for one in await books.query(process, "bicycle")] == [BIKE.text]
            hits = len(scene.hits)
            scene.ask(f"{seed} {moment.__name__}", most=1)
            await moment(Stage(scene, chroma_proxy, database))
            await scene.answered()
            assert moment is during or len(scene.hits) > hits, f"nothing was hit {moment.__name__}"
        await scene.check()
        scene.check_waits()
