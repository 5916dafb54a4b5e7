"""What a session asks, and what answers do to it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.postgres.database import Database
from tests.chat.clients import letters
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, say_many, silence, status, text
from tests.sessions.asking import driving, talk, turn_of
from tests.shelf import make_readers
from tests.team import make_team


async def test_an_agent_that_needs_nobody_is_resolved_at_once(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("baker", say(0, "Rye."))
    session = await driving(gateway, team["baker"]).begin("What bread?")
    assert (session["state"], session["message"], session["step"]) == ("resolved", "Rye.", 1)
    assert (session["agent_id"], session["conversation_id"]) == (team["baker"], None)
    assert "You alone speak with the end user" in upstream.calls[0].messages[0]["content"]
    (row,) = await database.fetch("SELECT owner_type, owner_identifier, drive FROM conversation")
    assert tuple(row) == ("session", "root", "manual")


async def test_a_search_is_answered_with_passages(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_readers(gateway)
    upstream.script("manager", say(-1, "bread"), say(0, "3."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    assert (session["state"], session["step"]) == ("search", 1)
    assert session["search"] == {"query": "bread", "collections": ["prices"], "limit": 5}
    passages = [{"text": "Rye is 3.", "source": "prices.md", "score": 0.9}, {"text": "Buns."}]
    session = await driver.answer(session, 1, passages=passages)
    assert (session["state"], session["message"], session["step"]) == ("resolved", "3.", 2)
    sender, told = upstream.calls[1].inbound[-1]
    assert sender == -1
    assert told.split("\n") == [
        "Found for: bread",
        '{"number":1,"source":"prices.md","text":"Rye is 3."}',
        '{"number":2,"source":null,"text":"Buns."}',
    ]


async def test_a_search_that_found_nothing_is_an_answer_too(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_readers(gateway)
    upstream.script("manager", say(-1, "bread"), say(0, "Nothing."))
    driver = driving(gateway, team["manager"])
    session = await driver.answer(await driver.begin(), 1, passages=[])
    assert session["state"] == "resolved"
    assert upstream.calls[1].inbound[-1] == (-1, "Nothing was found for: bread")


async def test_a_call_of_another_agent_is_answered_in_its_place(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker")
    manager, baker = team["manager"], team["baker"]
    upstream.script("manager", say(baker, "Rye?"), say(0, "3."))
    driver = driving(gateway, manager)
    session = await driver.begin()
    assert (session["state"], session["call"]) == (
        "call_agent",
        {"to": baker, "context": "Rye?"},
    )
    session = await driver.answer(session, 1, context="It is 3.")
    assert session["message"] == "3."
    assert [row for row in await talk(database) if row[0] == baker] == [
        (baker, "user", manager, baker, "Rye?"),
        (baker, "assistant", baker, manager, "It is 3."),
    ]
    assert [call.agent for call in upstream.calls] == ["manager", "manager"]
    await check(database)


async def test_several_envelopes_at_once_are_steps_one_after_the_other(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_readers(gateway, "baker", "clerk")
    upstream.script(
        "manager",
        say_many((team["baker"], "Rye?"), (-1, "bread"), (team["clerk"], "Price?")),
        say(0, "3."),
    )
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    seen = []
    while session["state"] != "resolved":
        seen.append((session["state"], session["step"]))
        given = {"passages": []} if session["state"] == "search" else {"context": "Yes."}
        session = await driver.answer(session, session["step"], **given)
    assert seen == [("call_agent", 1), ("search", 2), ("call_agent", 3)]
    assert [sender for sender, _ in upstream.calls[1].inbound] == [
        0,
        team["baker"],
        -1,
        team["clerk"],
    ]


async def test_a_resolved_message_may_be_empty(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, ""))
    session = await driving(gateway, team["manager"]).begin()
    assert (session["state"], session["message"]) == ("resolved", "")


async def test_a_failure_is_told_with_its_reason(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", status(422))
    session = await driving(gateway, team["manager"]).begin()
    assert session["state"] == "failed"
    assert session["error"]["code"]
    assert session["error"]["message"]


async def test_what_was_said_before_comes_with_the_messages(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("baker", say(0, "Rye."))
    await driving(gateway, team["baker"]).begin(
        [
            {"role": "system", "content": "Rhyme!"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
    )
    (call,) = upstream.calls
    assert call.messages[0]["content"].endswith("Rhyme!")
    assert letters(call) == [("user", 0, "one"), ("assistant", 0, "two"), ("user", 0, "three")]


async def test_while_it_thinks_one_may_wait_or_ask_again(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    hold = asyncio.Event()
    upstream.script("manager", say(0, "Done.", hold=hold))
    driver = driving(gateway, team["manager"])
    session = await driver.begin(wait=0)
    assert (session["state"], session["step"]) == ("thinking", 1)
    assert (await driver.answer(session, 1, wait=0.05))["state"] == "thinking"
    assert (await driver.read(session, wait=0.05))["state"] == "thinking"
    asking = asyncio.create_task(driver.answer(session, 1))
    await asyncio.sleep(0.05)
    hold.set()
    assert (await asking)["message"] == "Done."
    assert (await driver.answer(session, 1))["message"] == "Done."


async def test_the_same_answer_to_the_same_step_may_be_sent_again(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_readers(gateway, "baker")
    upstream.script("manager", say(-1, "bread"), say(team["baker"], "Rye?"), say(0, "3."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    passages = [{"text": "Rye is 3."}]
    for _ in range(2):
        session = await driver.answer(session, 1, passages=passages)
        assert (session["state"], session["step"]) == ("call_agent", 2)
    for _ in range(2):
        session = await driver.answer(session, 2, context="3")
        assert session["state"] == "resolved"
    assert (await driver.answer(session, 1, passages=passages))["state"] == "resolved"
    assert len(upstream.calls) == 3
    rows = await database.fetch("SELECT 1 FROM message WHERE from_id IN (-1, $1)", team["baker"])
    assert len(rows) == 3


async def test_another_answer_or_a_wrong_step_is_told_how_it_stands(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_readers(gateway, "baker")
    upstream.script("manager", say(-1, "bread"), say(team["baker"], "Rye?"), say(0, "3."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    assert (await driver.late(session, 2, passages=[]))["state"] == "search"
    assert (await driver.late(session, 7))["step"] == 1
    await driver.answer(session, 1, passages=[])
    now = await driver.late(session, 1, passages=[{"text": "Other."}])
    assert (now["state"], now["step"]) == ("call_agent", 2)
    assert (await driver.late(session, 1, context="x"))["step"] == 2
    assert (await driver.late(session, 1))["step"] == 2
    await driver.answer(session, 2, context="3")
    assert (await driver.late(session, 3, context="x"))["state"] == "resolved"


async def test_an_answer_of_the_wrong_kind_is_told_what_is_awaited(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_readers(gateway, "baker")
    upstream.script("manager", say(-1, "bread"), say(team["baker"], "Rye?"), say(0, "3."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    for given in ({"context": "x"}, {"context": "x", "passages": []}):
        refused = await driver.give(session, 1, **given)
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert (error["code"], error["param"]) == ("wrong_answer", "passages")
        assert "Step 1 is a search" in error["message"]
    await driver.answer(session, 1, passages=[])
    for given in ({"passages": []}, {"context": "x", "passages": []}):
        error = (await driver.give(session, 2, **given)).json()["error"]
        assert (error["code"], error["param"]) == ("wrong_answer", "context")
    assert (await driver.answer(session, 2, context="3"))["state"] == "resolved"


async def test_two_answers_that_race_are_one(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("manager", say(team["baker"], "Rye?"), say(0, "3."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    answers = await asyncio.gather(
        *(driver.give(session, 1, context=f"It is {number}.") for number in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]
    assert len(upstream.calls) == 2
    said = await database.fetch("SELECT 1 FROM message WHERE from_id = $1", team["baker"])
    assert len(said) == 2  # the twins of one
    await check(database)


async def test_a_session_can_be_cancelled_in_any_state(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "baker")
    driver = driving(gateway, team["manager"])
    upstream.script("manager", silence(), say(team["baker"], "Rye?"), say(0, "3."))
    thinking = await driver.begin(wait=0)
    call = await upstream.arrived()
    for session in (thinking, await driver.begin()):
        gone = await driver.cancel(session)
        assert (gone["state"], gone["error"]["code"]) == ("failed", "turn_cancelled")
        assert await driver.cancel(session) == gone
        assert (await driver.late(session, session["step"], context="x"))["state"] == "failed"
    await asyncio.wait_for(call.disconnected.wait(), 10)
    done = await driver.begin()
    assert (await driver.cancel(done))["state"] == "resolved"


async def test_prose_and_unknown_addresses_go_back_as_in_a_team(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("manager", say(-1, "bread"), text("Well..."), say(0, "3."))
    session = await driving(gateway, team["manager"]).begin()
    assert session["message"] == "3."
    assert "Your message to -1 was not delivered" in upstream.calls[1].inbound[-1][1]


async def test_limits_hold(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    limits = {"limits": {"model_calls": 2}}
    team = await make_team(gateway, "baker", settings=limits)
    baker = team["baker"]
    upstream.script("manager", say(baker, "One?"), say(baker, "Two?"), say(0, "Enough."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    for step in (1, 2):
        session = await driver.answer(session, step, context="Yes.")
    assert (session["state"], session["message"]) == ("resolved", "Enough.")
    assert "limit of 2" in upstream.calls[-1].inbound[-1][1]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [{"role": "user", "content": "Hi"}], "conversation_id": "conv_1"},
        {"messages": [{"role": "nobody", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": "\u0000"}]},
        {"messages": "Hi"},
    ],
)
async def test_a_session_that_begins_with_nothing_is_refused(
    gateway: Gateway, body: dict[str, object]
) -> None:
    team = await make_team(gateway)
    path = f"/api/agents/{team['manager']}/sessions"
    refused = await gateway.http.post(path, json=body)
    assert refused.status_code == 400, refused.text
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}


async def test_answers_that_cannot_be_stored_are_refused(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("manager", say(team["baker"], "Rye?"))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    for given in ({"context": "\u0000"}, {"context": 3}, {"passages": [{"source": "x"}]}):
        assert (await driver.give(session, 1, **given)).status_code == 400
    refused = await driver.give(session, 1, contxt="3")  # that was no question how it stands
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "contxt")
    for step in (0, -1, "x"):
        assert (await driver.give(session, step, context="x")).status_code == 400
    assert (await driver.read(session))["state"] == "call_agent"


async def test_a_turn_shows_what_was_answered_by_hand(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("manager", say(team["baker"], "Rye?"), say(0, "3."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    turn = (await gateway.http.get(f"/api/turns/{turn_of(session)}")).json()
    assert (turn["state"], turn["responder"]) == ("waiting", f"agent/{team['manager']}")
    await driver.answer(session, 1, context="3")
    turn = (await gateway.http.get(f"/api/turns/{turn_of(session)}")).json()
    assert [(m["from"], m["to"], m["kind"]) for m in turn["messages"]] == [
        (None, team["manager"], "question"),
        (team["baker"], team["manager"], "answer"),
    ]
