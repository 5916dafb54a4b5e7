"""Processes are killed at moments of chance while a team answers: every turn is finished, once."""

from __future__ import annotations

import asyncio

import pytest

from gateway.postgres.database import Database
from tests.scripted import ScriptedUpstream
from tests.serving.crash.processes import Process
from tests.serving.crash.scenes import staged

KILLS = 4
"""In one test, whose gateways take as long to start as a few turns."""
DOORS = [("rpc", seed) for seed in range(7)] + [("chat", 7)]


@pytest.mark.parametrize(("door", "seed"), DOORS)
async def test_a_turn_outlives_the_process_that_runs_it(
    door: str,
    seed: int,
    pair: tuple[Process, Process],
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    async with staged(pair, upstream, database, door=door, seed=seed) as scene:
        for number in range(KILLS):
            scene.ask(f"{seed}.{number}")
            victim = await scene.at_some_point()
            await scene.lose(victim)
            await victim.restart()
            await scene.answered()
        await scene.check()
        scene.check_waits()


async def test_a_turn_outlives_two_processes(
    pair: tuple[Process, Process], upstream: ScriptedUpstream, database: Database
) -> None:
    """The one that took it up is killed, too."""
    async with staged(pair, upstream, database, seed=20, slow=4.0) as scene:
        scene.ask("both", most=1)
        first, second = scene.chance.sample(pair, 2)
        await scene.counting.next_call(first)
        await scene.lose(first)
        await scene.taken_up(second)
        await scene.lose(second)
        await asyncio.gather(first.restart(), second.restart())
        await scene.check()
        row = await database.fetchrow("SELECT max(attempt) AS attempts FROM turn")
        assert row is not None
        assert row["attempts"] == 3, "no turn was hit twice"
