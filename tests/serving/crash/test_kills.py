"""Processes are killed at moments of chance while a team answers: every turn is finished, once."""

from __future__ import annotations

import asyncio

import pytest

from gateway.database import Database
from tests.scripted import ScriptedUpstream
from tests.serving.crash.processes import LEASE_S, Process
from tests.serving.crash.scenes import Scene, staged

KILLS = 4
"""In one test, whose gateways take as long to start as a few turns."""
EARLY = 0.25
"""The share of kills that don't wait for a model call."""
WITHIN_S = LEASE_S + 2
SLACK_S = 6
"""What a machine that does other things may take on top."""

DOORS = [("rpc", seed) for seed in range(7)] + [("chat", 7)]


async def at_some_point(scene: Scene) -> Process:
    """While questions come in, or while models are asked. Whom to kill then."""
    early, skip = scene.chance.random() < EARLY, scene.chance.randrange(8)
    pause, victim = scene.chance.uniform(0, 0.3), scene.chance.choice(scene.processes)
    if not early:
        call = await scene.counting.next_call(skip=skip)
        victim = next(one for one in scene.processes if one.caller == call.caller)
    await asyncio.sleep(pause)
    return victim


async def lose(scene: Scene, victim: Process) -> None:
    scene.note_hits(victim)
    await victim.kill()


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
            victim = await at_some_point(scene)
            await lose(scene, victim)
            await victim.restart()
            await scene.answered()
        await scene.check()
        waits = scene.waits()
        assert waits, "no kill hit a turn"
        assert max(waits) < WITHIN_S + SLACK_S, waits


async def test_a_turn_outlives_two_processes(
    pair: tuple[Process, Process], upstream: ScriptedUpstream, database: Database
) -> None:
    """The one that took it up is killed, too."""
    async with staged(pair, upstream, database, seed=20, slow=4.0) as scene:
        scene.ask("both", most=1)
        first, second = scene.chance.sample(pair, 2)
        await scene.counting.next_call(first)
        await lose(scene, first)
        await scene.taken_up(second)
        await lose(scene, second)
        await asyncio.gather(first.restart(), second.restart())
        await scene.check()
        row = await database.fetchrow("SELECT max(attempt) AS attempts FROM turn")
        assert row is not None
        assert row["attempts"] == 3, "no turn was hit twice"
