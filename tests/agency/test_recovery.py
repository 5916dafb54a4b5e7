"""Turns outlive the process that runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from openai import APIStatusError

from gateway.postgres.database import Database, Row
from tests.chat.clients import Chat, letters, retry
from tests.conftest import StartGateway
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, silence
from tests.team import make_team


async def only_turn(database: Database) -> Row:
    (row,) = await database.fetch("SELECT * FROM turn")
    return row


async def until(found: Callable[[], Awaitable[bool]], within: float = 6.0) -> None:
    async with asyncio.timeout(within):
        while not await found():
            await asyncio.sleep(0.02)


async def is_(database: Database, state: str) -> bool:
    return bool((await only_turn(database))["state"] == state)


def lose(gateway: Gateway) -> None:
    """What happens to the turns of a process that is killed: they are run no further, and nobody
    says so. (Its listeners would see their connections break.)"""
    engine = gateway.resources.engine
    for running in list(engine.runner.running.held.values()):
        running.task.cancel()
    engine.runner.running.held.clear()


async def leave(asking: asyncio.Task[Any]) -> None:
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking


async def test_a_retry_waits_for_a_turn_that_another_process_runs(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    one, other = await start_gateway(), await start_gateway()
    ann = Chat(one, await make_team(one))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "Once.", hold=hold))
    again = ann.branch()
    again.gateway = other
    first = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    second = asyncio.create_task(again.say("Hi", **retry()))
    await asyncio.sleep(0.3)
    hold.set()
    assert [await first, await second] == ["Once.", "Once."]
    assert ann.raw == again.raw


async def test_a_turn_that_one_process_suspended_is_resumed_by_another(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one, other = await start_gateway(), await start_gateway()
    team = await make_team(one, "programmer")
    upstream.script("manager", say(team["programmer"], "Q"), silence(), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "A"))
    ann = Chat(one, team, history=[{"role": "system", "content": "Rhyme!"}])
    again = ann.branch()
    again.gateway = other
    asking = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived("manager", 2)
    await leave(asking)
    await until(lambda: is_(database, "suspended"))
    assert await again.say("Hi") == "Done."
    before, after = upstream.calls_of("manager")[1:]
    assert after.messages == before.messages
    assert "Rhyme!" in after.messages[0]["content"]
    assert [call.agent for call in upstream.calls].count("programmer") == 1
    await check(database)


async def test_a_lost_process_has_its_turn_finished_once_by_another(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=1.0)
    team = await make_team(one, "programmer")
    upstream.script("manager", say(team["programmer"], "Q"), silence(), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "A"))
    ann = Chat(one, team)
    again = ann.branch()
    asking = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived("manager", 2)
    lose(one)
    others = [await start_gateway(lease=3.0) for _ in range(2)]
    again.gateway = others[0]
    assert await again.say("Hi", **retry()) == "Done."
    turn = await only_turn(database)
    assert (turn["state"], turn["attempt"], turn["fence"]) == ("completed", 2, 2)
    steps = await database.fetch("SELECT attempt FROM step ORDER BY version")
    assert [row["attempt"] for row in steps] == [1, 1, 2]
    assert upstream.calls_of("manager")[1].messages == upstream.calls_of("manager")[2].messages
    assert len(upstream.calls) == 4
    await leave(asking)


async def test_a_turn_without_a_client_is_finished_too(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=1.0)
    ann = Chat(one, await make_team(one))
    upstream.script("manager", silence(), say(0, "Done."))
    again = ann.branch()
    asking = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    lose(one)
    await until(lambda: is_(database, "completed"))
    assert await again.say("Hi", **retry()) == "Done."
    await leave(asking)


async def test_a_process_that_was_frozen_writes_nothing_more(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """Another has taken the turn meanwhile; whoever listened to the first is given its answer."""
    one, other = await start_gateway(lease=60.0), await start_gateway(lease=60.0)
    ann = Chat(one, await make_team(one))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "Stale.", hold=hold), say(0, "Right."))
    again = ann.branch()
    again.gateway = other
    first = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    await database.execute("UPDATE turn SET lease_until = now() - interval '1 second'")
    assert await again.say("Hi", **retry()) == "Right."
    hold.set()
    assert await first == "Right."
    said = await database.fetch("SELECT content FROM interaction ORDER BY ordinal")
    assert [row["content"] for row in said] == ["Hi", "Right."]


async def test_a_process_learns_that_its_turn_was_taken_or_cancelled(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one, other = await start_gateway(lease=0.9), await start_gateway(lease=0.9)
    ann = Chat(one, await make_team(one))
    upstream.script("manager", silence())
    asking = asyncio.create_task(ann.say("Hi"))
    call = await upstream.arrived()
    turn = await only_turn(database)
    assert await other.resources.engine.cancel(turn["id"])
    with pytest.raises(APIStatusError) as refused:
        await asyncio.wait_for(asking, 2)
    assert refused.value.code == "turn_cancelled"
    await asyncio.wait_for(call.disconnected.wait(), 10)
    assert not await other.resources.engine.cancel(turn["id"])


async def test_a_turn_that_kills_its_processes_fails_with_a_reason(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=0.3)
    ann = Chat(one, await make_team(one))
    upstream.script("manager", *[silence()] * 3, say(0, "Afresh."))
    asking = asyncio.create_task(ann.branch().say("Hi"))
    for attempt in (1, 2, 3):
        await upstream.arrived("manager", attempt)
        assert (await only_turn(database))["attempt"] == attempt
        lose(one)
    await until(lambda: is_(database, "failed"))
    assert "3 processes in a row were lost" in (await only_turn(database))["error"]
    assert await ann.say("Hi") == "Afresh."
    await leave(asking)


async def test_losses_with_a_finished_step_between_them_do_not_add_up(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=0.3)
    team = await make_team(one, "programmer")
    ann = Chat(one, team)
    asked = say(team["programmer"], "Q")
    upstream.script("manager", silence(), silence(), asked, silence(), silence(), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "A"))
    asking = asyncio.create_task(ann.branch().say("Hi"))
    for call in (1, 2, 4, 5):  # the third finishes a step
        await upstream.arrived("manager", call)
        lose(one)
    await until(lambda: is_(database, "completed"))
    assert (await only_turn(database))["attempt"] == 5
    await leave(asking)


async def test_a_turn_that_loses_its_processes_over_one_answer_ends_though_it_had_begun_well(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=0.3)
    team = await make_team(one, "programmer")
    upstream.script("manager", say(team["programmer"], "Q"), *[silence()] * 4)
    upstream.script("programmer", say(team["manager"], "A"))
    asking = asyncio.create_task(Chat(one, team).say("Hi"))
    for call in (2, 3, 4, 5):  # the first attempt finished steps, and the next three none
        await upstream.arrived("manager", call)
        lose(one)
    await until(lambda: is_(database, "failed"))
    assert "at the same place" in (await only_turn(database))["error"]
    assert len(upstream.calls_of("manager")) == 5
    await leave(asking)


async def test_one_that_cannot_be_taken_up_does_not_keep_the_others_back(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=0.6)
    team = await make_team(one)
    upstream.script("manager", *[silence()] * 2, say(0, "Done."))
    asking = []
    for number in (1, 2):
        asking.append(asyncio.create_task(Chat(one, team).say(f"Hi {number}")))
        await upstream.arrived("manager", number)
    first, second = await database.fetch("SELECT id FROM turn ORDER BY id")
    lose(one)
    await database.execute("UPDATE turn SET request = '[]' WHERE id = $1", first["id"])

    async def done() -> bool:
        row = await database.fetchrow("SELECT state FROM turn WHERE id = $1", second["id"])
        return row is not None and row["state"] == "completed"

    await until(done)

    async def given_up() -> bool:
        row = await database.fetchrow("SELECT state FROM turn WHERE id = $1", first["id"])
        return row is not None and row["state"] == "failed"

    await until(given_up)
    for task in asking:
        await leave(task)


async def test_a_process_that_ends_leaves_its_turns_to_the_next(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one, other = await start_gateway(), await start_gateway()
    ann = Chat(one, await make_team(one))
    upstream.script("manager", silence(), say(0, "Done."))
    again = ann.branch()
    again.gateway = other
    asking = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    await one.resources.engine.runner.close()
    with pytest.raises(APIStatusError) as refused:
        await asking
    assert refused.value.status_code == 503
    assert refused.value.response.headers["retry-after"] == "1"
    turn = await only_turn(database)
    assert (turn["state"], turn["attempt"]) == ("suspended", 1)
    assert await again.say("Hi", **retry()) == "Done."


async def test_a_process_ends_though_the_database_is_away(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its turns are another's once their leases have run out."""
    one = await start_gateway(lease=0.6)
    ann = Chat(one, await make_team(one))
    upstream.script("manager", silence(), say(0, "Done."))
    again = ann.branch()
    asking = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    await database.execute("ALTER TABLE turn RENAME TO hidden")
    await one.resources.engine.runner.close()
    with pytest.raises(APIStatusError) as refused:
        await asking
    assert refused.value.status_code == 503
    (winding_down,) = (t for t in asyncio.all_tasks() if t.get_name() == "wind turns down")
    one.resources.drain.begin()
    await asyncio.wait_for(winding_down, 5)
    assert "turns could not be given up" in caplog.text
    await database.execute("ALTER TABLE hidden RENAME TO turn")
    again.gateway = await start_gateway(lease=0.6)
    assert await again.say("Hi", **retry()) == "Done."


async def test_a_turn_of_a_deleted_agency_fails_when_it_is_resumed(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=0.6)
    team = await make_team(one)
    upstream.script("manager", silence())
    asking = asyncio.create_task(Chat(one, team).say("Hi"))
    await upstream.arrived()
    lose(one)
    await one.http.delete(f"/api/agencies/{team.id}")
    await until(lambda: is_(database, "failed"))
    assert "deleted" in (await only_turn(database))["error"]
    await leave(asking)


async def test_a_resumed_turn_shows_its_agents_what_they_had_seen(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """Imported history, several inputs and earlier turns included."""
    one = await start_gateway(lease=0.6)
    team = await make_team(one, "programmer")
    ann = Chat(one, team)
    ann.history = [
        {"role": "user", "content": "elsewhere"},
        {"role": "assistant", "content": "said"},
    ]
    upstream.script("manager", say(0, "A1"))
    await ann.say("one")
    ann.history += [
        {"role": "user", "content": "unknown"},
        {"role": "assistant", "content": "tail"},
        {"role": "user", "content": "two"},
    ]
    upstream.script("manager", say(team["programmer"], "Q"), silence(), say(0, "A2"))
    upstream.script("programmer", say(team["manager"], "A"))
    again = ann.branch()
    asking = asyncio.create_task(ann.say("and three"))
    await upstream.arrived("manager", 3)
    lose(one)
    assert await again.say("and three", **retry()) == "A2"
    before, after = upstream.calls_of("manager")[2:]
    assert letters(after) == letters(before)
    assert after.messages == before.messages
    await leave(asking)


async def test_a_lost_database_ends_no_keeper_and_leaves_no_listener_waiting(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=2.0)
    ann = Chat(one, await make_team(one))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "Lost.", hold=hold), say(0, "Kept."))
    again = ann.branch()
    asking = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    await database.execute("ALTER TABLE turn RENAME TO hidden")
    await asyncio.sleep(0.5)
    hold.set()
    with pytest.raises(APIStatusError) as refused:
        await asking
    assert refused.value.status_code >= 500
    await database.execute("ALTER TABLE hidden RENAME TO turn")
    assert await again.say("Hi", **retry()) in ("Lost.", "Kept.")
    turn = await only_turn(database)
    assert turn["state"] == "completed"


async def test_a_turn_that_cannot_be_suspended_is_not_waited_for_in_vain(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """Its row is out of reach when its client goes away: the lease runs out, then it goes on."""
    one = await start_gateway(lease=0.6)
    ann = Chat(one, await make_team(one))
    upstream.script("manager", silence(), say(0, "Done."))
    again = ann.branch()
    asking = asyncio.create_task(ann.say("Hi"))
    call = await upstream.arrived()
    await database.execute("ALTER TABLE turn RENAME TO hidden")
    await leave(asking)
    await asyncio.wait_for(call.disconnected.wait(), 10)
    await database.execute("ALTER TABLE hidden RENAME TO turn")
    assert await again.say("Hi", **retry()) == "Done."
