from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from gateway.conversation.rooms.presence import Presence
from gateway.postgres.database import Database
from tests.conftest import StartGateway
from tests.rooms.asking import Caller, calling
from tests.running import QUICK, Gateway
from tests.streams.reading import following


async def test_what_somebody_does_is_told_once(ann: Caller) -> None:
    made = await ann.create()
    async with following(ann.http, made["id"]) as told:
        await told.until(lambda one: one.told)
        set_ = await ann.call("PUT", f"/{made['id']}/status", json={"status": "writing"})
        assert (set_["identifier"], set_["status"]) == ("ann", "writing")
        again = await ann.call("PUT", f"/{made['id']}/status", json={"status": "writing"})
        assert again == set_
        await told.until(lambda one: one.of("participant.updated"))
        await ann.call("PUT", f"/{made['id']}/status", json={"status": "idle"})
        await told.until(lambda one: len(one.of("participant.updated")) == 2)
        changes = [one["participant"] for one in told.of("participant.updated")]
        assert [one["status"] for one in changes] == ["writing", "idle"]
        assert changes[0] == set_
    await ann.refused("PUT", f"/{made['id']}/status", 400, json={"status": "dancing"})


async def test_what_is_not_said_again_is_over(
    gateway: Gateway, ann: Caller, database: Database
) -> None:
    made = await ann.create()
    away = await ann.create()
    await ann.call("PUT", f"/{made['id']}/status", json={"status": "writing"})
    await ann.call("PUT", f"/{away['id']}/status", json={"status": "offline"})
    async with following(ann.http, made["id"]) as told:
        await told.until(lambda one: one.told)
        await database.execute(
            "UPDATE participant SET status_until = now() WHERE status_until IS NOT NULL"
        )
        await Presence(database, gateway.resources.announcer).sweep()
        await told.until(lambda one: one.of("participant.updated"))
        (change,) = told.of("participant.updated")
        assert change["participant"]["status"] == "idle"
    assert (await ann.read(made["id"]))["participants"][0]["status"] == "idle"
    assert (await ann.read(away["id"]))["participants"][0]["status"] == "offline"


async def test_a_conversation_of_another_door_becomes_a_room(gateway: Gateway, ann: Caller) -> None:
    answer = await ann.http.post(
        "/rpc/2025-02-12/create_conversation",
        json={
            "idempotency_key": "one",
            "owner": {"type": "user", "identifier": "ann"},
            "ai_relay_options": {"provider_id": "open_ai", "model_id": "gpt"},
        },
    )
    conversation = answer.json()["conversation_id"]
    before = (await ann.read(conversation))["participants"]
    await ann.call("PUT", f"/{conversation}/status", json={"status": "offline"})
    owner, model = (await ann.read(conversation))["participants"]
    assert owner == before[0] | {"status": "offline", "version": owner["version"]}
    assert model == before[1] | {"version": model["version"]}


async def test_what_somebody_does_lasts_for_a_minute(ann: Caller, database: Database) -> None:
    made = await ann.create()
    before = await database.fetch("SELECT now() AS at")
    await ann.call("PUT", f"/{made['id']}/status", json={"status": "searching"})
    after = await database.fetch("SELECT now() AS at")
    (until,) = await database.fetch(
        "SELECT status_until AS at FROM participant WHERE kind = 'user'"
    )
    minute = timedelta(seconds=60)
    assert before[0]["at"] + minute <= until["at"] <= after[0]["at"] + minute
    await ann.call("PUT", f"/{made['id']}/status", json={"status": "offline"})
    (until,) = await database.fetch("SELECT status_until AS at FROM participant")
    assert until["at"] is None


async def statuses(caller: Caller, conversation_id: str) -> dict[str, str]:
    found = (await caller.read(conversation_id))["participants"]
    return {one["identifier"]: one["status"] for one in found}


async def test_who_writes_says_so_again_within_ten_seconds(ann: Caller, database: Database) -> None:
    made = await ann.create()
    await ann.call("PUT", f"/{made['id']}/status", json={"status": "writing"})
    (row,) = await database.fetch("SELECT status_until - now() AS left FROM participant")
    assert timedelta(seconds=5) < row["left"] <= timedelta(seconds=10)


async def pass_time(gateway: Gateway, database: Database, seconds: float) -> None:
    """As if nobody had looked for so long."""
    await database.execute(
        """
        UPDATE participant SET status_until = status_until - make_interval(secs => $1),
                               present_until = present_until - make_interval(secs => $1)
        """,
        seconds,
    )
    await Presence(database, gateway.resources.announcer).sweep()


async def test_who_follows_is_there_and_who_does_not_is_offline_after_half_a_minute(
    gateway: Gateway, ann: Caller, database: Database
) -> None:
    made = await ann.create(("model", "gpt"))
    await pass_time(gateway, database, 29)
    assert await statuses(ann, made["id"]) == {"ann": "idle", "gpt": "idle"}
    await pass_time(gateway, database, 2)
    assert await statuses(ann, made["id"]) == {"ann": "offline", "gpt": "idle"}
    async with following(ann.http, made["id"]) as stream:
        await stream.until(lambda one: one.told)
        assert await statuses(ann, made["id"]) == {"ann": "idle", "gpt": "idle"}
    await pass_time(gateway, database, 29)
    assert (await statuses(ann, made["id"]))["ann"] == "idle"
    await pass_time(gateway, database, 12)
    assert (await statuses(ann, made["id"]))["ann"] == "offline"


async def test_an_open_stream_keeps_its_reader_there(
    start_gateway: StartGateway, database: Database
) -> None:
    gateway = await start_gateway(polls=replace(QUICK, rights=0.1))
    ann = await calling(gateway, "ann")
    made = await ann.create()
    async with following(ann.http, made["id"]) as stream:
        await stream.until(lambda one: one.told)
        for _ in range(3):
            await pass_time(gateway, database, 25)
            async with asyncio.timeout(10):
                while (await present_for(database)) < 30:
                    await asyncio.sleep(0.05)
        assert (await statuses(ann, made["id"]))["ann"] == "idle"
        assert not stream.of("participant.updated")


async def present_for(database: Database) -> float:
    (row,) = await database.fetch(
        "SELECT extract(epoch FROM present_until - now()) FROM participant"
    )
    return float(row[0])


async def test_who_has_said_to_be_offline_stays_so(
    gateway: Gateway, ann: Caller, database: Database
) -> None:
    made = await ann.create()
    await ann.call("PUT", f"/{made['id']}/status", json={"status": "offline"})
    async with following(ann.http, made["id"]) as stream:
        await stream.until(lambda one: one.told)
        assert (await statuses(ann, made["id"]))["ann"] == "offline"
        await ann.call("PUT", f"/{made['id']}/status", json={"status": "idle"})
    await pass_time(gateway, database, 41)
    assert (await statuses(ann, made["id"]))["ann"] == "offline"
    async with following(ann.http, made["id"]) as stream:
        await stream.until(lambda one: one.told)
        assert (await statuses(ann, made["id"]))["ann"] == "idle"


async def test_what_lapses_after_its_reader_has_gone_ends_offline(
    gateway: Gateway, ann: Caller, database: Database
) -> None:
    made = await ann.create()
    await ann.call("PUT", f"/{made['id']}/status", json={"status": "searching"})
    await pass_time(gateway, database, 40)
    assert (await statuses(ann, made["id"]))["ann"] == "searching"
    await pass_time(gateway, database, 21)
    assert (await statuses(ann, made["id"]))["ann"] == "offline"


async def test_a_right_is_told_to_its_holder_as_a_snapshot(
    start_gateway: StartGateway, database: Database
) -> None:
    gateway = await start_gateway(polls=replace(QUICK, rights=0.1))
    ann, bob = await calling(gateway, "ann"), await calling(gateway, "bob")
    made = await ann.create()
    body = {"kind": "user", "identifier": "bob", "rights": []}
    await ann.call("POST", f"/{made['id']}/participants", status=201, json=body)
    await bob.call("POST", f"/{made['id']}/join")
    async with following(bob.http, made["id"]) as bobs, following(ann.http, made["id"]) as anns:
        await bobs.until(lambda one: one.told)
        await anns.until(lambda one: one.told)
        right = f"/{made['id']}/participants/user/bob/rights/add_message"
        for method, rights in (("PUT", ["add_message"]), ("DELETE", [])):
            before = len(bobs.of("snapshot"))
            await ann.call(method, right)
            await bobs.until(lambda one, before=before: len(one.of("snapshot")) > before)
            told = bobs.of("snapshot")[-1]["conversation"]["participants"]
            assert next(one for one in told if one["identifier"] == "bob")["rights"] == rights
        assert len(anns.of("snapshot")) == 1
