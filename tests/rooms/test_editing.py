"""Single messages: edited, deleted, restored, excluded, and what they said before."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.rooms.asking import Caller, calling, heard, settled, told, voices
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, text
from tests.streams.reading import following
from tests.team import Team

Body = dict[str, Any]


def place(room: Body, message: Body, more: str = "") -> str:
    return f"/api/conversations/{room['id']}/messages/{message['id']}{more}"


async def edit(
    caller: Caller, room: Body, message: Body, content: str, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await caller.http.patch(place(room, message), json={"content": content}, headers=named)


async def bob_in(gateway: Gateway, ann: Caller, room: Body, *rights: str) -> Caller:
    bob = await calling(gateway, "bob", "conversations", "chat")
    invited = {"kind": "user", "identifier": "bob", "rights": list(rights)}
    await ann.call("POST", f"/{room['id']}/participants", status=201, json=invited)
    await bob.call("POST", f"/{room['id']}/join")
    return bob


async def test_an_edit_is_heard_shown_and_kept_in_the_history(
    ann: Caller, team: Team, upstream: ScriptedUpstream
) -> None:
    room = await ann.create(("agency", team.id))
    upstream.script("manager", say(0, "Blue it is."), say(0, "Green then."))
    said = await ann.say(room["id"], "Paint it blue")
    await settled(ann, room["id"])
    async with following(ann.http, room["id"]) as stream:
        await stream.until(lambda one: one.told)
        edited = await edit(ann, room, said, "Paint it green")
        assert edited.status_code == 200, edited.text
        body = edited.json()
        assert edited.headers["etag"] == f'"{body["version"]}"'
        assert (body["content"], body["outdated"]) == ("Paint it green", False)
        assert body["edited_at"] is not None
        await stream.until(lambda one: len(one.of("interaction.updated")) == 2)
        changed = [one["interaction"] for one in stream.of("interaction.updated")]
        now = {one["content"]: one for one in changed}
        assert now["Blue it is."]["outdated"]
        assert now["Paint it green"] == body
    assert (await ann.http.get(place(room, said))).json() == body
    history = (await ann.http.get(place(room, said, "/history"))).json()["data"]
    assert [one["content"] for one in history] == ["Paint it blue", "Paint it green"]
    assert [one["written_at"] for one in history] == [said["created_at"], body["edited_at"]]
    assert {one["owner"]["identifier"] for one in history} == {"ann"}
    await ann.say(room["id"], "Are you sure?")
    whole = await settled(ann, room["id"])
    assert [one["outdated"] for one in whole["messages"]] == [False, True, False, False]
    assert voices(upstream.calls_of("manager")[-1]) == [
        ("ann", "Paint it green"),
        ("ann", "Are you sure?"),
    ]


async def test_a_plain_model_hears_the_new_words_too(
    ann: Caller, upstream: ScriptedUpstream
) -> None:
    room = await ann.create(("model", "gpt"))
    upstream.always("*", text("Hm."))
    said = await ann.say(room["id"], "One")
    await settled(ann, room["id"])
    await edit(ann, room, said, "Uno")
    await ann.say(room["id"], "Two")
    await settled(ann, room["id"])
    assert told(upstream.calls[-1]) == [("user", "Uno"), ("assistant", "Hm."), ("user", "Two")]


async def test_the_same_words_are_no_edit(ann: Caller) -> None:
    room = await ann.create()
    said = await ann.say(room["id"], "One")
    assert (await edit(ann, room, said, "One")).json() == said
    history = (await ann.http.get(place(room, said, "/history"))).json()["data"]
    assert len(history) == 1


async def test_of_two_who_edit_the_second_is_told_what_there_is_now(ann: Caller) -> None:
    room = await ann.create()
    said = await ann.say(room["id"], "One")
    known = f'"{said["version"]}"'
    first = await edit(ann, room, said, "Two", if_match=known)
    assert first.status_code == 200
    for method, more in (("PATCH", {"json": {"content": "Three"}}), ("DELETE", {})):
        answer = await ann.http.request(
            method, place(room, said), headers={"if-match": known}, **more
        )
        assert answer.status_code == 412
        assert answer.json()["error"]["code"] == "version_mismatch"
        assert answer.json()["message"] == first.json()
    for tag in (first.headers["etag"], f"{known}, {first.headers['etag']}", "*"):
        assert (await edit(ann, room, said, "Two", if_match=tag)).status_code == 200
    for tag in ("5", 'W/"5"', '"x"', '"1",', ""):
        answer = await edit(ann, room, said, "Two", if_match=tag)
        assert answer.status_code == 400, tag
        assert answer.json()["error"]["param"] == "If-Match"


async def test_others_messages_need_a_right(gateway: Gateway, ann: Caller) -> None:
    room = await ann.create()
    anns = await ann.say(room["id"], "Ann's")
    bob = await bob_in(gateway, ann, room, "add_message")
    bobs = await bob.say(room["id"], "Bob's")
    assert (await edit(bob, room, bobs, "Bob's own")).status_code == 200
    refused = await edit(bob, room, anns, "Ha")
    assert refused.status_code == 403
    assert "'edit_others_messages'" in refused.json()["error"]["message"]
    refused = await bob.http.delete(place(room, anns))
    assert refused.status_code == 403
    assert "'delete_others_messages'" in refused.json()["error"]["message"]
    assert (await bob.http.delete(place(room, bobs))).status_code == 204
    rights = f"/{room['id']}/participants/user/bob/rights"
    await ann.call("DELETE", f"{rights}/add_message")
    await ann.call("PUT", f"{rights}/edit_others_messages")
    await ann.call("PUT", f"{rights}/delete_others_messages")
    assert (await edit(bob, room, anns, "Ha")).status_code == 200
    history = (await ann.http.get(place(room, anns, "/history"))).json()["data"]
    assert [one["owner"]["identifier"] for one in history] == ["ann", "bob"]
    assert (await bob.http.delete(place(room, anns))).status_code == 204
    assert (await bob.http.post(place(room, anns, "/restore"))).json()["content"] == "Ha"


async def test_who_was_moderated_cant_bring_it_back(gateway: Gateway, ann: Caller) -> None:
    room = await ann.create()
    bob = await bob_in(gateway, ann, room, "add_message")
    mine, bad = await bob.say(room["id"], "Mine"), await bob.say(room["id"], "Bad")
    await bob.http.delete(place(room, mine))
    await ann.http.delete(place(room, bad))
    assert heard(await ann.read(room["id"])) == []
    for method, more in (("GET", ""), ("GET", "/history"), ("DELETE", "")):
        assert (await bob.http.request(method, place(room, mine, more))).status_code == 404
    assert (await edit(bob, room, mine, "x")).status_code == 404
    assert (await bob.http.post(place(room, bad, "/restore"))).status_code == 403
    assert (await bob.http.post(place(room, mine, "/restore"))).status_code == 200
    assert heard(await bob.read(room["id"])) == [("bob", "Mine")]
    assert (await ann.http.post(place(room, bad, "/restore"))).status_code == 200
    assert heard(await ann.read(room["id"])) == [("bob", "Mine"), ("bob", "Bad")]


async def test_what_is_excluded_no_agent_hears(ann: Caller, upstream: ScriptedUpstream) -> None:
    room = await ann.create(("model", "gpt"))
    upstream.always("*", text("Hm."))
    secret = await ann.say(room["id"], "Secret")
    await settled(ann, room["id"])
    answer = await ann.http.put(place(room, secret, "/excluded"), json={"excluded": True})
    assert answer.json()["marked_as_excluded_at"] is not None
    await ann.say(room["id"], "Two")
    await settled(ann, room["id"])
    assert told(upstream.calls[-1])[-1] == ("user", "Two")
    assert "Secret" not in str(upstream.calls[-1].messages)
    answer = await ann.http.put(place(room, secret, "/excluded"), json={"excluded": False})
    assert answer.json()["marked_as_excluded_at"] is None


async def test_a_reply_that_is_being_given_cant_be_edited_and_a_deletion_ends_it(
    ann: Caller, upstream: ScriptedUpstream
) -> None:
    room = await ann.create(("model", "gpt"))
    hold = asyncio.Event()
    upstream.script("*", text("Hello there", hold=hold, hold_after=1))
    said = await ann.say(room["id"], "Hi")
    call = await upstream.arrived()
    async with asyncio.timeout(10):
        while len(found := (await ann.read(room["id"]))["messages"]) < 2:
            await asyncio.sleep(0.02)
    reply = found[1]
    refused = await edit(ann, room, reply, "Mine")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_complete")
    edited = await edit(ann, room, said, "Ho")
    assert edited.status_code == 200
    assert (await ann.http.get(place(room, reply))).json()["outdated"]
    assert (await ann.http.delete(place(room, said))).status_code == 204
    await asyncio.wait_for(call.disconnected.wait(), 10)
    hold.set()


@pytest.mark.parametrize("content", ["", "x\\u0000y", "\\ud800"])
async def test_what_cant_be_said_cant_be_edited_in(ann: Caller, content: str) -> None:
    room = await ann.create()
    said = await ann.say(room["id"], "One")
    json_ = {"content-type": "application/json"}
    raw = f'{{"content": "{content}"}}'
    answer = await ann.http.patch(place(room, said), content=raw, headers=json_)
    assert answer.status_code == 400, answer.text
    assert (await ann.read(room["id"]))["messages"] == [said]


async def test_messages_are_read_around_one_and_on_from_there(ann: Caller) -> None:
    room = await ann.create()
    said = [(await ann.say(room["id"], f"{n}"))["id"] for n in range(9)]
    path = f"/api/conversations/{room['id']}/messages"

    async def read(**query: Any) -> tuple[list[str], str | None, str | None]:
        body = (await ann.http.get(path, params={"limit": 3, **query})).json()
        found = [one["content"] for one in body["data"]]
        return found, body["next_cursor"], body["previous_cursor"]

    assert await read() == (["8", "7", "6"], said[6], None)
    assert await read(cursor=said[6]) == (["5", "4", "3"], said[3], said[5])
    assert await read(cursor=said[3]) == (["2", "1", "0"], None, said[2])
    assert await read(around=said[4]) == (["5", "4", "3"], said[3], said[5])
    assert await read(around=said[0]) == (["1", "0"], None, said[1])
    assert await read(around=said[8]) == (["8", "7"], said[7], None)
    assert await read(after=said[5]) == (["8", "7", "6"], said[6], None)
    assert await read(after=said[1]) == (["4", "3", "2"], said[2], said[4])
    assert await read(after=said[8]) == ([], None, None)
    await ann.http.delete(place(room, {"id": said[4]}))
    assert await read(after=said[4]) == (["7", "6", "5"], said[5], said[7])
    assert (await ann.http.get(path, params={"around": said[4]})).status_code == 404
    both = await ann.http.get(path, params={"around": said[3], "after": said[3]})
    assert both.status_code == 400


# ---- in the place of a bot -----------------------------------------------------------------------


async def test_the_owner_of_an_agency_speaks_in_the_place_of_its_bots(
    gateway: Gateway, ann: Caller, team: Team, upstream: ScriptedUpstream
) -> None:
    room = await ann.create(("agency", team.id), ("model", "gpt"))
    upstream.always("*", text("Hm."))
    upstream.always("manager", say(0, ""))
    bot = {"kind": "agency", "identifier": str(team.id)}
    said = await ann.say(room["id"], "I am the agency", **{"as": bot})
    assert said["owner"] == {"type": "agency", "identifier": str(team.id)}
    await asyncio.sleep(0.2)
    assert upstream.calls == []
    body = {"content": "I was the agency", "as": bot}
    answer = await ann.http.patch(place(room, said), json=body)
    assert answer.json()["content"] == "I was the agency"
    await ann.call("PUT", f"/{room['id']}/status", json={"status": "searching", "as": bot})
    await ann.say(room["id"], "What?")
    await settled(ann, room["id"])
    assert "I was the agency" in str(upstream.calls_of("*")[-1].messages)
    query = f"?as=agency/{team.id}"
    assert (await ann.http.delete(place(room, said, query))).status_code == 204
    assert (await ann.http.post(place(room, said, "/restore" + query))).status_code == 200
    await ann.call("POST", f"/{room['id']}/leave{query}", status=204)
    named = {one["identifier"]: one for one in (await ann.read(room["id"]))["participants"]}
    assert named[str(team.id)]["left_at"] is not None
    answer = await ann.http.post(
        f"/api/conversations/{room['id']}/messages", json={"content": "Hi", "as": bot}
    )
    assert answer.json()["error"]["code"] == "participant_not_found"


async def test_nobody_else_speaks_in_its_place(
    gateway: Gateway, ann: Caller, team: Team, upstream: ScriptedUpstream
) -> None:
    upstream.always("manager", say(0, ""))
    room = await ann.create(("agency", team.id), ("model", "gpt"))
    said = await ann.say(
        room["id"], "Mine", **{"as": {"kind": "agency", "identifier": str(team.id)}}
    )
    bob = await bob_in(gateway, ann, room, "add_message")
    stranger = await calling(gateway, "eve")
    bot = {"kind": "agency", "identifier": str(team.id)}
    path = f"/api/conversations/{room['id']}"
    acts = [
        ("POST", f"{path}/messages", {"content": "Hi", "as": bot}),
        ("PATCH", place(room, said), {"content": "Hi", "as": bot}),
        ("DELETE", place(room, said, f"?as=agency/{team.id}"), None),
        ("PUT", f"{path}/status", {"status": "idle", "as": bot}),
        ("POST", f"{path}/leave?as=agency/{team.id}", None),
    ]
    for method, where, body in acts:
        refused = await bob.http.request(method, where, json=body)
        assert refused.status_code == 403, (method, where, refused.text)
        assert refused.json()["error"]["code"] == "right_missing"
        assert (await stranger.http.request(method, where, json=body)).status_code == 404
    for odd in (
        {"kind": "model", "identifier": "gpt"},
        {"kind": "user", "identifier": "bob"},
        {"kind": "agent", "identifier": "x"},
    ):
        answer = await ann.http.post(f"{path}/messages", json={"content": "Hi", "as": odd})
        assert answer.status_code == 400, odd
    for query in ("x", "agent", "agent/", "agent/x", "model/gpt", "agent/99999999999999999999"):
        answer = await ann.http.delete(place(room, said, f"?as={query}"))
        assert answer.status_code == 400, query
    acting = await calling(gateway, "root", "conversations", "act_as")
    answer = await acting.http.patch(place(room, said), json={"content": "As", "as": bot})
    assert answer.status_code == 200


async def test_with_a_key_each_change_happens_once(ann: Caller) -> None:
    keyed = {"idempotency-key": "one"}
    bodies = [
        (await ann.http.post("/api/conversations", json={"title": "Room"}, headers=keyed)).content
        for _ in range(2)
    ]
    assert bodies[0] == bodies[1]
    room = (await ann.call("GET", ""))["data"][0]
    said = await ann.say(room["id"], "One")
    first = await edit(ann, room, said, "Two", idempotency_key="one")
    await edit(ann, room, said, "Three")
    again = await edit(ann, room, said, "Two", idempotency_key="one")
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert (await ann.http.get(place(room, said))).json()["content"] == "Three"
    other = await edit(ann, room, said, "Four", idempotency_key="one")
    assert other.status_code == 422
    for _ in range(2):
        gone = await ann.http.delete(place(room, said), headers=keyed)
        assert gone.status_code == 204
    assert (await ann.http.delete(place(room, said))).status_code == 404


async def test_what_was_refused_may_be_sent_again_with_its_key(ann: Caller) -> None:
    room = await ann.create()
    said = await ann.say(room["id"], "One")
    known, keyed = f'"{said["version"] + 1}"', "one"
    refused = await edit(ann, room, said, "Two", if_match=known, idempotency_key=keyed)
    assert refused.status_code == 412
    await edit(ann, room, said, "1")
    done = await edit(ann, room, said, "Two", if_match=known, idempotency_key=keyed)
    assert done.status_code == 200, done.text
