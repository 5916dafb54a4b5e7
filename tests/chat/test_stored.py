"""Stored completions, through the real openai SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from tests.chat.reading import Said, ask, calling, consult, refused
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say
from tests.team import Team, make_team


def prefixes(team: Team) -> Iterator[str]:
    yield from (f"/api/agency/{team.id}", f"/api/agency/{team.id}/v1", "/v1")


async def ids_of(client: AsyncOpenAI, **query: object) -> list[str]:
    return [one.id async for one in client.chat.completions.list(**query)]  # type: ignore[arg-type]


async def test_a_completion_is_read_again(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello!"))
    created = await gateway.client(team.id).chat.completions.create(
        model="any",
        messages=[{"role": "user", "content": "Hi"}],
        metadata={"topic": "greeting"},
        temperature=0.5,
        seed=7,
    )
    for path in prefixes(team):
        read = await gateway.client(path=path).chat.completions.retrieve(created.id)
        kept = read.model_dump(exclude={"created"})
        asked = {
            "temperature": 0.5,
            "seed": 7,
            "top_p": None,
            "presence_penalty": None,
            "frequency_penalty": None,
            "response_format": None,
            "outdated": False,
        }
        assert kept == {**created.model_dump(exclude={"created"}), **asked}
        assert abs(read.created - created.created) <= 1


async def test_an_answer_is_outdated_once_its_question_was_edited(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Hello!"))
    said = await ask(gateway, team, "Hi")
    rooms = (await gateway.http.get("/api/conversations")).json()["data"]
    room = f"/api/conversations/{rooms[0]['id']}/messages"
    question = (await gateway.http.get(room)).json()["data"][-1]["id"]
    edited = await gateway.http.patch(f"{room}/{question}", json={"content": "Good morning"})
    assert edited.status_code == 200
    for path in prefixes(team):
        read = await gateway.client(path=path).chat.completions.retrieve(said.completion_id)
        assert read.model_dump()["outdated"] is True


async def test_completions_are_listed_in_pages(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    teams = [await make_team(gateway) for _ in range(3)]
    upstream.always("manager", say(0, "Yes."))
    said = [await ask(gateway, teams[n % 3], f"Question {n}") for n in range(7)]
    await ask(gateway, teams[0], "Forget it", store=False)
    everything = [one.completion_id for one in said]
    cases = [("/v1", everything), (f"/api/agency/{teams[0].id}", everything[::3])]
    for path, expected in cases:
        client = gateway.client(path=path)
        for limit in range(1, 9):
            assert await ids_of(client, limit=limit) == expected
            assert await ids_of(client, limit=limit, order="desc") == expected[::-1]
    first = (await gateway.http.get("/v1/chat/completions", params={"limit": 7})).json()
    assert [one["id"] for one in first.pop("data")] == everything
    ends = {"first_id": everything[0], "last_id": everything[-1]}
    assert first == {"object": "list", **ends, "has_more": False}
    none = await gateway.http.get("/v1/chat/completions", params={"after": everything[-1]})
    assert none.json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


async def test_completions_are_filtered(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Yes."))
    marks = [{"a": "1"}, {"a": "1", "b": "2"}, {"a": "2"}, None]
    said = [
        await ask(gateway, team, f"Question {n}", model=f"m{n % 2}", metadata=mark)
        for n, mark in enumerate(marks)
    ]
    names = [one.completion_id for one in said]
    client = gateway.client(team.id)
    assert await ids_of(client, metadata={"a": "1"}) == names[:2]
    assert await ids_of(client, metadata={"a": "1"}, limit=1) == names[:2]
    assert await ids_of(client, metadata={"a": "1", "b": "2"}) == names[1:2]
    assert await ids_of(client, metadata={"c": "1"}) == []
    assert await ids_of(client, model="m1") == [names[1], names[3]]
    assert await ids_of(client, model="m0", metadata={"a": "2"}) == names[2:3]


async def test_only_what_was_answered_at_the_chat_door_is_a_completion(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Yes."))
    first = await ask(gateway, team, "1")
    second = await ask(gateway, team, "1", "Yes.", "2")
    fork = await ask(gateway, team, "1", "Yes.", "Other")
    assert fork.conversation_id != first.conversation_id
    expected = [one.completion_id for one in (first, second, fork)]
    assert await ids_of(gateway.client(team.id)) == expected
    turns = await gateway.http.get(f"/api/conversations/{fork.conversation_id}/turns")
    copy = turns.json()["data"][0]["id"].replace("turn_", "chatcmpl-")
    with pytest.raises(NotFoundError):
        await gateway.client(team.id).chat.completions.retrieve(copy)


async def test_the_messages_of_a_completion(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway, "programmer")
    consult(upstream, team, "One.")
    upstream.script("manager", say(0, "Two."))
    await ask(gateway, team, "1", system="Be brief.")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    client = gateway.client(team.id)
    last = await client.chat.completions.create(
        model="m",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": "2"},
            {"role": "user", "content": [{"type": "text", "text": "3"}, picture]},  # type: ignore[list-item]
        ],
    )
    body = (await gateway.http.get(f"/v1/chat/completions/{last.id}/messages")).json()
    assert [(m["role"], m["content"]) for m in body["data"]] == [
        ("system", "Be brief."),
        ("user", "1"),
        ("assistant", "One."),
        ("user", "2"),
        ("user", "3"),
    ]
    assert body["data"][-1] == {
        "id": body["last_id"],
        "role": "user",
        "content": "3",
        "name": None,
        "refusal": None,
        "content_parts": [{"type": "text", "text": "3"}, picture],
    }
    assert body["data"][0]["content_parts"] is None
    names = [message["id"] for message in body["data"]]
    listing = client.chat.completions.messages.list
    for limit in range(1, 7):
        assert [m.id async for m in listing(last.id, limit=limit)] == names
        assert [m.id async for m in listing(last.id, limit=limit, order="desc")] == names[::-1]
    empty = await listing(last.id, after=names[-1])
    assert (empty.data, empty.has_more) == ([], False)


async def test_metadata_is_replaced(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Yes."))
    said = await ask(gateway, team, "Question", metadata={"a": "1"})
    completions = gateway.client(team.id).chat.completions
    for metadata in ({"b": "2"}, {"c": "é" * 512}, {}):
        changed = await completions.update(said.completion_id, metadata=metadata)
        assert changed.metadata == metadata  # type: ignore[attr-defined]
        assert await completions.retrieve(said.completion_id) == changed
    many = {str(n): "" for n in range(17)}
    for refused_one in (many, {"a": "x" * 513}, {"x" * 65: "a"}, {"a": "\x00"}):
        with pytest.raises(BadRequestError):
            await completions.update(said.completion_id, metadata=refused_one)
    assert await completions.retrieve(said.completion_id) == changed


async def test_a_deleted_completion_is_shown_to_nobody(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    client = gateway.client(team.id)
    upstream.script("manager", say(0, "One."))
    first = await ask(gateway, team, "1", system="Be brief.")
    consult(upstream, team, "Erased answer.")
    upstream.script("manager", say(0, "Three."), say(0, "Four."))
    second = await ask(gateway, team, "Erased question", conversation=first.conversation_id)
    third = await ask(gateway, team, "3", conversation=first.conversation_id)
    deleted = await client.chat.completions.delete(second.completion_id)
    assert deleted.model_dump() == {
        "id": second.completion_id,
        "object": "chat.completion.deleted",
        "deleted": True,
    }
    await ask(gateway, team, "4", conversation=first.conversation_id)
    assert upstream.calls[-1].inbound == [(0, "1"), (0, "3"), (0, "4")]
    assert "Erased" not in str(upstream.calls[-1].body)
    assert "secret" not in str(upstream.calls[-1].body)
    for act in (client.chat.completions.retrieve, client.chat.completions.delete):
        with pytest.raises(NotFoundError):
            await act(second.completion_id)
    assert second.completion_id not in await ids_of(client)
    for path in (
        f"/api/agency/{team.id}/conversations/{first.conversation_id}/messages",
        f"/api/turns/{second.turn_id}",
        f"/v1/chat/completions/{third.completion_id}/messages",
    ):
        answer = await gateway.http.get(path)
        assert answer.status_code == 200
        assert not re.search("Erased|secret", answer.text)


async def test_a_history_with_a_deleted_completion_begins_afresh(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "One."), say(0, "Two."), say(0, "Again."), say(0, "Anew."))
    first = await ask(gateway, team, "1")
    second = await ask(gateway, team, "1", "One.", "2")
    assert first.conversation_id == second.conversation_id
    await gateway.client(team.id).chat.completions.delete(first.completion_id)
    third = await ask(gateway, team, "1", "One.", "2", "Two.", "3")
    assert third.conversation_id != first.conversation_id
    assert upstream.calls[-1].inbound == [(0, "1"), (0, "2"), (0, "3")]
    retried = await gateway.http.post(
        f"/api/agency/{team.id}/chat/completions",
        json={"model": "m", "messages": [{"role": "user", "content": "1"}]},
        headers={"x-stainless-retry-count": "1"},
    )
    assert retried.json()["choices"][0]["message"]["content"] == "Anew."


async def test_a_deleted_completion_is_gone_from_forks_too(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Yes."))
    first = await ask(gateway, team, "Erased")
    second = await ask(gateway, team, "Erased", "Yes.", "2")
    fork = await ask(gateway, team, "Erased", "Yes.", "Other")
    last = await ask(gateway, team, "Erased", "Yes.", "Other", "Yes.", "Third")
    again = await ask(gateway, team, "Erased", "Yes.", "Other", "Yes.", "Fourth")
    rooms = [one.conversation_id for one in (second, last, again)]
    assert len({*rooms, fork.conversation_id}) == 3
    await gateway.client(team.id).chat.completions.delete(first.completion_id)
    for room in rooms:
        await ask(gateway, team, "Now?", conversation=room)
        assert "Erased" not in str(upstream.calls[-1].body)
        read = await gateway.http.get(f"/api/agency/{team.id}/conversations/{room}/messages")
        assert "Erased" not in read.text
        assert "Now?" in read.text


async def test_only_one_of_two_deletes_a_completion(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Yes."))
    said = await ask(gateway, team, "Question")
    path = f"/v1/chat/completions/{said.completion_id}"
    first = await gateway.http.delete(path)
    assert first.status_code == 200
    refused(await gateway.http.delete(path), 404, "completion_not_found")


async def test_completions_are_not_there_for_strangers(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    async with calling(gateway, "alice") as (alice, key), calling(gateway, "bob") as (bob, _):
        team = await make_team(gateway, owner_key=key, shared=True)
        upstream.script("manager", say(0, "Yes."))
        said = await ask(gateway, team, "Question", key=key)
        for base in prefixes(team):
            for name in (said.completion_id, "x", "chatcmpl-0", f"chatcmpl-{'0' * 32}"):
                path = f"{base}/chat/completions/{name}"
                refused(await bob.get(path), 404, "completion_not_found")
                refused(await bob.get(f"{path}/messages"), 404, "completion_not_found")
                refused(await bob.post(path, json={"metadata": {}}), 404, "completion_not_found")
                refused(await bob.delete(path), 404, "completion_not_found")
            assert (await bob.get(f"{base}/chat/completions")).json()["data"] == []
            mine = await alice.get(f"{base}/chat/completions/{said.completion_id}")
            assert mine.status_code == 200
            refused(await gateway.anonymous.get(f"{base}/chat/completions"), 401)
        refused(await alice.get("/v1/chat/completions", params={"after": "x"}), 404)
        path = f"/v1/chat/completions/{said.completion_id}/messages"
        refused(await alice.get(path, params={"after": "x"}), 404, "message_not_found")


async def test_what_is_of_another_agency_is_not_listed_under_this(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team, other = await make_team(gateway), await make_team(gateway)
    upstream.script("manager", say(0, "Yes."))
    said = await ask(gateway, team, "Question")
    assert await ids_of(gateway.client(other.id)) == []
    with pytest.raises(NotFoundError):
        await gateway.client(other.id).chat.completions.retrieve(said.completion_id)


async def test_the_generated_system_message_appears_nowhere(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    consult(upstream, team)
    said: Said = await ask(gateway, team, "How hard?", system="Be brief.")
    assert "You are #" in str(upstream.calls[0].body)
    completion = f"/v1/chat/completions/{said.completion_id}"
    talk = f"/api/agency/{team.id}/conversations"
    paths = [
        talk,
        f"{talk}/{said.conversation_id}/messages",
        f"{talk}/{said.conversation_id}/messages?agent_id={team['programmer']}",
        f"/api/turns/{said.turn_id}",
        f"/api/conversations/{said.conversation_id}/turns",
        "/v1/chat/completions",
        completion,
        f"{completion}/messages",
        "/v1/models",
        f"/api/agency/{team.id}/models/agency/{team.id}",
    ]
    for path in paths:
        answer = await gateway.http.get(path)
        assert answer.status_code == 200, answer.text
        assert "You are #" not in answer.text
        assert "You do the" not in answer.text


async def test_the_routes_that_read_are_documented(gateway: Gateway) -> None:
    paths = (await gateway.anonymous.get("/schema/openapi.json")).json()["paths"]
    words = ("/models", "/turns", "/conversations", "completions")
    mine = {path: found for path, found in paths.items() if any(word in path for word in words)}
    assert len(mine) >= 3 * 5 + 5
    for operations in mine.values():
        assert all(operation["summary"] for operation in operations.values())
