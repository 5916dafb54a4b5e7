"""Lists of conversations: what is in an entry, what may be looked for, and who finds what."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.client import Body
from tests.rooms.asking import Caller, calling, settled
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, status, text
from tests.team import Team, make_team


async def found(caller: Caller, **query: Any) -> list[str]:
    """The titles, in order."""
    return [one["title"] for one in (await entries(caller, **query))["data"]]


async def entries(caller: Caller, **query: Any) -> Body:
    body: Body = await caller.call("GET", params=query)
    return body


async def invite(owner: Caller, guest: Caller, room: Body, *, join: bool = True) -> None:
    body = {"kind": "user", "identifier": guest.user}
    await owner.call("POST", f"/{room['id']}/participants", status=201, json=body)
    if join:
        await guest.call("POST", f"/{room['id']}/join")


async def test_an_entry_says_what_goes_on(
    ann: Caller, team: Team, upstream: ScriptedUpstream
) -> None:
    room = await ann.create(("agency", team.id), *(("model", f"m{n}") for n in range(9)))
    upstream.always("*", text(""))
    upstream.always("manager", say(0, "x" * 500))
    said = await ann.say(room["id"], "Hello")
    await settled(ann, room["id"])
    (entry,) = (await entries(ann))["data"]
    assert [one["identifier"] for one in entry["participants"]] == [
        "ann",
        str(team.id),
        *(f"m{n}" for n in range(4)),
    ]
    assert entry["last_message"]["excerpt"] == "x" * 200
    assert entry["last_message"]["owner"] == {"type": "agency", "identifier": str(team.id)}
    assert [entry[name] for name in ("messages", "running", "waiting", "failed", "branches")] == [
        2,
        0,
        0,
        0,
        0,
    ]
    assert (entry["root_id"], entry["match"]) == (room["id"], None)
    shown = {name: entry[name] for name in set(room) - {"messages", "participants"}}
    read = await ann.read(room["id"])
    assert shown == {name: read[name] for name in shown}
    await ann.call("POST", f"/{room['id']}/forks", status=201, json={"at": said["id"]})
    assert [one["branches"] for one in (await entries(ann))["data"]] == [1, 1]


async def test_words_are_found_in_titles_and_in_what_was_said(ann: Caller) -> None:
    plans = await ann.create(title="Summer plans")
    bread = await ann.create(title="A bakery")
    said = await ann.say(bread["id"], "Which plans have we for sourdough bread?")
    await ann.say(bread["id"], "None, so far.")
    assert await found(ann, q="plans") == ["A bakery", "Summer plans"]
    assert await found(ann, q="PLAN") == ["A bakery", "Summer plans"]
    assert await found(ann, q="plans", **{"in": "title"}) == ["Summer plans"]
    assert await found(ann, q="plans", **{"in": "text"}) == ["A bakery"]
    (entry,) = (await entries(ann, q="sourdough"))["data"]
    assert entry["match"]["message_id"] == said["id"]
    assert "sourdough bread" in entry["match"]["excerpt"]
    for words, expected in (
        ("bread sourdough", ["A bakery"]),
        ('"sourdough bread"', ["A bakery"]),
        ('"bread sourdough"', []),
        ("bread -sourdough", []),
        ("sourd", ["A bakery"]),
        ("sourdough or nothing", ["A bakery"]),
        ("bread -rolls", ["A bakery"]),
        ('bread -"for sourdough"', []),
        ("SOURDOUGH, bread?", ["A bakery"]),
        ("ourdough", []),
        ("mer pl", ["Summer plans"]),
        ("!!", []),
        ("%", []),
        ("\\", []),
        ("'", []),
        ("  ", ["A bakery", "Summer plans"]),
    ):
        assert await found(ann, q=words) == expected, words
    # What was edited is found by its new words, what was deleted by none.
    path = f"/{bread['id']}/messages/{said['id']}"
    await ann.call("PATCH", path, json={"content": "Which plans have we for rye?"})
    assert await found(ann, q="sourdough") == []
    assert await found(ann, q="rye") == ["A bakery"]
    await ann.call("DELETE", path, status=204)
    assert await found(ann, q="rye") == []
    await ann.call("DELETE", f"/{plans['id']}", status=204)
    assert await found(ann, q="plans") == []


async def test_who_finds_what(gateway: Gateway, ann: Caller, upstream: ScriptedUpstream) -> None:
    bob = await calling(gateway, "bob", "conversations", "chat")
    upstream.always("manager", say(0, "No."))
    key = await gateway.key("ann", "agencies")
    team = await make_team(gateway, owner_key=key, shared=True)
    for owner, title, guests in (
        (ann, "anns", []),
        (ann, "shown", [bob]),
        (bob, "bobs", []),
    ):
        room = await owner.create(title=title)
        await owner.say(room["id"], "A secret")
        for guest in guests:
            await invite(owner, guest, room)
    await invite(bob, ann, await bob.create(title="offered"), join=False)
    kept = await bob.create(("agency", team.id), title="kept")
    await bob.say(kept["id"], "A secret")
    root = await calling(gateway, "root", "conversations", "admin")
    await settled(Caller(gateway.http, "root"), kept["id"])
    for who, whose, titles in (
        (ann, {}, "shown anns"),
        (ann, {"whose": "mine"}, "shown anns"),
        (ann, {"whose": "shared"}, ""),
        (ann, {"whose": "all"}, "kept shown anns"),
        (bob, {}, "kept bobs shown"),
        (bob, {"whose": "shared"}, "shown"),
        (bob, {"whose": "mine"}, "kept bobs"),
        (root, {}, ""),
        (root, {"whose": "all"}, "kept bobs shown anns"),
    ):
        assert await found(who, q="secret", **whose) == titles.split(), (who.user, whose)
        listed = [one for one in await found(who, **whose) if one != "offered"]
        assert listed == titles.split(), (who.user, whose)


async def test_conversations_are_found_by_who_is_in_them_and_what_goes_on(
    ann: Caller, bob: Caller, team: Team, upstream: ScriptedUpstream
) -> None:
    upstream.always("manager", say(team["programmer"], "How long?"))
    upstream.always("*", status(400))
    manual = await ann.create(("agency", team.id), title="manual", drive="manual")
    broken = await ann.create(("model", "gpt"), title="broken")
    agent = await ann.create(("agent", team["programmer"]), title="agent")
    await invite(ann, bob, agent)
    await ann.say(manual["id"], "Hi")
    await ann.say(broken["id"], "Hi")
    await settled(ann, broken["id"])
    async with asyncio.timeout(10):
        while await found(ann, state="waiting") != ["manual"]:
            await asyncio.sleep(0.02)
    for query, titles in (
        ({"participant": "user/bob"}, "agent"),
        ({"participant": f"agency/{team.id}"}, "manual"),
        ({"participant": f"agent/{team['programmer']}"}, "agent"),
        ({"participant": "model/gpt"}, "broken"),
        ({"participant": "user/ann"}, "agent broken manual"),
        ({"agency_id": team.id}, "agent manual"),
        ({"agency_id": team.id + 1}, ""),
        ({"state": "failed"}, "broken"),
        ({"state": "failed,waiting"}, "broken manual"),
        ({"state": "running"}, ""),
        ({"state": "failed", "participant": "user/bob"}, ""),
    ):
        assert await found(ann, **query) == titles.split(), query


@pytest.mark.parametrize("order", ["created", "updated"])
@pytest.mark.parametrize("words", [None, "room"])
async def test_pages_follow_each_other(ann: Caller, order: str, words: str | None) -> None:
    rooms = [await ann.create(title=f"Room {number}") for number in range(7)]
    chance = random.Random(7)
    for room in chance.sample(rooms, 4):
        await ann.say(room["id"], "Hi")
    query: dict[str, Any] = {"order": order, "limit": 2} | ({"q": words} if words else {})
    seen: list[str] = []
    while True:
        page = await entries(ann, **query)
        seen += [one["id"] for one in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
        query["cursor"] = cursor
    whole = (await entries(ann, limit=100))["data"]
    by = {"created": "created_at", "updated": "updated_at"}[order]
    assert seen == [one["id"] for one in sorted(whole, key=lambda one: one[by], reverse=True)]
    assert len(seen) == 7


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("in", "words"),
        ("in", ""),
        ("state", "running,"),
        ("state", "done"),
        ("whose", "theirs"),
        ("order", "title"),
        ("participant", "bob"),
        ("participant", "user/"),
        ("agency_id", "x"),
        ("agency_id", str(10**18)),
        ("cursor", "x"),
        ("cursor", f"{10**40}.conv_{'0' * 32}"),
        ("cursor", f"-1.conv_{'0' * 31}"),
        ("q", "x" * 201),
    ],
)
async def test_what_cant_be_listed(ann: Caller, param: str, value: str) -> None:
    answer = await ann.http.get("/api/conversations", params={param: value})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
