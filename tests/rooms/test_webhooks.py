"""Webhooks, received by a real server that fails as servers do."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from gateway.conversation.webhooks.delivery import GIVE_UP_S, PAUSES, _pause
from gateway.postgres.database import Database
from tests.client import Body
from tests.conftest import StartGateway
from tests.rooms.asking import Caller, calling, settled
from tests.rooms.receiving import Answer, Receiver
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, status, text
from tests.team import make_team

ALL = ["turn.completed", "turn.failed", "turn.waiting", "message.created", "participant.invited"]


async def breaks(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    raise asyncio.CancelledError


async def hangs(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def leads_away(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(str(request.url.with_path("/elsewhere")))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


@pytest.fixture
async def near(start_gateway: StartGateway) -> Gateway:
    """A gateway whose operator lets it call this machine."""
    return await start_gateway(egress_allow=("127.0.0.1/32",))


@pytest.fixture
async def ann(near: Gateway) -> Caller:
    return await calling(near, "ann", "conversations", "chat")


async def hook(caller: Caller, receiver: Receiver, *events: str, **more: Any) -> Body:
    body = {"url": receiver.url, "events": list(events or ALL), **more}
    made = await caller.http.post("/api/webhooks", json=body)
    assert made.status_code == 201, made.text
    answer: Body = made.json()
    return answer


async def deliveries(caller: Caller, made: Body) -> list[Body]:
    answer = await caller.http.get(f"/api/webhooks/{made['id']}/deliveries")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


async def told(caller: Caller, made: Body, *states: str) -> list[Body]:
    """The deliveries, once they are in these states, newest first."""
    async with asyncio.timeout(10):
        while True:
            found = await deliveries(caller, made)
            if [one["status"] for one in found] == [*states]:
                return found
            await asyncio.sleep(0.02)


async def sooner(database: Database) -> None:
    """Make what waits for another attempt due."""
    await database.execute("UPDATE webhook_delivery SET due_at = now() WHERE due_at IS NOT NULL")


async def test_all_that_happens_is_told_and_signed(
    near: Gateway, ann: Caller, receiver: Receiver, upstream: ScriptedUpstream
) -> None:
    team = await make_team(near, "programmer", owner_key=await near.key("ann", "agencies"))
    made = await hook(ann, receiver)
    upstream.script("manager", say(team["programmer"], "How long?"))
    upstream.script("*", text("Two days."), status(400))
    room = await ann.create(("model", "gpt"), ("user", "bob"))
    (invited,) = await receiver.until(1)
    assert invited["type"] == "participant.invited"
    assert invited["data"] == {
        "conversation_id": room["id"],
        "title": "Room",
        "invited_by": "ann",
        "participant": {"kind": "user", "identifier": "bob"},
    }
    said = await ann.say(room["id"], "How hard is it?")
    whole = await settled(ann, room["id"])
    found = (await receiver.until(4))[1:]
    by_type = {one["type"]: one for one in found if one["data"].get("message") != said}
    assert [one["data"]["message"] for one in found if one["data"].get("message") == said]
    assert by_type["message.created"]["data"]["message"] == whole["messages"][1]
    turn = by_type["turn.completed"]["data"]["turn"]
    assert (turn["state"], turn["reply_interaction_id"]) == (
        "completed",
        whole["messages"][1]["id"],
    )
    await ann.say(room["id"], "And now?")
    found = (await receiver.until(6))[4:]
    failed = next(one for one in found if one["type"] == "turn.failed")
    assert failed["data"]["turn"]["error"]["code"]
    manual = await ann.create(("agency", team.id), drive="manual")
    await ann.say(manual["id"], "Well?")
    found = (await receiver.until(8))[6:]
    waiting = next(one for one in found if one["type"] == "turn.waiting")
    assert waiting["data"]["turn"]["awaits"]["agent_id"] == team["manager"]
    # Whoever has the secret can check each; ids are those of the list.
    secret = base64.b64decode(made["secret"].removeprefix("whsec_"))
    for headers, body in receiver.sent:
        stamp = headers["webhook-timestamp"]
        assert abs(int(stamp) - time.time()) < 60
        signed = f"{headers['webhook-id']}.{stamp}.".encode() + body
        digest = hmac.new(secret, signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
        assert headers["Content-Type"] == "application/json"
        assert "Authorization" not in headers
    listed = await told(ann, made, *["delivered"] * 8)
    assert {one["id"] for one in listed} == {one["webhook-id"] for one, _ in receiver.sent}
    assert all(one["answer"]["status"] == 204 and one["attempts"] == 1 for one in listed)


@pytest.mark.parametrize("failure", [500, 404, 301, 429, breaks, leads_away])
async def test_what_fails_is_sent_again_as_it_was(
    failure: Answer | int,
    ann: Caller,
    receiver: Receiver,
    database: Database,
) -> None:
    made = await hook(ann, receiver, "message.created")
    room = await ann.create()
    receiver.answers = [failure, failure]
    await ann.say(room["id"], "Hi")
    await receiver.until(1)
    (first,) = await told(ann, made, "pending")
    while first["answer"] is None:
        (first,) = await told(ann, made, "pending")
    assert first["next_attempt_at"] is not None
    await sooner(database)
    await receiver.until(2)
    async with asyncio.timeout(10):
        while (await deliveries(ann, made))[0]["attempts"] != 2:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    await sooner(database)
    await receiver.until(3)
    (last,) = await told(ann, made, "delivered")
    assert last["attempts"] == 3
    assert len({body for _, body in receiver.sent}) == 1
    assert len({headers["webhook-id"] for headers, _ in receiver.sent}) == 1
    again = await ann.http.post(f"/api/webhooks/{made['id']}/deliveries/{last['id']}/redeliver")
    assert again.status_code == 202
    assert (again.json()["status"], again.json()["attempts"]) == ("pending", 0)
    await receiver.until(4)
    await told(ann, made, "delivered")
    assert receiver.sent[3][1] == receiver.sent[0][1]


async def test_a_receiver_that_is_gone_is_told_nothing_more(
    ann: Caller, receiver: Receiver
) -> None:
    made = await hook(ann, receiver, "message.created")
    room = await ann.create()
    receiver.answers = [410]
    await ann.say(room["id"], "Hi")
    await told(ann, made, "failed")
    (listed,) = (await ann.http.get("/api/webhooks")).json()["data"]
    assert listed["disabled_at"] is not None
    await ann.say(room["id"], "Anybody?")
    await asyncio.sleep(1)
    assert len(receiver.sent) == 1


async def test_what_failed_is_not_sent_again_for_a_key_that_was_revoked(
    near: Gateway, ann: Caller, receiver: Receiver, database: Database
) -> None:
    await hook(ann, receiver, "message.created")
    room = await ann.create()
    receiver.answers = [500]
    await ann.say(room["id"], "Hi")
    await receiver.until(1)
    await asyncio.sleep(0.3)
    key = ann.http.headers["authorization"].split("_")[1]
    assert (await near.http.delete(f"/api/keys/{key}")).status_code == 200
    await sooner(database)
    await asyncio.sleep(1.2)
    assert len(receiver.sent) == 1


async def test_a_slow_receiver_keeps_no_other_waiting(ann: Caller, receiver: Receiver) -> None:
    async with Receiver() as slow:
        slow.answers = [hangs] * 100
        await hook(ann, slow, "message.created")
        made = await hook(ann, receiver, "message.created")
        room = await ann.create()
        for number in range(30):
            await ann.say(room["id"], f"{number}")
        found = await receiver.until(30)
        assert {one["data"]["message"]["content"] for one in found} == {str(n) for n in range(30)}
        assert len(slow.sent) <= 5
        await told(ann, made, *["delivered"] * 20)


async def test_only_what_its_maker_may_read_is_told(
    near: Gateway, ann: Caller, receiver: Receiver, upstream: ScriptedUpstream
) -> None:
    bob = await calling(near, "bob")
    await hook(bob, receiver)
    room = await ann.create()
    await ann.say(room["id"], "A secret")
    path = f"/{room['id']}/participants"
    await ann.call("POST", path, status=201, json={"kind": "user", "identifier": "bob"})
    (invited,) = await receiver.until(1)
    assert invited["data"]["invited_by"] == "ann"
    await ann.say(room["id"], "Another secret")
    await bob.call("POST", f"/{room['id']}/join")
    await asyncio.sleep(1)  # a message is told by who may read it when it is sent
    receiver.sent.clear()
    await ann.say(room["id"], "Hello, Bob")
    (message,) = await receiver.until(1)
    assert message["data"]["message"]["content"] == "Hello, Bob"
    await bob.call("POST", f"/{room['id']}/leave", status=204)
    await ann.say(room["id"], "He is gone")
    # Nobody's key that was revoked is told anything either.
    own = await bob.create()
    key = bob.http.headers["authorization"].split("_")[1]
    await near.http.delete(f"/api/keys/{key}")
    await Caller(near.http, "root").say(own["id"], "Nobody hears")
    await asyncio.sleep(1.2)
    assert len(receiver.sent) == 1


async def test_a_webhook_for_one_conversation_or_agency(
    near: Gateway, ann: Caller, receiver: Receiver, upstream: ScriptedUpstream
) -> None:
    team = await make_team(near, owner_key=await near.key("ann", "agencies"))
    upstream.always("manager", say(0, "Yes."))
    one, other = await ann.create(title="one"), await ann.create(("agency", team.id), title="other")
    async with Receiver() as of_agency:
        await hook(ann, receiver, "message.created", conversation_id=one["id"])
        await hook(ann, of_agency, "turn.completed", agency_id=team.id)
        await ann.say(other["id"], "There")
        await settled(ann, other["id"])
        await ann.say(one["id"], "Here")
        (here,) = await receiver.until(1)
        assert here["data"]["conversation_id"] == one["id"]
        (done,) = await of_agency.until(1)
        assert done["data"]["conversation_id"] == other["id"]
        # What a branch copies is no news.
        whole = await ann.read(other["id"])
        await ann.call(
            "POST", f"/{other['id']}/forks", status=201, json={"at": whole["messages"][1]["id"]}
        )
        await asyncio.sleep(1)
        assert (len(receiver.sent), len(of_agency.sent)) == (1, 1)


async def test_no_webhook_leads_into_the_operators_network(
    gateway: Gateway, receiver: Receiver
) -> None:
    ann = await calling(gateway, "ann")
    made = await hook(ann, receiver, "message.created")
    room = await ann.create()
    await ann.say(room["id"], "Hi")
    async with asyncio.timeout(10):
        while not (found := await deliveries(ann, made)) or found[0]["answer"] is None:
            await asyncio.sleep(0.02)
    answer = found[0]["answer"]
    assert (answer["status"], answer["error"]) == (None, "address_refused")
    assert receiver.sent == []


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://a/b", "http://", "http://u:p@a/", "https://a b/", "http://ä/", "http://a:0x/"],
)
async def test_a_url_that_is_none(ann: Caller, url: str) -> None:
    body = {"url": url, "events": ["message.created"]}
    answer = await ann.http.post("/api/webhooks", json=body)
    assert answer.status_code == 400, answer.text


async def test_what_cant_be_asked_for(near: Gateway, ann: Caller, receiver: Receiver) -> None:
    bob = await calling(near, "bob")
    room, made = await bob.create(), await hook(bob, receiver)
    for body, code in (
        ({"events": []}, 400),
        ({"events": ["turn.begun"]}, 400),
        ({"events": ALL, "conversation_id": room["id"]}, 404),
        ({"events": ALL, "conversation_id": "x"}, 404),
        ({"events": ALL, "agency_id": 77}, 404),
        ({"events": ALL, "more": 1}, 400),
    ):
        answer = await ann.http.post("/api/webhooks", json={"url": receiver.url, **body})
        assert answer.status_code == code, (body, answer.text)
    assert (await ann.http.delete(f"/api/webhooks/{made['id']}")).status_code == 404
    assert (await ann.http.get(f"/api/webhooks/{made['id']}/deliveries")).status_code == 404
    assert (await ann.http.get("/api/webhooks")).json() == {"data": [], "next_cursor": None}
    (listed,) = (await bob.http.get("/api/webhooks")).json()["data"]
    assert listed == {name: made[name] for name in made if name != "secret"}
    assert (await bob.http.delete(f"/api/webhooks/{made['id']}")).status_code == 204
    assert (await bob.http.get("/api/webhooks")).json()["data"] == []


def test_pauses_grow_and_end_within_a_day() -> None:
    age, made = 0.0, 0
    while (pause := _pause(made + 1, age)) is not None:
        assert 0.9 * PAUSES[made] <= pause <= 1.1 * PAUSES[made]
        age, made = age + pause, made + 1
    assert age < GIVE_UP_S
    assert made >= len(PAUSES) - 1


async def test_old_deliveries_are_forgotten(
    near: Gateway, ann: Caller, receiver: Receiver, database: Database
) -> None:
    made = await hook(ann, receiver, "message.created")
    room = await ann.create()
    for words in ("One", "Two"):
        await ann.say(room["id"], words)
    await told(ann, made, "delivered", "delivered")
    await database.execute(
        "UPDATE webhook_delivery SET created_at = now() - interval '31 days'"
        " WHERE body LIKE '%\"One\"%'"
    )
    await near.resources.deliverer.prune()
    assert len(await deliveries(ann, made)) == 1
