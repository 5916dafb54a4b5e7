from __future__ import annotations

from datetime import timedelta

from gateway.conversation.rooms.participants import Participants
from gateway.postgres.database import Database
from tests.rooms.asking import Caller
from tests.running import Gateway
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
        await Participants(database, gateway.resources.announcer).sweep()
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
    await ann.call("PUT", f"/{made['id']}/status", json={"status": "writing"})
    after = await database.fetch("SELECT now() AS at")
    (until,) = await database.fetch(
        "SELECT status_until AS at FROM participant WHERE kind = 'user'"
    )
    minute = timedelta(seconds=60)
    assert before[0]["at"] + minute <= until["at"] <= after[0]["at"] + minute
    await ann.call("PUT", f"/{made['id']}/status", json={"status": "offline"})
    (until,) = await database.fetch("SELECT status_until AS at FROM participant")
    assert until["at"] is None
