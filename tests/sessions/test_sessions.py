"""Whose sessions are whose, where they begin, and how those are found that wait."""

from __future__ import annotations

import asyncio

import pytest

from gateway.postgres.database import Database
from tests.chat.clients import Chat, letters, named
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, silence
from tests.sessions.asking import driver, driving, sound, turn_of
from tests.shelf import make_readers
from tests.team import make_team

# Where they begin


async def test_a_session_may_begin_from_a_conversation_and_writes_nothing_to_it(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker")
    ann = Chat(gateway, team)
    upstream.script("manager", say(0, "two"), say(0, "four"))
    await ann.say("one")
    await ann.say("three")
    before = await database.fetch("SELECT version, length FROM conversation")
    upstream.script("baker", say(0, "Rye."))
    driver = driving(gateway, team["baker"])
    session = await driver.begin(conversation_id=ann.conversation)
    assert session["state"] == "resolved"
    assert session["conversation_id"] == ann.conversation
    assert letters(upstream.calls[-1]) == [
        ("user", 0, "one"),
        ("assistant", 0, "two"),
        ("user", 0, "three"),
        ("assistant", 0, "four"),
        ("user", 0, ""),
    ]
    after = await database.fetch(
        "SELECT version, length FROM conversation WHERE owner_type = 'user'"
    )
    assert [tuple(row) for row in after] == [tuple(row) for row in before]


async def test_what_is_hidden_or_not_complete_does_not_come_along(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker")
    ann = Chat(gateway, team)
    upstream.script("manager", say(0, "two"), say(0, "four"), say(0, "six"))
    for word in ("one", "three", "five"):
        await ann.say(word)
    await database.execute("UPDATE interaction SET deleted_at = now() WHERE content = 'two'")
    await database.execute(
        "UPDATE interaction SET marked_as_excluded_at = now() WHERE content = 'three'"
    )
    await database.execute("UPDATE interaction SET completed_at = NULL WHERE content = 'six'")
    upstream.script("baker", say(0, "Rye."))
    await driving(gateway, team["baker"]).begin(conversation_id=ann.conversation)
    assert letters(upstream.calls[-1]) == [("user", 0, "one"), ("user", 0, "five")]
    await database.execute("UPDATE interaction SET completed_at = now() WHERE content = 'six'")


async def test_an_empty_conversation_can_be_answered(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    made = await gateway.http.post(
        "/rpc/2025-02-12/create_conversation",
        json={
            "idempotency_key": "1",
            "owner": {"type": "user", "identifier": "root"},
            "ai_relay_options": {"provider_id": "open_ai", "model_id": "gpt"},
        },
    )
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello?"))
    session = await driving(gateway, team["manager"]).begin(
        conversation_id=made.json()["conversation_id"]
    )
    assert session["message"] == "Hello?"


async def test_a_conversation_of_anothers_is_none(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    key = await gateway.key("bob", "agencies", "conversations", "chat")
    team = await make_team(gateway, owner_key=key)
    upstream.script("manager", say(0, "two"))
    bobs = Chat(gateway, team, key)
    await bobs.say("one")
    ours = await make_team(gateway)
    for conversation in (bobs.conversation, "conv_" + "0" * 32, "nonsense"):
        refused = await gateway.http.post(
            f"/api/agents/{ours['manager']}/sessions", json={"conversation_id": conversation}
        )
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "conversation_not_found"
    assert len(await database.fetch("SELECT 1 FROM conversation")) == 1


# Whose they are


async def test_an_agent_is_for_the_owner_of_its_agency_and_for_admins(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    key = await gateway.key("ann", "agencies")
    team = await make_team(gateway, "baker", owner_key=key, shared=True)
    upstream.script("manager", say(team["baker"], "Rye?"))
    ann = await driver(gateway, team["manager"], "ann")
    session = await ann.begin()
    assert (await driving(gateway, team["manager"]).read(session))["id"] == session["id"]
    bob = await driver(gateway, team["manager"], "bob", "conversations", "chat", "agencies")
    path = f"{bob.path}/{session['id']}"
    for answer in (
        await bob.http.post(bob.path, json={"messages": [{"role": "user", "content": "Hi"}]}),
        await bob.http.get(bob.path),
        await bob.http.get(path),
        await bob.http.post(f"{path}/answers", json={"step": 1, "context": "x"}),
        await bob.http.delete(path),
    ):
        assert answer.status_code == 404, answer.text
        assert answer.json()["error"]["code"] == "agent_not_found"
    assert (await ann.read(session))["state"] == "call_agent"


async def test_the_scope_is_asked_for(gateway: Gateway) -> None:
    team = await make_team(gateway)
    stranger = await driver(gateway, team["manager"], "root", "chat", "admin")
    assert (await stranger.http.get(stranger.path)).status_code == 403


@pytest.mark.parametrize("agent", [0, 99, 2**63, 10**30])
async def test_an_agent_that_is_not_there_has_none(gateway: Gateway, agent: int) -> None:
    answer = await gateway.http.get(f"/api/agents/{agent}/sessions")
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"]["code"] == "agent_not_found"


async def test_a_session_is_its_own_agents_alone(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("manager", say(0, "Done."))
    session = await driving(gateway, team["manager"]).begin()
    baker = driving(gateway, team["baker"])
    for name in (session["id"], turn_of(session), "sess_" + "0" * 32, "nonsense"):
        answer = await gateway.http.get(f"{baker.path}/{name}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "session_not_found"


async def test_a_session_is_in_no_list_of_conversations_and_takes_no_messages(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Done."))
    session = await driving(gateway, team["manager"]).begin()
    turn = (await gateway.http.get(f"/api/turns/{turn_of(session)}")).json()
    listed = await gateway.http.get(f"/api/agency/{team.id}/conversations")
    assert listed.json()["data"] == []
    page = await gateway.http.post(
        "/rpc/2025-02-12/list_conversations_with_interactions",
        json={"owner": {"type": "user", "identifier": "root"}},
    )
    assert page.json() == {"conversations": []}
    completions = await gateway.http.get("/v1/chat/completions")
    assert completions.json()["data"] == []
    refused = await gateway.http.post(
        f"/api/agency/{team.id}/chat/completions",
        json={"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
        headers=named(turn["conversation_id"])["extra_headers"],
    )
    assert refused.status_code == 404
    messages = await gateway.http.get(
        f"/api/agency/{team.id}/conversations/{turn['conversation_id']}/messages"
    )
    assert [one["data"]["text"] for one in messages.json()["data"]] == ["Hi", "Done."]


# Those that wait


async def test_sessions_are_listed_by_their_state(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_readers(gateway, "baker")
    driver = driving(gateway, team["manager"])
    upstream.script(
        "manager",
        say(-1, "bread"),
        say(team["baker"], "Rye?"),
        say(-1, "cake"),
        say(0, "Done."),
        silence(),
    )
    made = [await driver.begin() for _ in range(4)]
    made.append(await driver.begin(wait=0))
    gone = await driver.cancel(made[2])
    states = ["search", "call_agent", "failed", "resolved", "thinking"]
    assert [one["state"] for one in (await driver.list())["data"]] == states
    for state, session in zip(states, made, strict=True):
        (found,) = (await driver.list(state=state))["data"]
        assert found["id"] == session["id"]
    (found,) = (await driver.list(state="search"))["data"]
    assert found["search"]["query"] == "bread"
    assert (await driver.list(state="failed"))["data"] == [gone]
    assert (await gateway.http.get(driver.path, params={"state": "odd"})).status_code == 400
    assert (await driving(gateway, team["baker"]).list())["data"] == []


async def test_a_list_comes_in_pages(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_readers(gateway)
    upstream.always("manager", say(-1, "bread"))
    driver = driving(gateway, team["manager"])
    made = [(await driver.begin())["id"] for _ in range(5)]
    found, cursor = [], None
    while cursor or not found:
        query = {"limit": 2, "state": "search", **({"cursor": cursor} if cursor else {})}
        page = await driver.list(**query)
        found += [one["id"] for one in page["data"]]
        cursor = page["next_cursor"]
    assert found == made
    assert (await gateway.http.get(driver.path, params={"cursor": "x"})).status_code == 400


async def test_the_steps_of_an_agency_that_is_driven_by_hand_are_its_managers(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """Whoever waits at the chat door is answered when the last step has been."""
    team = await make_team(gateway, "baker")
    ann = Chat(gateway, team)
    upstream.script("manager", say(0, "Hello."), say(team["baker"], "Rye?"), say(0, "3."))
    await ann.say("Hi")
    (row,) = await database.fetch("SELECT id FROM conversation")
    await gateway.resources.engine.set_drive(row["id"], "manual")
    asking = asyncio.create_task(ann.say("What is rye?"))
    driver = driving(gateway, team["manager"])
    async with asyncio.timeout(20):
        while not (listed := (await driver.list(state="call_agent"))["data"]):
            await asyncio.sleep(0.02)
    (session,) = listed
    assert session["conversation_id"] == ann.conversation
    assert not asking.done()
    session = await driver.answer(session, 1, context="3")
    assert session["message"] == "3."
    assert await asking == "3."
    assert sound(await driver.read(session)) == session
