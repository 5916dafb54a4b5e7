"""The agents' contexts, as they are listed."""

from __future__ import annotations

import re

import pytest

from tests.chat.reading import ask, calling, consult, pages, refused
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say
from tests.team import Team, make_team

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def conversations(team: Team) -> str:
    return f"/api/agency/{team.id}/conversations"


def messages(team: Team, conversation_id: str) -> str:
    return f"{conversations(team)}/{conversation_id}/messages"


async def test_every_agent_has_a_context_of_its_own(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    manager, programmer = team["manager"], team["programmer"]
    consult(upstream, team)
    said = await ask(gateway, team, "How hard?", system="Be brief.")
    path = messages(team, said.conversation_id)
    listed = (await gateway.http.get(path, params={"agent_id": manager})).json()
    assert listed["next_cursor"] is None
    mine = listed["data"]
    assert [(m["role"], m["data"]) for m in mine] == [
        ("system", {"from": None, "to": manager, "text": "Be brief."}),
        ("user", {"from": None, "to": manager, "text": "How hard?"}),
        ("assistant", {"from": manager, "to": programmer, "text": "A secret question?"}),
        ("user", {"from": programmer, "to": manager, "text": "A secret reply."}),
        ("assistant", {"from": manager, "to": None, "text": "The answer."}),
    ]
    theirs = (await gateway.http.get(path, params={"agent_id": programmer})).json()["data"]
    assert [(m["role"], m["data"]["text"]) for m in theirs] == [
        ("user", "A secret question?"),
        ("assistant", "A secret reply."),
    ]
    assert mine[2] == {
        "message_id": mine[2]["message_id"],
        "conversation_id": said.conversation_id,
        "agent_id": manager,
        "role": "assistant",
        "linked_message_id": theirs[0]["message_id"],
        "data": mine[2]["data"],
        "date_created": mine[2]["date_created"],
    }
    assert theirs[0]["linked_message_id"] == mine[2]["message_id"]
    assert mine[1]["linked_message_id"] is None
    assert TIME.fullmatch(mine[2]["date_created"])


@pytest.mark.parametrize("limit", range(1, 9))
@pytest.mark.parametrize("agent", [None, "manager", "programmer"])
async def test_contexts_are_read_page_by_page(
    gateway: Gateway, upstream: ScriptedUpstream, limit: int, agent: str | None
) -> None:
    team = await make_team(gateway, "programmer")
    consult(upstream, team)
    said = await ask(gateway, team, "How hard?", system="Be brief.")
    path, query = messages(team, said.conversation_id), {}
    if agent is not None:
        query["agent_id"] = team[agent]
    whole = (await gateway.http.get(path, params=query)).json()["data"]
    assert len(whole) == {None: 7, "manager": 5, "programmer": 2}[agent]
    read = await pages(gateway.http, path, limit=limit, **query)
    assert [m for page in read for m in page["data"]] == whole
    assert all(len(page["data"]) == limit for page in read[:-1])
    assert read[-1]["data"]


async def test_all_contexts_stand_in_the_order_of_what_happened(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    consult(upstream, team)
    said = await ask(gateway, team, "How hard?")
    listed = (await gateway.http.get(messages(team, said.conversation_id))).json()["data"]
    assert [m["data"]["text"] for m in listed] == [
        "How hard?",
        "A secret question?",
        "A secret question?",
        "A secret reply.",
        "A secret reply.",
        "The answer.",
    ]


async def test_a_user_of_a_shared_agency_sees_what_was_said_to_them_alone(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    async with calling(gateway, "alice") as (alice, owner), calling(gateway, "bob") as (bob, key):
        team = await make_team(gateway, "programmer", owner_key=owner, shared=True)
        consult(upstream, team)
        said = await ask(gateway, team, "How hard?", key=key, system="Be brief.")
        path = messages(team, said.conversation_id)
        seen = await bob.get(path)
        assert [(m["role"], m["data"]["text"]) for m in seen.json()["data"]] == [
            ("system", "Be brief."),
            ("user", "How hard?"),
            ("assistant", "The answer."),
        ]
        assert await pages(bob, path, agent_id=team["programmer"]) == [
            {"data": [], "next_cursor": None}
        ]
        turn = await bob.get(f"/api/turns/{said.turn_id}")
        assert (turn.json()["steps"], turn.json()["messages"]) == (None, None)
        paged = [await bob.get(path, params={"limit": n}) for n in (1, 2)]
        for answer in (seen, turn, *paged, await bob.get(conversations(team))):
            assert "secret" not in answer.text
        assert len((await alice.get(path)).json()["data"]) == 7
        async with calling(gateway, "carl") as (carl, _):
            refused(await carl.get(path), 404, "conversation_not_found")


async def test_conversations_are_listed_newest_first(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team, other = await make_team(gateway), await make_team(gateway)
    upstream.always("manager", say(0, "Yes."))
    said = [await ask(gateway, team, f"Question {n}") for n in range(5)]
    await ask(gateway, other, "Elsewhere")
    await ask(gateway, team, "Not mine", key=await gateway.key("admin", "chat", "admin"))
    for limit in range(1, 7):
        read = await pages(gateway.http, conversations(team), limit=limit)
        listed = [one for page in read for one in page["data"]]
        assert [one["id"] for one in listed] == [one.conversation_id for one in reversed(said)]
        assert read[-1]["data"]
    assert listed[0] == {
        "id": said[-1].conversation_id,
        "agency_id": team.id,
        "title": "Question 4",
        "version": listed[0]["version"],
        "parent_id": None,
        "created_at": listed[0]["created_at"],
        "updated_at": listed[0]["updated_at"],
    }


async def test_what_is_not_there_is_not_found(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team, other = await make_team(gateway), await make_team(gateway)
    upstream.script("manager", say(0, "Yes."))
    said = await ask(gateway, team, "Question")
    for conversation_id in ("conv_0", "0", "conv_" + "0" * 32, said.turn_id):
        refused(await gateway.http.get(messages(team, conversation_id)), 404)
    refused(await gateway.http.get(messages(other, said.conversation_id)), 404)
    path = messages(team, said.conversation_id)
    for query in ({"cursor": "1"}, {"cursor": "1.x"}, {"limit": 0}, {"agent_id": 2**70}):
        refused(await gateway.http.get(path, params=query), 400)
    refused(await gateway.http.get(conversations(team), params={"cursor": "x"}), 400)
    unknown = await gateway.http.get(path, params={"agent_id": 999_999})
    assert unknown.json() == {"data": [], "next_cursor": None}


async def test_a_conversation_with_two_agencies_tells_each_owner_of_their_own(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    async with calling(gateway, "alice") as (_, one), calling(gateway, "bob") as (bob, key):
        hers = await make_team(gateway, "programmer", owner_key=one, shared=True)
        his = await make_team(gateway, owner_key=key)
        consult(upstream, hers)
        upstream.script("manager", say(0, "Also."))
        said = await ask(gateway, hers, "How hard?", key=key)
        await ask(gateway, his, "And now?", key=key, conversation=said.conversation_id)
        for team in (hers, his):
            answer = await bob.get(messages(team, said.conversation_id))
            assert answer.status_code == 200
            assert "secret" not in answer.text
        turns = (await bob.get(f"/api/conversations/{said.conversation_id}/turns")).json()["data"]
        read = [(await bob.get(f"/api/turns/{turn['id']}")).json() for turn in turns]
        assert [turn["steps"] is None for turn in read] == [True, False]


async def test_an_agency_of_somebody_else_is_not_there(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    async with calling(gateway, "alice") as (_, key), calling(gateway, "bob") as (bob, _):
        team = await make_team(gateway, owner_key=key)
        upstream.script("manager", say(0, "Yes."))
        said = await ask(gateway, team, "Question", key=key)
        for agency in (f"/api/agency/{team.id}", "/api/agency/999999", f"/api/agency/{2**80}"):
            for path in (
                "/conversations",
                f"/conversations/{said.conversation_id}/messages",
                "/chat/completions",
                f"/v1/chat/completions/{said.completion_id}",
                f"/chat/completions/{said.completion_id}/messages",
                "/models",
                "/v1/models/gpt-4o-mini",
            ):
                refused(await bob.get(agency + path), 404, "agency_not_found")
                refused(await gateway.anonymous.get(agency + path), 401)
