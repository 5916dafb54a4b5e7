"""Channels over real sockets: what a reader is told, where it goes on, and when it ends."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from contextlib import AsyncExitStack

import httpx
import pytest

from gateway import ids
from gateway.conversation.changes import MOST
from gateway.postgres.database import Database
from tests.client import bearer
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.streams.reading import Subscription, following
from tests.streams.rows import Writer, new_conversation
from tests.streams.waiting import until


class Announcing(Writer):
    """A writer in a gateway's process: it announces what it commits, as the engine does."""

    gateway: Gateway

    async def write(self, sql: str, *arguments: object, more: str = "") -> None:
        await super().write(sql, *arguments, more=more)
        self.gateway.resources.announcer.changed(self.conversation_id, self.version)


async def room(gateway: Gateway, owner: str = "root") -> Announcing:
    made = await new_conversation(gateway.resources.database, owner)
    writer = Announcing(made.database, made.conversation_id)
    writer.gateway = gateway
    return writer


def shown(interaction_id: object) -> str:
    return ids.show(ids.INTERACTION, interaction_id)  # type: ignore[arg-type]


# ---- what comes first ---------------------------------------------------------------------------


async def test_without_a_position_the_first_event_is_a_snapshot(gateway: Gateway) -> None:
    writer = await room(gateway)
    said = await writer.say("Which fruit?")
    gone = await writer.say("Forget this.")
    await writer.remove(gone)
    async with following(gateway.http, writer.channel) as told:
        await told.until(lambda one: one.told)
        first = told.told[0]
        assert (first.name, first.id) == ("snapshot", writer.version)
        conversation = first.data["conversation"]
        assert conversation["id"] == conversation["stream_channel_id"] == writer.channel
        assert conversation["version"] == writer.version
        assert conversation["owner"] == {"type": "user", "identifier": "root"}
        (owner,) = conversation["participants"]
        assert (owner["kind"], owner["identifier"], owner["status"]) == ("user", "root", "idle")
        assert [one["id"] for one in conversation["messages"]] == [shown(said)]
        message = conversation["messages"][0]
        assert message["content"] == "Which fruit?"
        assert message["created_at"].endswith("Z")
        assert message["errors"] == []
        assert told.retry
        assert 1000 <= told.retry <= 3000


async def test_a_change_is_told_at_once(gateway: Gateway) -> None:
    writer = await room(gateway)
    async with following(gateway.http, writer.channel) as told:
        await told.until(lambda one: one.told)
        said = await writer.say("Which fruit?\nAnd why, \u2028 \U0001f34f?")
        took = await told.until_version(2)
        assert took < 0.5
        created = told.told[-1]
        assert created.name == "interaction.created"
        assert created.data["interaction"]["id"] == shown(said)
        assert created.data["interaction"]["content"] == "Which fruit?\nAnd why, \u2028 \U0001f34f?"
        await writer.complete(said, "Apples.")
        await told.until_version(3)
        await writer.entitle("About apples")
        await told.until_version(4)
        await writer.remove(said)
        await told.until_version(5)
        assert told.names()[2:] == [
            "interaction.updated",
            "conversation.updated",
            "interaction.deleted",
        ]
        assert told.told[-1].data == {"type": "interaction.deleted", "interaction_id": shown(said)}
        assert told.of("conversation.updated")[0]["conversation"]["title"] == "About apples"
        assert told.ids == [1, 2, 3, 4, 5]


async def test_a_reader_goes_on_where_it_was(gateway: Gateway) -> None:
    writer = await room(gateway)
    said = [await writer.say(f"Fruit {n}") for n in range(5)]
    await writer.remove(said[4])
    async with following(gateway.http, writer.channel, last=3) as told:
        await told.until_version(7)
        assert told.ids == [4, 5, 6, 7]
        assert told.names() == [
            "interaction.updated",
            "interaction.updated",
            "",
            "interaction.deleted",
        ]
    async with following(gateway.http, writer.channel, last_event_id=5) as told:
        await told.until_version(7)
        assert told.ids == [6, 7]
    async with following(gateway.http, writer.channel, last=7, last_event_id=2) as told:
        await writer.say("More")
        await told.until_version(8)
        assert told.ids == [8], "the header comes first"
        assert told.names() == ["interaction.created"]


@pytest.mark.parametrize("last", ["99", "-1", "2.5", "x" * 500, "9" * 30, "٣"])
async def test_a_position_that_means_nothing_is_reset(gateway: Gateway, last: str) -> None:
    writer = await room(gateway)
    await writer.say("Apples")
    async with following(gateway.http, writer.channel, last_event_id=last) as told:
        await told.until(lambda one: one.told)
        assert (told.told[0].name, told.told[0].id) == ("reset", 2)
        assert len(told.told[0].data["conversation"]["messages"]) == 1
        await writer.say("Pears")
        await told.until_version(3)


async def test_who_is_too_far_behind_is_reset(gateway: Gateway) -> None:
    writer = await room(gateway)
    await writer.database.execute(
        "UPDATE conversation SET version = $2 WHERE id = $1", writer.conversation_id, MOST + 10
    )
    async with following(gateway.http, writer.channel, last=5) as told:
        await told.until(lambda one: one.told)
        assert (told.told[0].name, told.told[0].id) == ("reset", MOST + 10)


async def test_a_snapshot_holds_the_newest_messages_and_a_full_view_all(gateway: Gateway) -> None:
    writer = await room(gateway)
    await many(writer, 250)
    async with following(gateway.http, writer.channel) as told:
        await told.until(lambda one: one.told)
        messages = told.told[0].data["conversation"]["messages"]
        assert [one["content"] for one in messages] == [f"Fruit {n}" for n in range(51, 251)]
    async with following(gateway.http, writer.channel, view="full") as told:
        await told.until(lambda one: one.told)
        assert len(told.told[0].data["conversation"]["messages"]) == 250


async def many(writer: Writer, count: int) -> None:
    """So many interactions, a version each, in one statement."""
    await writer.database.execute(
        """
        WITH c AS (UPDATE conversation SET version = version + $2 WHERE id = $1
                   RETURNING id, version - $2 AS base)
        INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier,
                                 content, completed_at, version)
        SELECT gen_random_uuid(), c.id, n, 'user', 'root', 'Fruit ' || n, now(), c.base + n
        FROM c, generate_series(1, $2::bigint) n
        """,
        writer.conversation_id,
        count,
    )
    writer.version += count
    writer.ordinal += count


# ---- nothing is missed --------------------------------------------------------------------------


async def test_what_is_not_announced_is_found_within_two_seconds(gateway: Gateway) -> None:
    quiet = await new_conversation(gateway.resources.database)
    async with following(gateway.http, quiet.channel) as told:
        await told.until(lambda one: one.told)
        await quiet.say("Nobody was told.")
        assert await told.until_version(2, within=2.0) < 2.0


async def test_a_cut_inside_of_a_version_loses_no_half_of_it(gateway: Gateway) -> None:
    writer = await room(gateway)
    await _three_at_once(writer)
    path = f"/streams/{writer.channel}?last_event_id=1"
    reader, pipe = await asyncio.open_connection("127.0.0.1", int(gateway.base_url.split(":")[-1]))
    authorization = f"authorization: Bearer {gateway.root_key}"
    pipe.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n{authorization}\r\n\r\n".encode())
    got = b""
    while got.count(b"event: interaction.updated") < 2:
        got += await reader.read(64)
    pipe.transport.abort()
    whole = got.decode().split("\n\n")
    cut = [part for part in whole[:-1] if "event: interaction.updated" in part][:2]
    assert cut
    assert not any("id: 2" in part.splitlines() for part in cut), "an id before the last event"
    async with following(gateway.http, writer.channel, last=1) as told:
        await told.until_version(2)
        assert len(told.of("interaction.updated")) == 3
        assert [one.id for one in told.told] == [None, None, 2]


async def _three_at_once(writer: Announcing) -> None:
    await Writer.write(
        writer,
        """
        WITH c AS ({raise_})
        INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier,
                                 content, completed_at, version)
        SELECT gen_random_uuid(), c.id, n, 'user', 'root', 'Fruit ' || n, now(), c.version
        FROM c, generate_series(1, 3) n RETURNING version
        """,
    )


async def test_readers_that_come_and_go_while_it_changes_are_told_everything(
    gateway: Gateway,
) -> None:
    writer = await room(gateway)

    async def write() -> None:
        for n in range(150):
            await writer.say(f"Fruit {n}")
            await asyncio.sleep(0.002)

    async def read(pause: float) -> list[int]:
        seen: list[int] = []
        position: int | None = 1
        while position is None or position < 151:
            async with following(gateway.http, writer.channel, last=position) as told:
                await asyncio.sleep(pause)
                seen += told.ids
                position = seen[-1] if seen else 1
        return seen

    *seen, _ = await asyncio.gather(*(read(0.01 + n / 50) for n in range(6)), write())
    for one in seen:
        assert one == list(range(2, 152))


# ---- who may read -------------------------------------------------------------------------------


async def test_strangers_find_nothing(gateway: Gateway) -> None:
    writer = await room(gateway, "ann")
    ann, bob = await gateway.key("ann"), await gateway.key("bob")
    path = f"/streams/{writer.channel}"
    stranger = await gateway.anonymous.get(path, headers=bearer(bob))
    assert stranger.status_code == 404
    assert set(stranger.json()["error"]) == {"message", "type", "param", "code"}
    assert stranger.json()["error"]["code"] == "channel_not_found"
    assert (await gateway.anonymous.get(path)).status_code == 401
    absent = ids.show(ids.CONVERSATION, ids.new())
    for channel in (absent, "conv_1", "nothing", f"{writer.channel}.", f"{writer.channel}.int_1"):
        missing = await gateway.http.get(f"/streams/{channel}")
        assert missing.status_code == 404, channel
        assert missing.json() == stranger.json()
    retrieval = await gateway.key("ann", "retrieval")
    answer = await gateway.anonymous.get(path, headers={"x-api-key": retrieval})
    assert answer.status_code == 403
    async with following(_as(gateway, ann), writer.channel) as told:
        await told.until(lambda one: one.told)


def _as(gateway: Gateway, key: str) -> httpx.AsyncClient:
    """A client with another key; it is closed with the gateway."""
    headers = bearer(key)
    client = httpx.AsyncClient(base_url=gateway.base_url, headers=headers, timeout=30)
    gateway.clients.push_async_callback(client.aclose)
    return client


async def test_a_deleted_conversation_says_so_and_ends(gateway: Gateway) -> None:
    writer = await room(gateway)
    async with (
        following(gateway.http, writer.channel) as told,
        following(gateway.http, writer.channel, view="full") as full,
    ):
        await told.until(lambda one: one.told)
        await full.until(lambda one: one.told)
        await writer.delete()
        for one in (told, full):
            await one.until(lambda one: one.ended)
            assert one.told[-1].data == {
                "type": "conversation.deleted",
                "conversation_id": writer.channel,
            }
            assert one.told[-1].id == 2
    assert (await gateway.http.get(f"/streams/{writer.channel}")).status_code == 404
    again = await gateway.http.get(f"/streams/{writer.channel}", headers={"last-event-id": "1"})
    assert again.status_code == 404


async def test_a_key_that_is_revoked_ends_its_streams_within_five_seconds(
    gateway: Gateway,
) -> None:
    writer = await room(gateway, "ann")
    key = await gateway.key("ann")
    async with following(_as(gateway, key), writer.channel) as told:
        await told.until(lambda one: one.told)
        key_id = key.split("_")[1]
        await gateway.resources.callers.revoke(key_id)
        assert await told.until(lambda one: one.ended, within=6) < 6
        assert told.comments[-1] == "goodbye, no longer allowed"


async def test_who_is_given_the_conversation_is_sent_it_anew(gateway: Gateway) -> None:
    writer = await room(gateway, "ann")
    agency = await _agency(writer.database, "root")
    question, reply = await writer.say("?"), await writer.say("", done=False)
    turn = await writer.begin_turn(f"agency/{agency}", question, reply)
    ann = await gateway.key("ann")
    async with following(_as(gateway, ann), writer.channel) as told:
        await told.until(lambda one: one.told)
        await writer.talk(7, "A secret", turn)
        await told.until_version(5)
        assert told.told[-1].name == "", "agents' talk is not for the conversation's owner"
        await writer.database.execute("UPDATE agency SET owner = 'ann' WHERE id = $1", agency)
        await told.until(lambda one: len(one.of("snapshot")) == 2, within=6)
        await writer.talk(7, "Another secret", turn)
        await told.until_version(6)
        assert told.of("message.created")[0]["message"]["text"] == "Another secret"


async def _agency(database: Database, owner: str) -> int:
    row = await database.fetchrow(
        "INSERT INTO agency (name, owner) VALUES ('Team', $1) RETURNING id", owner
    )
    assert row is not None
    return int(row["id"])


async def test_agents_talk_is_for_those_who_may_see_it(gateway: Gateway) -> None:
    writer = await room(gateway, "ann")
    agency = await _agency(writer.database, "cid")
    question, reply = await writer.say("?", owner="ann"), await writer.say("", done=False)
    turn = await writer.begin_turn(f"agency/{agency}", question, reply)
    keys = {user: await gateway.key(user) for user in ("ann", "cid")}
    async with AsyncExitStack() as stack:
        told: dict[str, Subscription] = {}
        for user, key in keys.items():
            told[user] = await stack.enter_async_context(
                following(_as(gateway, key), writer.channel, last=4)
            )
        said = await writer.talk(7, "Between us", turn)
        for one in told.values():
            await one.until_version(5)
        assert told["ann"].names() == [""]
        message = told["cid"].of("message.created")[0]["message"]
        assert message["id"] == ids.show(ids.MESSAGE, said)
        assert (message["from"], message["to"], message["agent_id"]) == (-2, 7, 7)
    for user, expected in (("ann", [""]), ("cid", ["message.created"])):
        async with following(_as(gateway, keys[user]), writer.channel, last=4) as again:
            await again.until_version(5)
            assert again.names() == expected


# ---- tokens -------------------------------------------------------------------------------------


async def test_a_token_opens_its_channel_and_no_other(gateway: Gateway) -> None:
    writer, other = await room(gateway, "ann"), await room(gateway, "ann")
    ann, bob = await gateway.key("ann"), await gateway.key("bob")
    body = {"channel": writer.channel}
    refused = await gateway.http.post("/api/streams/tokens", json=body, headers=bearer(bob))
    assert refused.status_code == 404
    made = await gateway.http.post("/api/streams/tokens", json=body, headers=bearer(ann))
    assert made.status_code == 201
    token = made.json()["token"]
    assert made.json()["url"] == f"/streams/{writer.channel}?token={token}"
    async with following(gateway.anonymous, writer.channel, token=token) as told:
        await told.until(lambda one: one.told)
    for channel, text in (
        (other.channel, token),
        (writer.channel, token[:-2] + "AA"),
        (writer.channel, "x"),
        (writer.channel, "é.é"),
        (writer.channel, ""),
    ):
        answer = await gateway.anonymous.get(f"/streams/{channel}", params={"token": text})
        assert answer.status_code == 401, text
        assert answer.json()["error"]["code"] in ("bad_token", "missing_api_key")
    elsewhere = await gateway.anonymous.get("/api/me", params={"token": token})
    assert elsewhere.status_code == 401
    await gateway.resources.callers.revoke(ann.split("_")[1])
    answer = await gateway.anonymous.get(f"/streams/{writer.channel}", params={"token": token})
    assert answer.status_code == 404


# ---- one reply ----------------------------------------------------------------------------------


async def test_the_channel_of_a_reply_ends_with_it(gateway: Gateway) -> None:
    writer = await room(gateway)
    await writer.say("Which fruit?")
    reply = await writer.say("", done=False)
    channel = f"{writer.channel}.{shown(reply)}"
    async with following(gateway.http, channel) as told:
        await told.until(lambda one: one.told)
        messages = told.told[0].data["conversation"]["messages"]
        assert [one["id"] for one in messages] == [shown(reply)]
        await writer.say("Something else")
        await writer.complete(reply, "Apples.")
        await told.until(lambda one: one.ended)
        assert told.names() == ["snapshot", "", "interaction.updated"]
        assert told.told[-1].data["interaction"]["content"] == "Apples."
        position = told.position
    done = await gateway.http.get(f"/streams/{channel}", headers={"last-event-id": str(position)})
    assert (done.status_code, done.content) == (204, b"")
    await writer.say("Another thing, when the reply has long been given")
    done = await gateway.http.get(f"/streams/{channel}", headers={"last-event-id": str(position)})
    assert (done.status_code, done.content) == (204, b"")
    async with following(gateway.http, channel, last=2) as told:
        await told.until(lambda one: one.ended)
        assert told.of("interaction.updated")[-1]["interaction"]["content"] == "Apples."
    async with following(gateway.http, channel) as told:
        await told.until(lambda one: one.ended)
        assert told.names() == ["snapshot"]
    await writer.remove(reply)
    assert (await gateway.http.get(f"/streams/{channel}")).status_code == 404


async def test_the_channel_of_a_reply_ends_when_that_is_deleted(gateway: Gateway) -> None:
    writer = await room(gateway)
    reply = await writer.say("", done=False)
    async with following(gateway.http, f"{writer.channel}.{shown(reply)}", last=1) as told:
        await told.until_version(2)
        await writer.remove(reply)
        await told.until(lambda one: one.ended)
        assert told.names() == ["interaction.updated", "interaction.deleted"]


# ---- the full view ------------------------------------------------------------------------------


async def test_the_full_view_sends_it_all_at_most_once_a_second(gateway: Gateway) -> None:
    writer = await room(gateway)
    async with following(gateway.http, writer.channel, view="full", last=1) as told:
        await told.until(lambda one: one.told)
        for n in range(30):
            await writer.say(f"Fruit {n}")
            await asyncio.sleep(0.05)
        await told.until_version(31)
        assert set(told.names()) == {"snapshot"}
        times = [one.at for one in told.told]
        assert all(b - a > 0.9 for a, b in itertools.pairwise(times))
        assert len(told.told[-1].data["conversation"]["messages"]) == 30
    wrong = await gateway.http.get(f"/streams/{writer.channel}", params={"view": "half"})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["param"] == "view"


# ---- slow readers, ends -------------------------------------------------------------------------


async def test_a_reader_that_stops_reading_is_cut_off_and_goes_on(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(send_timeout=2.0)
    writer = await room(gateway)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", int(gateway.base_url.split(":")[-1])))
    reader.sendall(
        f"GET /streams/{writer.channel} HTTP/1.1\r\nhost: x\r\n"
        f"authorization: Bearer {gateway.root_key}\r\n\r\n".encode()
    )
    feed = gateway.resources.feed
    await until(lambda: feed.followers, within=20)
    async with following(gateway.http, writer.channel, last=1) as other:
        for n in range(300):
            await writer.say(f"{n}" + "x" * 20_000)
        await other.until_version(301, within=20)
        assert other.ids == list(range(2, 302)), "a slow reader holds nobody up"
        await until(lambda: len(feed.followers) == 1, within=8)
    got = await asyncio.to_thread(_drained, reader)
    complete = got[: got.rindex(b"\n\n")]
    position = max(int(line[4:]) for line in complete.split(b"\n") if line.startswith(b"id: "))
    assert position < 301, "it was not slow"
    async with following(gateway.http, writer.channel, last=position) as told:
        await told.until_version(301, within=10)
        assert told.ids == list(range(position + 1, 302))


def _drained(reader: socket.socket) -> bytes:
    reader.settimeout(3)
    got = b""
    try:
        while piece := reader.recv(1 << 20):
            got += piece
    except OSError:
        pass
    reader.close()
    return got


async def test_a_reader_that_leaves_is_forgotten(gateway: Gateway) -> None:
    writer = await room(gateway)
    feed = gateway.resources.feed
    for _ in range(3):
        async with following(gateway.http, writer.channel) as told:
            await told.until(lambda one: one.told)
            assert len(feed.followers) == 1
        await until(lambda: not feed.followers, within=20)
    assert not feed.channels


async def test_head_does_not_follow(gateway: Gateway) -> None:
    writer = await room(gateway)
    async with asyncio.timeout(20):
        answer = await gateway.http.head(f"/streams/{writer.channel}")
    assert answer.status_code == 200
    await until(lambda: not gateway.resources.feed.followers, within=20)


async def test_two_hundred_streams_say_goodbye_when_the_gateway_ends(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway()
    writer = await room(gateway)
    limits = httpx.Limits(max_connections=None)
    headers = bearer(gateway.root_key)
    async with (
        httpx.AsyncClient(base_url=gateway.base_url, headers=headers, limits=limits) as http,
        AsyncExitStack() as stack,
    ):
        told = [
            await stack.enter_async_context(following(http, writer.channel)) for _ in range(200)
        ]
        await asyncio.gather(*(one.until(lambda one: one.told) for one in told))
        began = time.monotonic()
        gateway.resources.drain.begin()
        await asyncio.gather(*(one.until(lambda one: one.ended, within=10) for one in told))
        assert time.monotonic() - began < 10
        assert {one.comments[-1] for one in told} == {"goodbye, the gateway is shutting down"}
        assert len({one.retry for one in told}) > 20, "they would all come back at once"
        late = await http.get(f"/streams/{writer.channel}")
        assert late.status_code == 503
        assert json.loads(late.content)["error"]["code"] == "unavailable"
