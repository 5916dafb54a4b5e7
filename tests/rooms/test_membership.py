"""Who comes into a conversation, who goes, and what they may do there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.rooms.asking import Caller, calling, names, settled
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, silence, text
from tests.streams.reading import following
from tests.team import make_team

USER = {"kind": "user"}
ALL = ["add_message", "delete_conversation", "delete_others_messages", "edit_others_messages"]


@pytest.fixture
async def ann(gateway: Gateway) -> Caller:
    return await calling(gateway, "ann")


@pytest.fixture
async def bob(gateway: Gateway) -> Caller:
    return await calling(gateway, "bob")


async def invite(caller: Caller, room: str, who: str, *rights: str, status: int = 201) -> None:
    body = {"kind": "user", "identifier": who, "rights": list(rights)}
    await caller.call("POST", f"/{room}/participants", status=status, json=body)


async def remove(caller: Caller, room: str, kind: str = "user", identifier: str = "bob") -> None:
    query = {"kind": kind, "identifier": identifier}
    await caller.call("DELETE", f"/{room}/participants", status=204, params=query)


async def joined(caller: Caller, other: Caller, *rights: str) -> str:
    """A conversation of the caller's that the other has joined."""
    room = (await caller.create())["id"]
    await invite(caller, room, other.user, *rights)
    await other.call("POST", f"/{room}/join")
    return str(room)


async def rights_of(caller: Caller, room: str, user: str) -> list[str]:
    whole = await caller.read(room)
    (found,) = [one["rights"] for one in whole["participants"] if one["identifier"] == user]
    return list(found)


async def test_who_is_invited_sees_who_and_the_title_until_joining(
    gateway: Gateway, ann: Caller, bob: Caller
) -> None:
    room = (await ann.create(title="A bakery"))["id"]
    await invite(ann, room, "bob")
    await bob.refused("GET", f"/{room}", 404, "conversation_not_found")
    assert (await bob.call("GET"))["data"] == []
    listed = (await bob.http.get("/api/invitations")).json()
    (one,) = listed["data"]
    assert one.pop("invited_at")
    assert one == {"conversation_id": room, "title": "A bakery", "invited_by": "ann"}
    await bob.call("POST", f"/{room}/join")
    assert (await bob.http.get("/api/invitations")).json()["data"] == []
    assert [shown["id"] for shown in (await bob.call("GET"))["data"]] == [room]
    assert names(await bob.read(room)) == [("user", "ann"), ("user", "bob")]


async def test_a_member_says_what_the_rights_allow(ann: Caller, bob: Caller) -> None:
    room = await joined(ann, bob)
    refused = await bob.refused("POST", f"/{room}/messages", 403, json={"content": "Hi"})
    assert "'add_message'" in refused["message"]
    path = f"/{room}/participants/user/bob/rights/add_message"
    for _ in range(2):
        assert (await ann.call("PUT", path))["rights"] == ["add_message"]
    await bob.say(room, "Hi")
    for _ in range(2):
        assert (await ann.call("DELETE", path))["rights"] == []
    await bob.refused("POST", f"/{room}/messages", 403, "right_missing", json={"content": "Hi"})


async def test_who_has_left_finds_nothing_and_what_they_said_stays(
    ann: Caller, bob: Caller
) -> None:
    room = await joined(ann, bob, "add_message")
    await bob.say(room, "Apples")
    await bob.call("POST", f"/{room}/leave", status=204)
    await bob.refused("GET", f"/{room}", 404)
    await bob.refused("POST", f"/{room}/messages", 404, json={"content": "Hi"})
    await bob.refused("POST", f"/{room}/join", 404)
    assert (await bob.call("GET"))["data"] == []
    assert [one["content"] for one in (await ann.read(room))["messages"]] == ["Apples"]
    await invite(ann, room, "bob")
    assert (await bob.call("POST", f"/{room}/join"))["rights"] == []


async def test_an_invitation_is_turned_down_or_withdrawn(ann: Caller, bob: Caller) -> None:
    room = (await ann.create())["id"]
    await invite(ann, room, "bob")
    await bob.call("POST", f"/{room}/leave", status=204)
    await invite(ann, room, "bob")
    await remove(ann, room)
    await bob.refused("POST", f"/{room}/join", 404)
    await ann.refused(
        "DELETE",
        f"/{room}/participants",
        404,
        "participant_not_found",
        params=USER | {"identifier": "bob"},
    )


async def test_leaving_ends_the_streams_of_who_leaves(
    gateway: Gateway, ann: Caller, bob: Caller
) -> None:
    room = await joined(ann, bob)
    async with following(bob.http, room) as told:
        await told.until(lambda one: one.told)
        await bob.call("POST", f"/{room}/leave", status=204)
        await told.until(lambda one: one.ended, within=15)
        assert told.comments[-1] == "goodbye, no longer allowed"


async def test_the_owner_hands_over_before_leaving(ann: Caller, bob: Caller) -> None:
    room = (await ann.create())["id"]
    await ann.refused("POST", f"/{room}/leave", 409, "owner_stays")
    await invite(ann, room, "bob")
    await ann.refused("PATCH", f"/{room}", 409, "not_joined", json={"owner": "bob"})
    await ann.refused("PATCH", f"/{room}", 409, "not_joined", json={"owner": "carl"})
    await bob.call("POST", f"/{room}/join")
    await bob.refused("PATCH", f"/{room}", 403, "right_missing", json={"owner": "bob"})
    both = {"title": "Nobody's", "drive": "manual", "owner": "carl"}
    await ann.refused("PATCH", f"/{room}", 409, "not_joined", json=both)
    unchanged = await ann.read(room)
    assert (unchanged["title"], unchanged["drive"]) == ("Room", "auto"), "all of it or nothing"
    changed = await ann.call("PATCH", f"/{room}", json={"owner": "bob"})
    assert changed["owner"] == {"type": "user", "identifier": "bob"}
    assert await rights_of(bob, room, "bob") == ALL
    assert await rights_of(bob, room, "ann") == ["add_message"]
    await ann.refused("PATCH", f"/{room}", 403, "right_missing", json={"title": "Mine"})
    await ann.call("POST", f"/{room}/leave", status=204)
    await bob.refused(
        "DELETE", f"/{room}/participants", 409, "owner_stays", params=USER | {"identifier": "bob"}
    )


async def test_rights_of_the_owner_are_neither_given_nor_taken(ann: Caller) -> None:
    room = (await ann.create())["id"]
    path = f"/{room}/participants/user/ann/rights/add_message"
    assert (await ann.call("PUT", path))["rights"] == ALL
    await ann.refused("DELETE", path, 409, "owner_rights")
    other = f"/{room}/participants/user/carl/rights/add_message"
    await ann.refused("PUT", other, 404, "participant_not_found")
    await ann.refused("PUT", f"/{room}/participants/user/ann/rights/fly", 400)


async def test_only_the_owner_invites_and_removes(
    gateway: Gateway, ann: Caller, bob: Caller
) -> None:
    room = await joined(ann, bob, *ALL)
    body = {"kind": "user", "identifier": "carl"}
    await bob.refused("POST", f"/{room}/participants", 403, "right_missing", json=body)
    await bob.refused(
        "DELETE", f"/{room}/participants", 403, "right_missing", params=USER | {"identifier": "ann"}
    )
    carl = await calling(gateway, "carl")
    await carl.refused("POST", f"/{room}/participants", 404, json=body)
    await carl.refused("DELETE", f"/{room}/participants", 404, params=USER | {"identifier": "ann"})
    await carl.refused("POST", f"/{room}/join", 404)
    await carl.refused("POST", f"/{room}/leave", 404)


async def test_who_is_there_is_not_invited_again(ann: Caller, bob: Caller) -> None:
    room = await joined(ann, bob)
    for who in ("ann", "bob"):
        body = {"kind": "user", "identifier": who}
        await ann.refused("POST", f"/{room}/participants", 409, "already_there", json=body)
    wrong = {"kind": "user", "identifier": "a b"}
    await ann.refused("POST", f"/{room}/participants", 400, json=wrong)
    await invite(ann, room, "carl")
    headers = {"idempotency-key": "once"}
    body = {"kind": "user", "identifier": "dora"}
    first, again = [
        await ann.send("POST", f"/{room}/participants", json=body, headers=headers)
        for _ in range(2)
    ]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content


async def test_a_conversation_has_at_most_a_hundred_participants_beside_its_owner(
    ann: Caller,
) -> None:
    named = [("user", f"u{n}") for n in range(100)]
    room = (await ann.create(*named))["id"]
    body = {"kind": "user", "identifier": "one_more"}
    await ann.refused("POST", f"/{room}/participants", 409, "full", json=body)
    await remove(ann, room, "user", "u7")
    await invite(ann, room, "one_more")


async def test_a_bot_that_is_added_answers_and_one_that_is_removed_does_not(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    root = await calling(gateway, "ann", "conversations", "chat", "agencies")
    team = await make_team(gateway, owner_key=await gateway.key("ann", "agencies"))
    room = (await root.create())["id"]
    body = {"kind": "agency", "identifier": str(team.id)}
    assert (await root.call("POST", f"/{room}/participants", status=201, json=body))["joined_at"]
    upstream.script("manager", say(0, "Hello."), silence())
    await root.say(room, "Hi")
    whole = await settled(root, room)
    assert [one["content"] for one in whole["messages"]] == ["Hi", "Hello."]
    await root.say(room, "And now?")
    call = await upstream.arrived("manager", 2)
    await remove(root, room, "agency", str(team.id))
    await asyncio.wait_for(call.disconnected.wait(), 10)
    await root.say(room, "Anybody?")
    contents = [one["content"] for one in (await root.read(room))["messages"]]
    assert contents[-1] == "Anybody?"


async def test_a_model_whose_name_has_slashes_comes_and_goes(
    ann: Caller, upstream: ScriptedUpstream
) -> None:
    upstream.always("*", text("Hello."))
    room = (await ann.create())["id"]
    body = {"kind": "model", "identifier": "meta/llama 3"}
    await ann.call("POST", f"/{room}/participants", status=201, json=body)
    await remove(ann, room, "model", "meta/llama 3")
    assert names(await ann.read(room))[-1] == ("model", "meta/llama 3")
    assert (await ann.read(room))["participants"][-1]["left_at"]


async def test_a_chat_that_was_handed_over_is_no_longer_continued_by_its_history(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.script("manager", say(0, "One."), say(0, "Two."), say(0, "Three."))
    team = await make_team(gateway, shared=True)
    key = await gateway.key("ann", "chat", "conversations")
    ann = Caller(await gateway.connect("ann", "chat", "conversations"), "ann")
    bob = await calling(gateway, "bob")
    sdk = gateway.client(team.id, key=key)
    history: list[Any] = [{"role": "user", "content": "1?"}]

    async def ask() -> str:
        raw = await sdk.chat.completions.with_raw_response.create(model="m", messages=history)
        content = raw.parse().choices[0].message.content
        history.extend(
            [{"role": "assistant", "content": content}, {"role": "user", "content": "More?"}]
        )
        return str(raw.headers["x-conversation-id"])

    room = await ask()
    assert await ask() == room
    await invite(ann, room, "bob")
    await bob.call("POST", f"/{room}/join")
    await ann.call("PATCH", f"/{room}", json={"owner": "bob"})
    elsewhere = await ask()
    assert elsewhere != room
    assert len((await bob.read(room))["messages"]) == 4
    assert (await ann.read(elsewhere))["owner"]["identifier"] == "ann"
