"""The inbox: what waits for whom, over all agents."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.rooms.asking import calling, heard, settled, shown
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, text
from tests.sessions.asking import Body, Driver, driver, driving
from tests.shelf import Shelf, lend, make_readers
from tests.team import Team


async def inbox(who: Driver, **query: Any) -> Body:
    answer = await who.http.get("/api/inbox", params=query)
    assert answer.status_code == 200, answer.text
    body: Body = answer.json()
    return body


async def teams(gateway: Gateway, upstream: ScriptedUpstream) -> tuple[Team, Team]:
    """One of ann's, whose manager asks the baker; one of bob's, whose manager asks the library."""
    lend(Shelf({"bread": []}), gateway)
    anns = await make_readers(gateway, "baker", owner_key=await gateway.key("ann", "agencies"))
    bobs = await make_readers(gateway, "clerk", owner_key=await gateway.key("bob", "agencies"))
    upstream.always(
        "manager",
        lambda call: (
            say(-1, "bread") if "Bread?" in str(call.messages) else say(anns["baker"], "Rye?")
        ),
    )
    return anns, bobs


async def test_each_sees_what_waits_for_them(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    anns, bobs = await teams(gateway, upstream)
    ann = await driver(gateway, anns["manager"], "ann")
    bob = await driver(gateway, bobs["manager"], "bob")
    assert await inbox(ann) == {"data": [], "count": 0, "next_cursor": None}
    first = await ann.begin("Hi")
    second = await bob.begin("Bread?")
    (item,) = (await inbox(ann))["data"]
    assert item["session"] == first
    assert item["agency"]["id"] == anns.id
    assert item["agent"] == {"id": anns["manager"], "label": f"#{anns['manager']} (manager)"}
    baker = anns["baker"]
    asked = {"by": anns["manager"], "to": baker, "label": f"#{baker} (baker)"}
    assert (item["asked"], item["conversation"]) == (asked, None)
    assert item["expires_at"] is not None
    (item,) = (await inbox(bob))["data"]
    assert (item["session"], item["asked"]["label"]) == (second, "library")
    for scope in ("admin", "act_as"):
        all_ = await driver(gateway, bobs["manager"], "root", "conversations", scope)
        seen = await inbox(all_)
        assert [one["session"]["id"] for one in seen["data"]] == [first["id"], second["id"]]
        assert seen["count"] == 2
    # Who is shown a step may read and answer its session.
    acting = await driver(gateway, anns["manager"], "proxy", "conversations", "act_as")
    assert await acting.read(first, wait=0) == first
    await acting.answer(first, 1, wait=0, context="Dark.")
    eve = await driver(gateway, anns["manager"], "eve")
    assert (await inbox(eve))["count"] == 0
    await eve.refused("GET", f"/{first['id']}", 404)


async def test_a_room_that_is_driven_by_hand_waits_there_too(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    anns, _ = await teams(gateway, upstream)
    ann = await calling(gateway, "ann", "conversations", "chat")
    room = await ann.create(("agency", anns.id), drive="manual")
    await ann.say(room["id"], "Hi")
    answering = await driver(gateway, anns["manager"], "ann")
    async with asyncio.timeout(10):
        while not (found := await inbox(answering))["data"]:
            await asyncio.sleep(0.02)
    (item,) = found["data"]
    assert item["conversation"] == {"id": room["id"], "title": "Room"}
    assert item["expires_at"] is None
    await ann.http.delete(f"/api/conversations/{room['id']}")
    assert (await inbox(answering))["count"] == 0


async def test_the_longest_waits_first_page_by_page(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    anns, _ = await teams(gateway, upstream)
    ann = driving(gateway, anns["manager"])
    begun = [await ann.begin(f"Hi {n}") for n in range(5)]
    # One that is answered, and asks again, waits anew.
    await ann.answer(begun[0], 1, context="Dark.")
    begun = [*begun[1:], begun[0]]
    seen: list[str] = []
    cursor = None
    while True:
        query = {} if cursor is None else {"cursor": cursor}
        found = await inbox(ann, limit=2, **query)
        assert found["count"] == 5
        seen += [one["session"]["id"] for one in found["data"]]
        if (cursor := found["next_cursor"]) is None:
            break
    assert seen == [one["id"] for one in begun]


@pytest.mark.parametrize("cursor", ["x", "1.x", "1", ".", f"{10**30}.{'0' * 32}", "-1.0", ""])
async def test_a_cursor_that_is_none(gateway: Gateway, cursor: str) -> None:
    answer = await gateway.http.get("/api/inbox", params={"cursor": cursor})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "cursor"


async def test_one_bot_is_served_from_outside_and_the_others_do_not_wait(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    anns, _ = await teams(gateway, upstream)
    upstream.always("*", text("Rye."))
    ann = await calling(gateway, "ann", "conversations", "chat")
    room = await ann.create(("agency", anns.id), ("model", "gpt"))
    path, bot = f"/{room['id']}/participants", {"kind": "agency", "identifier": str(anns.id)}
    shown_as = await ann.call("PATCH", path, json={**bot, "drive": "manual"})
    assert shown_as["drive"] == "manual"
    assert await ann.call("PATCH", path, json={**bot, "drive": "manual"}) == shown_as
    answering = await driver(gateway, anns["manager"], "ann")
    for count, words in enumerate(("Which one?", "And now?")):
        await ann.say(room["id"], words)
        await shown(ann, room["id"], 2 * (count + 1))
        async with asyncio.timeout(10):
            while (found := await inbox(answering))["count"] <= count:
                await asyncio.sleep(0.02)
    first = found["data"][0]
    assert first["session"]["call"]["context"] == "Which one?"
    assert first["asked"]["by"] == 0
    assert upstream.calls_of("manager") == []
    # One is answered, and its reply stands among those to the same message. Whom it addresses, is
    # asked.
    done = await answering.answer(first["session"], 1, context="Dark, @gpt")
    assert (done["state"], done["message"]) == ("resolved", "Dark, @gpt")
    assert await answering.answer(first["session"], 1, context="Dark, @gpt") == done
    assert (await answering.give(first["session"], 1, context="Other")).status_code == 409
    async with asyncio.timeout(10):
        while len(heard(whole := await ann.read(room["id"]))) < 6:
            await asyncio.sleep(0.02)
    bot_id = str(anns.id)
    assert heard(whole)[:3] == [("ann", "Which one?"), ("gpt", "Rye."), (bot_id, "Dark, @gpt")]
    assert heard(whole)[-1] == ("gpt", "Rye.")
    turns = (await ann.http.get(f"/api/conversations/{room['id']}/turns")).json()["data"]
    (served,) = [
        one["id"]
        for one in turns
        if (one["responder"], one["state"]) == (f"agency/{bot_id}", "completed")
    ]
    (step,) = (await ann.http.get(f"/api/turns/{served}")).json()["steps"]
    assert step["model"] == "outside"
    # The other goes on by itself.
    upstream.always("manager", say(0, "By myself."))
    await ann.call("PATCH", path, json={**bot, "drive": "auto"})
    await settled(ann, room["id"])
    assert (await inbox(answering))["count"] == 0
    assert (bot_id, "By myself.") in heard(await ann.read(room["id"]))
    # It knows what was said in its place.
    assert "Dark, @gpt" in str(upstream.calls_of("manager")[-1].messages)
    missing = {"kind": "agent", "identifier": "77", "drive": "manual"}
    await ann.refused("PATCH", path, 404, "participant_not_found", json=missing)
    for kind, name in (("user", "ann"), ("model", "gpt")):
        body = {"kind": kind, "identifier": name, "drive": "manual"}
        await ann.refused("PATCH", path, 400, json=body)
