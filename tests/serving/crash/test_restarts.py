"""Whole deployments come and go: turns go on wherever there is a process again."""

from __future__ import annotations

import asyncio

from gateway.postgres.database import Database
from tests.scripted import Call, ScriptedUpstream, say, silence
from tests.scripted.server import Step
from tests.serving.crash.callers import Caller, Rpc
from tests.serving.crash.conftest import Spawn
from tests.serving.crash.counting import MANAGER
from tests.serving.crash.invariants import all_ended
from tests.serving.crash.processes import Process
from tests.serving.crash.scenes import staged
from tests.team import make_team

LEASE_S = 60
"""So long that whoever is answered was not kept waiting for it."""
MORE_THAN_ATTEMPTS = 3


async def test_all_processes_are_killed_at_once(
    pair: tuple[Process, Process], upstream: ScriptedUpstream, database: Database
) -> None:
    async with staged(pair, upstream, database, seed=30) as scene:
        scene.ask("the end", most=3)
        await scene.counting.next_call(skip=3)
        for process in pair:
            scene.note_hits(process)
        await asyncio.gather(*(process.kill() for process in pair))
        assert scene.hits, "no turn ran"
        await asyncio.gather(*(process.restart() for process in pair))
        await scene.check()


async def test_processes_are_replaced_one_after_the_other(
    spawn: Spawn, upstream: ScriptedUpstream, database: Database
) -> None:
    """As by an orchestrator: nobody waits for a lease, and no step is lost."""
    one, other = await asyncio.gather(
        *(spawn(name, GATEWAY_LEASE_S=LEASE_S) for name in ("one", "other"))
    )
    async with staged((one, other), upstream, database, seed=31) as scene:
        for process in (one, other, one):
            scene.ask(f"before {process.caller}", most=3)
            await scene.counting.next_call()
            scene.note_hits(process)
            code, _ = await process.terminate()
            assert code == 0, process.said()
            await process.restart()
        await scene.check()
        assert scene.hits, "no turn was handed over"


async def test_a_turn_may_be_handed_over_any_number_of_times(
    spawn: Spawn, upstream: ScriptedUpstream, database: Database
) -> None:
    """Only a process that was lost costs an attempt."""
    pair = await asyncio.gather(
        *(spawn(name, GATEWAY_LEASE_S=LEASE_S) for name in ("one", "other"))
    )
    team = await make_team(pair[0])  # type: ignore[arg-type]

    def step(call: Call) -> Step:
        late = len(upstream.calls_of(MANAGER)) > MORE_THAN_ATTEMPTS
        return say(0, "At last.") if late else silence()

    upstream.always(MANAGER, step)
    upstream.always("*", say(0, "A title"))
    door = Rpc(Caller(pair, 0), team)
    conversation = await door.open()
    asking = asyncio.create_task(door.say(conversation, "How long?"))
    for number in range(1, MORE_THAN_ATTEMPTS + 1):
        call = await upstream.arrived(MANAGER, number, within=20)
        caller = call.headers["authorization"].removeprefix("Bearer ")
        process = next(process for process in pair if process.caller == caller)
        await process.terminate()
        assert call.disconnected.is_set()
        await process.restart()
    assert await asking == "At last."
    await all_ended(database)
    (turn,) = await database.fetch("SELECT state, attempt FROM turn")
    assert (turn["state"], turn["attempt"]) == ("completed", 1)
