"""Branches: forked after a message, with other words, or with a reply that is asked again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.chat.clients import Chat
from tests.rooms.asking import Caller, calling, heard, settled, shown, told, voices
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, text
from tests.team import Team, make_team

Body = dict[str, Any]


async def fork(caller: Caller, room: Body, at: Body, **more: Any) -> Body:
    body = {"at": at["id"], **more}
    made: Body = await caller.call("POST", f"/{room['id']}/forks", status=201, json=body)
    return made


async def tree(caller: Caller, room: Body) -> Body:
    found: Body = await caller.call("GET", f"/{room['id']}/branches")
    return found


async def talked(ann: Caller, upstream: ScriptedUpstream, team: Team) -> Body:
    """A room in which first a model and then a team have answered twice."""
    room = await ann.create(("model", "gpt"), ("agency", team.id))
    upstream.always("*", lambda call: text(f"M{len(told(call))}"))
    hold = asyncio.Event()
    upstream.always("manager", lambda call: say(0, f"A{len(voices(call))}", hold=hold))
    for count, words in enumerate(("One", "Two")):
        hold.clear()
        await ann.say(room["id"], words)
        await shown(ann, room["id"], 3 * count + 2)
        hold.set()
        await settled(ann, room["id"])
    return await ann.read(room["id"])


async def test_a_branch_ends_after_the_message(
    ann: Caller, upstream: ScriptedUpstream, team: Team
) -> None:
    room = await talked(ann, upstream, team)
    assert heard(room)[:3] == [("ann", "One"), ("gpt", "M1"), (str(team.id), "A1")]
    made = await fork(ann, room, room["messages"][2])
    assert heard(made) == heard(room)[:3]
    assert made["parent_id"] == room["id"]
    kinds = [(one["kind"], one["identifier"]) for one in made["participants"]]
    assert kinds == [("user", "ann"), ("model", "gpt"), ("agency", str(team.id))]
    assert not {one["id"] for one in made["messages"]} & {one["id"] for one in room["messages"]}
    await ann.say(made["id"], "Other")
    went = await settled(ann, made["id"])
    assert heard(went)[3] == ("ann", "Other")
    # Agents of a branch know that alone, and those of the trunk nothing of it.
    last = upstream.calls_of("manager")[-1]
    assert [words for _, words in voices(last)] == ["One", "M1", "Other"]
    assert "Two" not in str(last.messages)
    await ann.say(room["id"], "Three")
    await settled(ann, room["id"])
    assert "Other" not in str(upstream.calls_of("manager")[-1].messages)


async def test_a_message_is_said_in_other_words(
    ann: Caller, upstream: ScriptedUpstream, team: Team
) -> None:
    room = await talked(ann, upstream, team)
    second = room["messages"][3]
    assert second["content"] == "Two"
    made = await fork(ann, room, second, content="Zwei")
    assert heard(made) == [*heard(room)[:3], ("ann", "Zwei")]
    went = await settled(ann, made["id"])
    assert len(went["messages"]) == 6
    assert "Two" not in str(upstream.calls_of("manager")[-1].messages)
    assert heard(await ann.read(room["id"])) == heard(room)
    nodes = (await tree(ann, made))["nodes"]
    assert [one["excerpt"] for one in nodes] == ["One", "Zwei"]
    assert nodes[1]["at_interaction_id"] == second["id"]
    assert (nodes[1]["door"], nodes[1]["turns"]) == ("api", 4)


@pytest.mark.parametrize("which", [1, 2, 4, 5])
async def test_a_reply_is_asked_again(
    ann: Caller, upstream: ScriptedUpstream, team: Team, which: int
) -> None:
    room = await talked(ann, upstream, team)
    reply = room["messages"][which]
    agent = "*" if reply["owner"]["type"] == "model" else "manager"
    first = upstream.calls_of(agent)[which // 3]
    made = await fork(ann, room, reply, regenerate=True)
    went = await settled(ann, made["id"])
    assert heard(went)[:which] == heard(room)[:which]
    assert went["messages"][which]["owner"] == reply["owner"]
    assert len(went["messages"]) == which + 1
    # It is told what it was told before.
    again = upstream.calls_of(agent)[-1]
    assert told(again) == told(first)


async def test_others_may_branch_what_they_may_read_and_own_that(
    gateway: Gateway, ann: Caller, upstream: ScriptedUpstream
) -> None:
    room = await ann.create(("model", "gpt"))
    upstream.always("*", text("Hm."))
    said = await ann.say(room["id"], "Hi")
    await settled(ann, room["id"])
    bob, eve = await calling(gateway, "bob", "conversations", "chat"), await calling(gateway, "eve")
    invited = {"kind": "user", "identifier": "bob"}
    await ann.call("POST", f"/{room['id']}/participants", status=201, json=invited)
    body = {"at": said["id"], "content": "Ho"}
    for nobody in (bob, eve):
        answer = await nobody.http.post(f"/api/conversations/{room['id']}/forks", json=body)
        assert answer.status_code == 404
        answer = await nobody.http.get(f"/api/conversations/{room['id']}/branches")
        assert answer.status_code == 404
    await bob.call("POST", f"/{room['id']}/join")
    made = await fork(bob, room, said, content="Ho")
    assert made["owner"]["identifier"] == "bob"
    assert [one["identifier"] for one in made["participants"]] == ["bob", "gpt"]
    assert heard(await settled(bob, made["id"])) == [("bob", "Ho"), ("gpt", "Hm.")]
    assert (await ann.http.get(f"/api/conversations/{made['id']}")).status_code == 404
    # Each sees of the tree what they may read.
    assert [one["conversation_id"] for one in (await tree(ann, room))["nodes"]] == [room["id"]]
    assert len((await tree(bob, made))["nodes"]) == 2
    await ann.http.delete(f"/api/conversations/{room['id']}")
    (left,) = (await tree(bob, made))["nodes"]
    assert (left["conversation_id"], left["parent_id"]) == (made["id"], room["id"])
    assert (await tree(bob, made))["root_id"] == room["id"]


async def test_what_cant_be_branched(ann: Caller, upstream: ScriptedUpstream) -> None:
    room, other = await ann.create(("model", "gpt")), await ann.create()
    upstream.always("*", text("Hm."))
    said, elsewhere = await ann.say(room["id"], "Hi"), await ann.say(other["id"], "Ho")
    reply = (await settled(ann, room["id"]))["messages"][1]
    path = f"/api/conversations/{room['id']}/forks"
    for body, status in (
        ({}, 400),
        ({"at": said["id"], "content": ""}, 400),
        ({"at": said["id"], "content": "x", "regenerate": True}, 400),
        ({"at": said["id"], "regenerate": True}, 400),
        ({"at": reply["id"], "content": "x"}, 400),
        ({"at": "int_x"}, 404),
        ({"at": elsewhere["id"]}, 404),
        ({"at": said["id"], "more": 1}, 400),
    ):
        answer = await ann.http.post(path, json=body)
        assert answer.status_code == status, (body, answer.text)
    await ann.http.delete(f"/api/conversations/{room['id']}/messages/{said['id']}")
    answer = await ann.http.post(path, json={"at": reply["id"], "regenerate": True})
    assert answer.status_code == 400
    assert len((await ann.call("GET", ""))["data"]) == 2


async def test_the_same_key_makes_one_branch(ann: Caller) -> None:
    room = await ann.create()
    said = await ann.say(room["id"], "Hi")
    path, keyed = f"/api/conversations/{room['id']}/forks", {"idempotency-key": "one"}
    first = await ann.http.post(path, json={"at": said["id"]}, headers=keyed)
    again = await ann.http.post(path, json={"at": said["id"]}, headers=keyed)
    assert first.content == again.content
    assert len((await tree(ann, room))["nodes"]) == 2


async def test_the_tree_has_the_forks_of_chat_clients(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.always("manager", say(0, "Hm."))
    chat = Chat(gateway, await make_team(gateway))
    await chat.say("One")
    await chat.say("Two")
    edited = chat.branch(2)
    await edited.say("Zwei")
    root = Caller(gateway.http, "root")
    listed = (await root.call("GET", ""))["data"]
    assert len(listed) == 2
    found = await tree(root, listed[0])
    assert [one["door"] for one in found["nodes"]] == [None, "chat"]
    trunk, branch = found["nodes"]
    assert branch["parent_id"] == trunk["conversation_id"]
    whole = await root.read(trunk["conversation_id"])
    assert branch["at_interaction_id"] == whole["messages"][1]["id"]
    assert branch["excerpt"] == "Zwei"
    # And a branch is made of one of them.
    made = await fork(root, whole, whole["messages"][1], regenerate=True)
    went = await settled(root, made["id"])
    assert [one["content"] for one in went["messages"]] == ["One", "Hm."]
    assert len((await tree(root, trunk | {"id": trunk["conversation_id"]}))["nodes"]) == 3
