"""A request that comes again has its effect once, and is given the first answer."""

from __future__ import annotations

import asyncio

from gateway.conversation.idempotency import Idempotency
from gateway.postgres.database import Database
from tests.rpc.asking import Rpc, answering, calling, prompts, refusal
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, text


async def count(database: Database, table: str) -> int:
    row = await database.fetchrow(f"SELECT count(*) FROM {table}")  # noqa: S608
    assert row is not None
    return int(row[0])


async def test_the_same_creation_is_answered_with_the_same_bytes(
    ann: Rpc, database: Database
) -> None:
    body = ann.creation()
    answers = [await ann.send("create_conversation", body) for _ in range(3)]
    backwards = dict(reversed(body.items()))
    answers.append(await ann.send("create_conversation", {**backwards, "unknown": 1}))
    assert len({answer.content for answer in answers}) == 1
    assert await count(database, "conversation") == 1


async def test_many_at_once_make_one_conversation(ann: Rpc, database: Database) -> None:
    body = ann.creation()
    answers = await asyncio.gather(*(ann.send("create_conversation", body) for _ in range(20)))
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1
    assert await count(database, "conversation") == 1


async def test_the_same_key_with_another_body_is_refused(ann: Rpc, database: Database) -> None:
    body = ann.creation()
    await ann.call("create_conversation", **body)
    options = {"provider_id": "open_ai", "model_id": "another"}
    answer = await ann.send("create_conversation", {**body, "ai_relay_options": options})
    assert refusal(answer, 422, "idempotency_key_reused")["reasons"] == []
    assert answer.headers["x-should-retry"] == "false"
    assert await count(database, "conversation") == 1


async def test_a_key_belongs_to_its_user_and_its_endpoint(
    gateway: Gateway, ann: Rpc, upstream: ScriptedUpstream, database: Database
) -> None:
    answering(upstream)
    key = "the same"
    bob = await calling(gateway, "bob")
    service = await calling(gateway, "service", "conversations", "act_as")
    anns = await ann.create(idempotency_key=key)
    assert await bob.create(idempotency_key=key) != anns
    assert await service.create(idempotency_key=key, owner=ann.owner()) == anns
    await ann.say(anns, idempotency_key=key)
    assert await count(database, "conversation") == 2


async def test_a_refused_request_leaves_its_key_free(ann: Rpc) -> None:
    body = ann.creation("agency/999")
    await ann.refused("create_conversation", 404, "agency_not_found", **body)
    await ann.create(idempotency_key=body["idempotency_key"])


async def test_a_message_is_answered_once(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, "First.", "Second.")
    conversation = await ann.create()
    body = ann.message(conversation)
    first = await ann.send("create_conversation_message", body)
    again = await ann.send("create_conversation_message", body)
    assert (again.status_code, again.content) == (200, first.content)
    assert await ann.said(conversation) == ["Hi", "First."]
    other = {**body, "message_content": "Ho"}
    await ann.refused("create_conversation_message", 422, "idempotency_key_reused", **other)
    assert len(prompts(upstream)) == 1


async def test_a_message_that_comes_again_meanwhile_waits_for_the_same_reply(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    hold = asyncio.Event()
    answering(upstream, text("Hello.", hold=hold))
    body = ann.message(await ann.create())
    sent = [asyncio.create_task(ann.send("create_conversation_message", body)) for _ in range(5)]
    await upstream.arrived()
    hold.set()
    answers = await asyncio.gather(*sent)
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (200, answers[0].content)
    }
    assert answers[0].json()["response_interaction"]["message_content"] == "Hello."
    assert len(prompts(upstream)) == 1


async def test_a_streamed_message_is_answered_again_as_it_was(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    hold = asyncio.Event()
    answering(upstream, text("Hello.", hold=hold))
    conversation = await ann.create()
    body = ann.message(conversation, options={"use_streaming": True})
    first = await ann.send("create_conversation_message", body)
    assert first.json()["response_interaction"]["completed_at"] is None
    hold.set()
    async with asyncio.timeout(20):
        while len(upstream.calls) < 2:  # the second asks for a title
            await asyncio.sleep(0.01)
    again = await ann.send("create_conversation_message", body)
    assert again.content == first.content
    assert await ann.said(conversation) == ["Hi", "Hello."]


async def grow_older(database: Database, by: str) -> None:
    await database.execute(
        f"UPDATE idempotency_key SET created_at = created_at - interval '{by}'"  # noqa: S608
    )


async def test_a_key_is_remembered_for_a_day(ann: Rpc, database: Database) -> None:
    body = ann.creation()
    first = await ann.send("create_conversation", body)
    await grow_older(database, "23 hours 50 minutes")
    await Idempotency(database).forget_old()
    assert (await ann.send("create_conversation", body)).content == first.content
    other = {**body, "ai_relay_options": {"provider_id": "open_ai", "model_id": "another"}}
    await ann.refused("create_conversation", 422, "idempotency_key_reused", **other)
    await grow_older(database, "20 minutes")
    assert (await ann.send("create_conversation", body)).content != first.content
    assert await count(database, "conversation") == 2


async def test_a_key_that_is_older_than_a_day_is_forgotten(ann: Rpc, database: Database) -> None:
    await ann.create(idempotency_key="old")
    await grow_older(database, "24 hours 10 minutes")
    await ann.create(idempotency_key="new")
    await grow_older(database, "23 hours 50 minutes")
    await Idempotency(database).forget_old()
    kept = await database.fetch("SELECT key FROM idempotency_key")
    assert [row["key"] for row in kept] == ["new"]
