"""Messages and their replies: waited for or not, from models and from teams, here and at the chat
door."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway.postgres.database import Database
from tests.chat.clients import Chat, named, public
from tests.rpc.asking import Body, Rpc, answering, calling, prompts
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, status, text
from tests.streams.waiting import until
from tests.team import make_team


async def replied(rpc: Rpc, conversation: str, count: int = 1) -> Body:
    """Wait for the reply to the `count`-th message."""
    async with asyncio.timeout(10):
        while True:
            interactions = (await rpc.read(conversation))["interactions"]
            if len(interactions) >= 2 * count and interactions[2 * count - 1]["completed_at"]:
                return interactions[2 * count - 1]
            await asyncio.sleep(0.02)


async def test_a_model_is_told_the_whole_conversation(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, "One.", "Two.")
    conversation = await ann.create()
    await ann.say(conversation, "1?")
    await ann.say(conversation, "2?")
    assert prompts(upstream)[1][-3:] == [("user", "1?"), ("assistant", "One."), ("user", "2?")]
    assert upstream.calls[0].body["model"] == "gpt"


async def test_an_agency_answers_as_a_model_does(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    root = Rpc(gateway.http)
    team = await make_team(gateway, "programmer")
    upstream.script("manager", say(team["programmer"], "How?"), say(0, "So."))
    upstream.script("programmer", say(team["manager"], "Thus."))
    answering(upstream)
    conversation = await root.create(f"agency/{team.id}")
    answered = await root.say(conversation, "Please")
    reply = answered["response_interaction"]
    assert reply["message_content"] == "So."
    assert reply["owner"] == {"type": "bot", "identifier": f"agency/{team.id}"}
    assert await root.said(conversation) == ["Please", "So."]


async def test_an_agencys_empty_answer_is_sent_back_once(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    root = Rpc(gateway.http)
    team = await make_team(gateway)
    upstream.script("manager", text('{"to": 0, "context": null}'), say(0, "So."))
    answering(upstream)
    conversation = await root.create(f"agency/{team.id}")
    answered = await root.say(conversation, "Please")
    assert answered["response_interaction"]["message_content"] == "So."


async def test_options_of_a_message_are_for_that_message(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "One.", "Two.")
    conversation = await ann.create("gpt")
    options = {"provider_id": "open_ai", "model_id": "better"}
    first = await ann.say(conversation, ai_relay_options=options)
    second = await ann.say(conversation)
    assert first["input_interaction"]["ai_relay_options"] == options
    assert first["response_interaction"]["ai_relay_options"] == options
    assert first["response_interaction"]["owner"]["identifier"] == "better"
    assert second["response_interaction"]["owner"]["identifier"] == "gpt"
    whole = await ann.read(conversation)
    assert whole["ai_relay_options"]["model_id"] == "gpt"


async def test_a_streamed_message_is_answered_before_its_reply(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    hold = asyncio.Event()
    answering(upstream, text("Hello.", hold=hold))
    conversation = await ann.create()
    answered = await ann.say(conversation, options={"use_streaming": True})
    reply = answered["response_interaction"]
    assert (reply["message_content"], reply["completed_at"]) == ("", None)
    assert answered["input_interaction"]["completed_at"] is not None
    hold.set()
    complete = await replied(ann, conversation)
    assert (complete["id"], complete["message_content"]) == (reply["id"], "Hello.")


async def test_messages_are_answered_one_after_the_other(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    hold = asyncio.Event()
    answering(upstream, text("One.", hold=hold), "Two.")
    conversation = await ann.create()
    for content in ("1?", "2?"):
        await ann.say(conversation, content, options={"use_streaming": True})
    await upstream.arrived()
    assert len(upstream.calls) == 1
    hold.set()
    assert (await replied(ann, conversation, 2))["message_content"] == "Two."
    assert await ann.said(conversation) == ["1?", "One.", "2?", "Two."]


async def test_a_failed_reply_has_errors(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, status(400))
    conversation = await ann.create()
    answered = await ann.say(conversation)
    reply = answered["response_interaction"]
    (error,) = reply["errors"]
    assert set(error) == {"code", "message", "reasons"}
    assert error["reasons"] == []
    assert reply["completed_at"] is not None
    assert answered["input_interaction"]["errors"] == []
    assert (await ann.read(conversation))["interactions"][1] == reply


async def test_a_reply_goes_on_when_its_caller_has_gone(
    gateway: Gateway, ann: Rpc, upstream: ScriptedUpstream
) -> None:
    hold = asyncio.Event()
    answering(upstream, text("Hello.", hold=hold))
    conversation = await ann.create()
    body = ann.message(conversation)
    with pytest.raises(httpx.ReadTimeout):
        await ann.http.post("/rpc/2025-02-12/create_conversation_message", json=body, timeout=0.5)
    await upstream.arrived()
    await asyncio.sleep(0.1)
    assert upstream.open_calls
    hold.set()
    assert (await replied(ann, conversation))["message_content"] == "Hello."
    again = await ann.call("create_conversation_message", **body)
    assert again["response_interaction"]["message_content"] == "Hello."
    assert len(prompts(upstream)) == 1
    # What nobody waits for any more is still being answered.
    await until(lambda: gateway.resources.database.lent == 0)


async def test_a_conversation_of_the_chat_door_is_read_and_continued_here(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "A1"), say(0, "A2"))
    chat = Chat(gateway, team)
    await chat.say("one")
    root = Rpc(gateway.http)
    (listed,) = (await root.call("list_conversations_with_interactions", owner=root.owner()))[
        "conversations"
    ]
    options = {"provider_id": "open_ai", "model_id": f"agency/{team.id}"}
    assert (listed["id"], listed["title"]) == (chat.conversation, "one")
    assert listed["ai_relay_options"] == options
    assert [one["ai_relay_options"] for one in listed["interactions"]] == [options] * 2
    assert [one["owner"]["type"] for one in listed["interactions"]] == ["user", "bot"]
    answered = await root.say(chat.conversation, "two")
    assert answered["response_interaction"]["message_content"] == "A2"
    assert public(upstream.calls[1]) == [("user", "one"), ("assistant", "A1"), ("user", "two")]


async def test_a_conversation_of_this_door_goes_on_at_the_chat_door(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "A1"), say(0, "A2"), say(0, "A3"))
    answering(upstream)
    root = Rpc(gateway.http)
    conversation = await root.create(f"agency/{team.id}")
    await root.say(conversation, "one")
    chat = Chat(gateway, team)
    assert await chat.say("two", **named(conversation)) == "A2"
    assert chat.conversation == conversation
    await root.say(conversation, "three")
    assert await root.said(conversation) == ["one", "A1", "two", "A2", "three", "A3"]
    assert public(upstream.calls_of("manager")[2])[-3:] == [
        ("user", "two"),
        ("assistant", "A2"),
        ("user", "three"),
    ]


async def test_a_title_is_given_after_the_first_reply(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, title="Of bakeries")
    conversation = await ann.create()
    await ann.say(conversation)
    async with asyncio.timeout(20):
        while (await ann.read(conversation))["title"] is None:
            await asyncio.sleep(0.02)
    assert (await ann.read(conversation))["title"] == "Of bakeries"


async def test_a_reply_echoes_the_skill_sets_and_has_no_files(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    answering(upstream)
    ann = await calling(gateway, "ann", "conversations", "chat")
    made = await ann.call(
        "create_skill_set",
        owner=ann.owner(),
        name="Rhymes",
        icon="",
        description="",
        prompt="Answer in rhyme!",
    )
    uploaded = await ann.http.post(
        "/v1/files",
        files={"file": ("poem.txt", b"Roses are red")},
        data={"purpose": "user_data"},
    )
    assert uploaded.status_code == 200, uploaded.text
    conversation = await ann.create()
    given = {"file_ids": [uploaded.json()["id"]], "skill_set_ids": [made["id"]]}
    answered = await ann.say(conversation, "Go on", **given)
    said, reply = answered["input_interaction"], answered["response_interaction"]
    assert {name: said[name] for name in given} == given
    assert {name: reply[name] for name in given} == {**given, "file_ids": []}
    told = str(prompts(upstream)[0])
    assert "Answer in rhyme!" in told
    assert "Roses are red" in told


async def test_a_conversation_without_a_model_needs_to_be_told_one(
    ann: Rpc, upstream: ScriptedUpstream, database: Database
) -> None:
    answering(upstream)
    conversation = await ann.create()
    await database.execute("UPDATE conversation SET provider_id = NULL, model_id = NULL")
    error = await ann.refused(
        "create_conversation_message", 400, "invalid_request", **ann.message(conversation)
    )
    assert error["reasons"][0]["code"] == "missing_field"
    await ann.say(conversation, ai_relay_options={"provider_id": "open_ai", "model_id": "gpt"})


async def test_a_key_that_was_believed_and_is_revoked_says_nothing_more(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "Hello.")
    ann = await calling(gateway, "ann")
    conversation = await ann.create()
    said = ann.message(conversation)
    await ann.call("create_conversation_message", **said)
    keys = (await gateway.http.get("/api/keys")).json()["data"]
    (key,) = (one["id"] for one in keys if one["user"] == "ann")
    await gateway.http.delete(f"/api/keys/{key}")
    unknown = ann.message(f"conv_{'0' * 32}")
    for body in (said, ann.message(conversation), unknown):
        await ann.refused("create_conversation_message", 401, "invalid_api_key", **body)
