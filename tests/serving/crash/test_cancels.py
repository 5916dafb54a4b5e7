"""A turn can be cancelled at any process: the one that runs it hangs up on its model."""

from __future__ import annotations

import asyncio

import pytest

from gateway.postgres.database import Database
from tests.scripted import ScriptedUpstream, silence
from tests.serving.crash.callers import DOORS, Caller, Door
from tests.serving.crash.counting import MANAGER
from tests.serving.crash.processes import Process
from tests.team import make_team

OPEN_TURN = "SELECT 'turn_' || replace(id::text, '-', '') AS id FROM turn WHERE state = 'running'"


async def ask(door: Door) -> None:
    await door.say(await door.open(), "How long?")


@pytest.mark.parametrize("door", ["rpc", "chat"])
async def test_a_turn_is_cancelled_from_the_other_process(
    door: str, pair: tuple[Process, Process], upstream: ScriptedUpstream, database: Database
) -> None:
    one, other = pair
    team = await make_team(one)  # type: ignore[arg-type]
    upstream.always(MANAGER, silence())
    asking = asyncio.create_task(ask(DOORS[door](Caller([one], 0), team)))
    call = await upstream.arrived(MANAGER)
    (turn,) = await database.fetch(OPEN_TURN)
    cancelled = await other.http.post(f"/api/turns/{turn['id']}/cancel")
    assert cancelled.status_code == 200, cancelled.text
    assert cancelled.json()["state"] == "cancelled"
    await asyncio.wait_for(call.disconnected.wait(), 10)
    with pytest.raises(AssertionError, match="turn_cancelled"):
        await asyncio.wait_for(asking, 5)
    assert len(upstream.calls_of(MANAGER)) == 1
    again = await one.http.post(f"/api/turns/{turn['id']}/cancel")
    assert again.status_code == 409
