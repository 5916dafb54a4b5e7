"""What happens at this door is told on the channel that its answers name."""

from __future__ import annotations

import asyncio

from tests.rpc.asking import Rpc, answering
from tests.scripted import ScriptedUpstream, text
from tests.streams.reading import following

STREAMING = {"options": {"use_streaming": True}}


async def test_a_streamed_reply_is_told_on_its_own_channel(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    hold = asyncio.Event()
    answering(upstream, text("Hello, this is a long reply.", hold=hold))
    answered = await ann.say(await ann.create(), **STREAMING)
    reply = answered["response_interaction"]["id"]
    async with following(ann.http, answered["stream_channel_id"]) as told:
        await told.until(lambda one: "snapshot" in one.names())
        hold.set()
        await told.until(lambda one: one.ended)
    (last,) = [one for one in told.of("interaction.updated") if one["interaction"]["id"] == reply][
        -1:
    ]
    assert last["interaction"]["content"] == "Hello, this is a long reply."
    assert last["interaction"]["completed_at"] is not None


async def test_a_conversations_channel_tells_of_messages_and_replies(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    hold = asyncio.Event()
    answering(upstream, text("Hello.", hold=hold))
    made = await ann.call("create_conversation", **ann.creation())
    async with following(ann.http, made["stream_channel_id"]) as told:
        await told.until(lambda one: "snapshot" in one.names())
        answered = await ann.say(made["conversation_id"], **STREAMING)
        said, reply = (answered[n]["id"] for n in ("input_interaction", "response_interaction"))
        await told.until(lambda one: len(one.of("interaction.created")) == 2)
        created = [one["interaction"]["id"] for one in told.of("interaction.created")]
        assert created == [said, reply]
        hold.set()
        await told.until(lambda one: one.of("interaction.updated"))
        (updated,) = told.of("interaction.updated")
        assert updated["interaction"]["id"] == reply
        assert updated["interaction"]["content"] == "Hello."
        await told.until(lambda one: one.of("conversation.updated"))
        assert told.of("conversation.updated")[0]["conversation"]["title"] == "A title"


async def test_excluding_and_deleting_are_told(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream)
    conversation = await ann.create()
    answered = await ann.say(conversation)
    said, reply = (answered[n]["id"] for n in ("input_interaction", "response_interaction"))
    async with following(ann.http, conversation) as told:
        await told.until(lambda one: "snapshot" in one.names())
        await ann.call("update_interaction_excluded_state", interaction_id=said, excluded=True)
        await told.until(
            lambda one: any(
                event["interaction"]["marked_as_excluded_at"] is not None
                for event in one.of("interaction.updated")
            )
        )
        await ann.call("delete_interactions", interaction_ids=[reply])
        await told.until(lambda one: one.of("interaction.deleted"))
        assert told.of("interaction.deleted")[0]["interaction_id"] == reply
        await ann.call("delete_conversations", conversation_ids=[conversation])
        await told.until(lambda one: one.of("conversation.deleted"))
        assert told.of("conversation.deleted")[0]["conversation_id"] == conversation


async def test_a_cancelled_reply_is_told(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, text("Hello.", hold=asyncio.Event()))
    conversation = await ann.create()
    answered = await ann.say(conversation, **STREAMING)
    await upstream.arrived()
    async with following(ann.http, conversation) as told:
        await told.until(lambda one: "snapshot" in one.names())
        said = answered["input_interaction"]["id"]
        await ann.call("delete_interactions", interaction_ids=said)
        await told.until(
            lambda one: any(turn["turn"]["state"] == "cancelled" for turn in one.of("turn.updated"))
        )
        (updated,) = told.of("interaction.updated")
        assert updated["interaction"]["errors"][0]["code"] == "turn_cancelled"
        assert updated["interaction"]["id"] == answered["response_interaction"]["id"]
