"""Who answers what agents ask: somebody outside, or the gateway. It may change at any time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.agency.turn.request import Posted
from gateway.auth import Principal, Scope
from gateway.errors import NotFound
from gateway.postgres.database import Database
from tests.agency.test_recovery import is_, until
from tests.chat.asking import ask, text
from tests.chat.clients import letters
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, say_many
from tests.sessions.asking import Body, driving, talk
from tests.shelf import Passage, Shelf, lend, make_readers
from tests.team import Team, make_team

PRICES = {"bread": [Passage("Rye is 3.", "prices.md")], "rye": [Passage("It is dark.")]}


def script(upstream: ScriptedUpstream, team: Team) -> None:
    """A manager who asks both others and the library; the baker looks something up, too."""
    baker, clerk, manager = team["baker"], team["clerk"], team["manager"]
    upstream.script(
        "manager", say(-1, "bread"), say(baker, "Rye?"), say(clerk, "Stock?"), say(0, "3, dark.")
    )
    upstream.script("baker", say(manager, "It is dark."))
    upstream.script("clerk", say(manager, "Plenty."))


async def test_a_team_answers_through_the_sdk_and_by_hand_with_the_same_contexts(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    shelf = lend(Shelf(PRICES), gateway)
    team = await make_readers(gateway, "baker", "clerk")
    script(upstream, team)
    assert text(await ask(gateway, team, "What is rye?")) == "3, dark."
    by_itself = await talk(database)
    prompts = [letters(call) for call in upstream.calls_of("manager")]
    for table in ("message", "step", "turn", "interaction", "conversation"):
        await database.execute(f"DELETE FROM {table}")  # noqa: S608

    upstream.script(
        "manager",
        say(-1, "bread"),
        say(team["baker"], "Rye?"),
        say(team["clerk"], "Stock?"),
        say(0, "3, dark."),
    )
    driver = driving(gateway, team["manager"])
    session = await driver.begin("What is rye?")
    session = await driver.answer(
        session, 1, passages=[{"text": "Rye is 3.", "source": "prices.md"}]
    )
    session = await driver.answer(session, 2, context="It is dark.")
    session = await driver.answer(session, 3, context="Plenty.")
    assert session["message"] == "3, dark."
    assert await talk(database) == by_itself
    assert [letters(call) for call in upstream.calls_of("manager")[4:]] == prompts
    assert len(shelf.searches) == 1
    await check(database)


async def conversation(database: Database) -> Any:
    (row,) = await database.fetch("SELECT id FROM conversation")
    return row["id"]


async def test_a_session_that_is_left_to_the_gateway_goes_on_by_itself(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    shelf = lend(Shelf(PRICES), gateway)
    team = await make_readers(gateway, "baker", "clerk")
    script(upstream, team)
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    assert session["state"] == "search"
    await gateway.resources.engine.set_drive(await conversation(database), "auto")
    session = await driver.read(session)
    assert session["message"] == "3, dark."
    assert [search.query for search in shelf.searches] == ["bread"]
    assert [call.agent for call in upstream.calls] == [
        "manager",
        "manager",
        "baker",
        "manager",
        "clerk",
        "manager",
    ]
    await check(database)


async def test_what_was_answered_by_hand_is_not_asked_again_by_the_gateway(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    lend(Shelf(PRICES), gateway)
    team = await make_readers(gateway, "baker", "clerk")
    upstream.script(
        "manager",
        say_many((team["baker"], "Rye?"), (team["clerk"], "Stock?"), (-1, "bread")),
        say(team["baker"], "Sure?"),
        say(0, "3."),
    )
    upstream.script("clerk", say(team["manager"], "Plenty."))
    upstream.script("baker", say(team["manager"], "Sure."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    session = await driver.answer(session, 1, context="By hand.")
    assert session["call"]["to"] == team["clerk"]
    await gateway.resources.engine.set_drive(await conversation(database), "auto")
    assert (await driver.read(session))["message"] == "3."
    assert letters(upstream.calls_of("baker")[0]) == [
        ("user", team["manager"], "Rye?"),
        ("assistant", team["manager"], "By hand."),
        ("user", team["manager"], "Sure?"),
    ]
    await check(database)


async def test_a_turn_that_runs_waits_at_the_next_question(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    shelf = lend(Shelf(PRICES), gateway)
    team = await make_readers(gateway, "baker")
    hold = asyncio.Event()
    engine = gateway.resources.engine
    upstream.script(
        "manager", say(-1, "bread"), say(team["baker"], "Rye?", hold=hold), say(0, "3.")
    )
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    await engine.set_drive(await conversation(database), "auto")
    await upstream.arrived("manager", 2)
    await engine.set_drive(await conversation(database), "manual")
    hold.set()
    session = await driver.read(session)
    assert (session["state"], session["step"]) == ("call_agent", 2)
    assert (await driver.answer(session, 2, context="3"))["message"] == "3."
    assert len(shelf.searches) == 1
    await check(database)


async def test_agents_that_are_asked_meanwhile_are_heard_before_somebody_else_must_answer(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """The baker, who is called already, asks the clerk in turn: both questions wait."""
    team = await make_team(gateway, "baker", "clerk")
    hold = asyncio.Event()
    engine = gateway.resources.engine
    upstream.script("manager", say(team["baker"], "Rye?"), say(0, "3."))
    upstream.script("baker", say(team["clerk"], "Stock?", hold=hold))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    await engine.set_drive(await conversation(database), "auto")
    await upstream.arrived("baker")
    await engine.set_drive(await conversation(database), "manual")
    hold.set()
    session = await driver.read(session)
    assert session["call"] == {"to": team["baker"], "context": "Rye?"}
    assert (await driver.answer(session, 1, context="3"))["message"] == "3."
    await check(database)


async def test_to_drive_it_as_it_is_driven_changes_nothing(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("manager", say(team["baker"], "Rye?"))
    session = await driving(gateway, team["manager"]).begin()
    (before,) = await database.fetch("SELECT version FROM conversation")
    await gateway.resources.engine.set_drive(await conversation(database), "manual")
    (after,) = await database.fetch("SELECT version FROM conversation")
    assert before == after
    assert (await driving(gateway, team["manager"]).read(session)) == session


async def test_the_drive_may_change_in_a_transaction_of_ones_own(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    resources = gateway.resources
    team = await make_team(gateway, "baker")
    upstream.script("manager", say(team["baker"], "Rye?"), say(0, "3."))
    upstream.script("baker", say(team["manager"], "3"))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    async with resources.database.transaction():
        await resources.engine.set_drive(await conversation(database), "auto")
    assert (await driver.read(session))["message"] == "3."


# An agent in a conversation


def root() -> Principal:
    return Principal("root", frozenset(Scope), "root")


async def make_conversation(gateway: Gateway) -> Body:
    made = await gateway.http.post(
        "/rpc/2025-02-12/create_conversation",
        json={
            "idempotency_key": "1",
            "owner": {"type": "user", "identifier": "root"},
            "ai_relay_options": {"provider_id": "open_ai", "model_id": "gpt"},
        },
    )
    body: Body = made.json()
    return body


async def test_an_agent_answers_in_a_conversation_with_its_team_behind_it(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    lend(Shelf(PRICES), gateway)
    team = await make_readers(gateway, "baker", readers=("baker",))
    await make_conversation(gateway)
    upstream.always("*", say(0, "A title"))
    upstream.script("baker", say(-1, "rye"), say(team["manager"], "Price?"), say(0, "3."))
    upstream.script("manager", say(team["baker"], "3"))
    engine = gateway.resources.engine
    posted = Posted(await conversation(database), f"agent/{team['baker']}", "Rye?")
    posting, _ = await engine.post(posted, root())
    await engine.finish(posting.turn_id)
    said = await database.fetch("SELECT content, model_id FROM interaction ORDER BY ordinal")
    assert [row["content"] for row in said] == ["Rye?", "3."]
    assert said[1]["model_id"] == f"agent/{team['baker']}"
    first = upstream.calls_of("baker")[0].messages[0]["content"]
    assert "You alone speak with the end user" in first
    assert (
        "You don't speak with the end user"
        in upstream.calls_of("manager")[0].messages[0]["content"]
    )
    await check(database)


async def test_its_steps_are_somebody_elses_where_the_conversation_is_driven_by_hand(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker")
    made = await make_conversation(gateway)
    engine = gateway.resources.engine
    await engine.set_drive(await conversation(database), "manual")
    upstream.always("*", say(0, "A title"))
    upstream.script("baker", say(team["manager"], "Price?"), say(0, "3."))
    posting, _ = await engine.post(
        Posted(await conversation(database), f"agent/{team['baker']}", "Rye?"), root()
    )
    finishing = asyncio.create_task(engine.finish(posting.turn_id))
    await until(lambda: is_(database, "waiting"))
    driver = driving(gateway, team["baker"])
    (session,) = (await driver.list(state="call_agent"))["data"]
    assert session["conversation_id"] == made["conversation_id"]
    (row,) = await database.fetch("SELECT lease_until FROM turn")
    assert row["lease_until"] is None  # a room has time
    await driver.answer(session, 1, context="3")
    await finishing
    said = await database.fetch("SELECT content FROM interaction ORDER BY ordinal")
    assert [row["content"] for row in said] == ["Rye?", "3."]


async def test_only_who_may_define_an_agent_may_have_it_answer(
    gateway: Gateway, database: Database
) -> None:
    key = await gateway.key("bob", "agencies")
    team = await make_team(gateway, owner_key=key)
    await make_conversation(gateway)
    nobody = Principal("root", frozenset((Scope.CONVERSATIONS,)), "root")
    for responder in (f"agent/{team['manager']}", "agent/9999"):
        posted = Posted(await conversation(database), responder, "Hi")
        with pytest.raises(NotFound) as refused:
            await gateway.resources.engine.post(posted, nobody)
        assert refused.value.code == "agent_not_found"
