"""A user's own channel: lists, invitations, the inbox and turns, as they change."""

from __future__ import annotations

from typing import Any

from tests.conftest import StartGateway
from tests.rooms.asking import Caller, calling, settled
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, status, text
from tests.sessions.asking import driver
from tests.streams.reading import Subscription, following
from tests.team import Team

ME = "me"


async def begun(stream: Subscription) -> dict[str, Any]:
    await stream.until(lambda one: one.told)
    (snapshot,) = stream.of("snapshot")
    return snapshot


def titles(stream: Subscription) -> list[str]:
    return [one["entry"]["title"] for one in stream.of("conversation.listed")]


async def test_lists_are_told_as_they_change(
    ann: Caller, bob: Caller, upstream: ScriptedUpstream
) -> None:
    upstream.always("*", text("Hello."))
    await ann.create(title="Old")
    async with following(ann.http, ME) as mine, following(bob.http, ME) as his:
        assert await begun(mine) == {"type": "snapshot", "inbox_count": 0, "running": 0}
        await begun(his)
        room = await ann.create(("model", "gpt"), title="New")
        await mine.until(lambda one: titles(one) == ["New"])
        listed = mine.of("conversation.listed")[0]["entry"]
        (entry, _) = (await ann.call("GET"))["data"]
        assert listed == entry
        await ann.say(room["id"], "Hi")
        await settled(ann, room["id"])
        await mine.until(lambda one: one.of("turn.ended"))
        (ended,) = mine.of("turn.ended")
        assert (ended["state"], ended["conversation_id"]) == ("completed", room["id"])
        await mine.until(
            lambda one: (
                one.of("conversation.listed")[-1]["entry"]["last_message"] is not None
                and one.of("conversation.listed")[-1]["entry"]["last_message"]["excerpt"]
                == "Hello."
            )
        )
        body = {"kind": "user", "identifier": "bob"}
        await ann.call("POST", f"/{room['id']}/participants", status=201, json=body)
        await his.until(lambda one: one.of("invitation"))
        (invited,) = his.of("invitation")
        assert invited["invitation"]["invited_by"] == "ann"
        assert his.of("conversation.listed") == []
        await bob.call("POST", f"/{room['id']}/join")
        await his.until(lambda one: one.of("invitation.ended"))
        await his.until(lambda one: titles(one) == ["New"])
        await bob.call("POST", f"/{room['id']}/leave", status=204)
        await his.until(lambda one: one.of("conversation.unlisted"))
        await ann.call("DELETE", f"/{room['id']}", status=204)
        await mine.until(lambda one: one.of("conversation.unlisted"))
        told = mine.of("conversation.unlisted")
        assert told == [{"type": "conversation.unlisted", "conversation_id": room["id"]}]
    assert mine.ids == []


async def test_what_waits_is_told(
    gateway: Gateway, ann: Caller, team: Team, upstream: ScriptedUpstream
) -> None:
    upstream.script("manager", say(team["programmer"], "How long?"), say(0, "Two days."))
    driving = await driver(gateway, team["manager"], "ann")
    async with following(ann.http, ME) as mine:
        await begun(mine)
        session = await driving.begin("How hard is it?")
        await mine.until(lambda one: one.of("inbox.updated"))
        (waiting,) = mine.of("inbox.updated")
        assert waiting["count"] == 1
        assert waiting["item"] == (await ann.http.get("/api/inbox")).json()["data"][0]
        await driving.answer(session, 1, context="Two.")
        await mine.until(lambda one: len(one.of("inbox.updated")) == 2)
        last = mine.of("inbox.updated")[1]
        assert (last["count"], last["item"]) == (0, None)
    async with following(ann.http, ME) as mine:
        assert (await begun(mine))["inbox_count"] == 0


async def test_a_turn_that_failed_is_told_with_its_error(
    ann: Caller, upstream: ScriptedUpstream
) -> None:
    upstream.always("*", status(400))
    room = await ann.create(("model", "gpt"))
    async with following(ann.http, ME) as mine:
        await begun(mine)
        await ann.say(room["id"], "Hi")
        await mine.until(lambda one: one.of("turn.ended"))
        (ended,) = mine.of("turn.ended")
        assert (ended["state"], ended["responder"]) == ("failed", "gpt")
        assert ended["error"]["code"]


async def test_a_token_opens_it_and_a_revoked_key_ends_it(gateway: Gateway, ann: Caller) -> None:
    answer = await ann.http.post("/api/streams/tokens", json={"channel": ME})
    assert answer.status_code == 201
    url = answer.json()["url"]
    assert url.startswith("/streams/me?token=")
    other = answer.json()["token"]
    refused = await gateway.anonymous.get(f"/streams/conv_{'0' * 32}", params={"token": other})
    assert refused.status_code == 401
    async with following(gateway.anonymous, ME, token=other) as mine:
        await begun(mine)
        key = ann.http.headers["authorization"].split("_")[1]
        await gateway.http.delete(f"/api/keys/{key}")
        await mine.until(lambda one: one.ended)
        assert mine.comments[-1] == "goodbye, no longer allowed"
    assert (await ann.http.get("/streams/me")).status_code == 401


async def test_a_reader_says_goodbye_when_the_process_ends(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway()
    ann = await calling(gateway, "ann")
    async with following(ann.http, ME) as mine:
        await begun(mine)
        gateway.resources.drain.begin()
        await mine.until(lambda one: one.ended)
        assert mine.comments[-1] == "goodbye, the gateway is shutting down"
