"""Sessions outlive their processes, and those that nobody answers end."""

from __future__ import annotations

import asyncio

from gateway.postgres.database import Database
from tests.agency.test_recovery import is_, lose, until
from tests.chat.clients import letters
from tests.conftest import StartGateway
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, silence
from tests.sessions.asking import driving
from tests.shelf import make_readers
from tests.team import make_team


async def test_a_session_goes_on_in_another_process(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway()
    team = await make_readers(one, "baker")
    upstream.script("manager", say(-1, "bread"), say(team["baker"], "Rye?"), say(0, "3."))
    session = await driving(one, team["manager"]).begin()
    await one.resources.engine.runner.close()
    other = await start_gateway()
    driver = driving(other, team["manager"])
    assert await driver.read(session) == session
    session = await driver.answer(session, 1, passages=[])
    assert session["state"] == "call_agent"
    third = await start_gateway()
    session = await driving(third, team["manager"]).answer(session, 2, context="3")
    assert session["message"] == "3."
    assert [party for _, party, _ in letters(upstream.calls[-1])] == [
        0,
        -1,
        -1,
        team["baker"],
        team["baker"],
    ]
    await check(database)


async def test_one_that_thinks_is_taken_up_when_its_process_is_lost(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one, other = await start_gateway(lease=0.6), await start_gateway(lease=0.6)
    team = await make_readers(one)
    upstream.script("manager", silence(), say(-1, "bread"), say(0, "3."))
    session = await driving(one, team["manager"]).begin(wait=0)
    await upstream.arrived()
    lose(one)
    driver = driving(other, team["manager"])
    session = await driver.read(session)
    assert session["state"] == "search"
    assert (await driver.answer(session, 1, passages=[]))["message"] == "3."
    await check(database)


async def test_a_process_that_ends_hands_its_sessions_over(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    one, other = await start_gateway(), await start_gateway()
    team = await make_team(one)
    upstream.script("manager", silence(), say(0, "Done."))
    session = await driving(one, team["manager"]).begin(wait=0)
    await upstream.arrived()
    waiting = asyncio.create_task(driving(one, team["manager"]).read(session))
    await asyncio.sleep(0.05)
    one.resources.drain.begin()
    assert (await waiting)["state"] in ("thinking", "resolved")
    assert (await driving(other, team["manager"]).read(session))["message"] == "Done."


async def test_one_that_nobody_answers_for_an_hour_has_expired(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("manager", say(team["baker"], "Rye?"), say(team["baker"], "Sure?"))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    left = "extract(epoch FROM lease_until - now())"
    (row,) = await database.fetch(f"SELECT {left} AS left, owner_node FROM turn")  # noqa: S608
    assert 3500 < row["left"] <= 3600
    assert row["owner_node"] is None
    await database.execute("UPDATE turn SET lease_until = now() + interval '10 minutes'")
    session = await driver.answer(session, 1, context="3")
    assert session["state"] == "call_agent"
    (row,) = await database.fetch(f"SELECT {left} AS left FROM turn")  # noqa: S608
    assert row["left"] > 3500
    await database.execute("UPDATE turn SET lease_until = now() - interval '1 second'")
    await until(lambda: is_(database, "cancelled"))
    session = await driver.read(session)
    assert (session["state"], session["error"]["code"]) == ("failed", "session_expired")
    assert (await driver.late(session, 2, context="3"))["state"] == "failed"


async def test_an_answer_of_a_process_that_is_lost_at_once_is_not_lost(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """What was answered is written; whoever sweeps next goes on with it."""
    one = await start_gateway(lease=0.6)
    team = await make_team(one, "baker")
    upstream.script("manager", say(team["baker"], "Rye?"), silence(), say(0, "3."))
    driver = driving(one, team["manager"])
    session = await driver.begin()
    assert (await driver.answer(session, 1, wait=0, context="3"))["state"] == "thinking"
    await upstream.arrived("manager", 2)
    lose(one)
    assert (await driver.read(session))["message"] == "3."
    assert upstream.calls[1].messages == upstream.calls[2].messages
    await check(database)


async def test_an_agent_that_was_deleted_meanwhile_fails(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker", "clerk")
    upstream.script("baker", say(team["clerk"], "Rye?"))
    driver = driving(gateway, team["baker"])
    session = await driver.begin()
    await gateway.http.delete(f"/api/agencies/{team.id}/agents/{team['baker']}")
    answer = await driver.give(session, 1, context="3")
    assert answer.status_code == 404
    (row,) = await database.fetch("SELECT conversation_id FROM turn")
    await gateway.resources.engine.set_drive(row["conversation_id"], "auto")
    await until(lambda: is_(database, "failed"))
