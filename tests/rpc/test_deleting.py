"""What deleting and excluding does: to the rows, to replies that are being given, and to what is
said later."""

from __future__ import annotations

import asyncio

import pytest
from openai import ConflictError

from gateway.postgres.database import Database
from tests.chat.clients import Chat, retry
from tests.rpc.asking import Body, Rpc, answering, prompts
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, text
from tests.streams.waiting import until
from tests.team import make_team

EXCLUDE = "update_interaction_excluded_state"
STREAMING = {"options": {"use_streaming": True}}


async def turns(database: Database) -> list[tuple[str, str | None]]:
    rows = await database.fetch("SELECT state, error->>'code' AS code FROM turn ORDER BY seq")
    return [tuple(row) for row in rows]


def both(answered: Body) -> tuple[str, str]:
    return answered["input_interaction"]["id"], answered["response_interaction"]["id"]


# ---- what is said later --------------------------------------------------------------------------


async def test_a_deleted_message_takes_its_turn_out_of_later_prompts(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "One.", "Two.", "Three.")
    conversation = await ann.create()
    said, _ = both(await ann.say(conversation, "1?"))
    await ann.say(conversation, "2?")
    await ann.call("delete_interactions", interaction_ids=said)
    assert await ann.said(conversation) == ["One.", "2?", "Two."]
    await ann.say(conversation, "3?")
    assert [content for _, content in prompts(upstream)[2][-3:]] == ["2?", "Two.", "3?"]
    assert "1?" not in str(prompts(upstream)[2])


async def test_a_deleted_reply_is_left_out_alone(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, "One.", "Two.")
    conversation = await ann.create()
    _, reply = both(await ann.say(conversation, "1?"))
    await ann.call("delete_interactions", interaction_ids=[reply])
    await ann.say(conversation, "2?")
    told = [content for _, content in prompts(upstream)[1]]
    assert told[-1:] == ["1?\n\n2?"], "neighbours of one role are one message"
    assert "One." not in str(told)


async def test_an_excluded_reply_is_not_told_until_it_is_shown_again(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "One.", "Two.", "Three.")
    conversation = await ann.create()
    _, reply = both(await ann.say(conversation, "1?"))
    await ann.call(EXCLUDE, interaction_id=reply, excluded=True)
    await ann.say(conversation, "2?")
    await ann.call(EXCLUDE, interaction_id=reply, excluded=False)
    await ann.say(conversation, "3?")
    assert "One." not in str(prompts(upstream)[1])
    assert "One." in str(prompts(upstream)[2])
    assert await ann.said(conversation) == ["1?", "One.", "2?", "Two.", "3?", "Three."]


async def test_an_excluded_message_takes_its_turn_along(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    """Of a team too, with what its agents said to each other."""
    team = await make_team(gateway, "programmer")
    manager, programmer = team["manager"], team["programmer"]
    upstream.script("manager", say(programmer, "Q1"), say(0, "A1"), say(programmer, "Q2"))
    upstream.script("manager", say(0, "A2"))
    upstream.script("programmer", say(manager, "R1"), say(manager, "R2"))
    answering(upstream)
    root = Rpc(gateway.http)
    conversation = await root.create(f"agency/{team.id}")
    said, _ = both(await root.say(conversation, "1?"))
    await root.call(EXCLUDE, interaction_id=said, excluded=True)
    await root.say(conversation, "2?")
    for call in (upstream.calls_of("manager")[3], upstream.calls_of("programmer")[1]):
        assert not {"1?", "Q1", "R1", "A1"} & {word for _, word in call.inbound}, call.messages


async def test_excluding_twice_changes_nothing_the_second_time(
    ann: Rpc, upstream: ScriptedUpstream, database: Database
) -> None:
    answering(upstream)
    conversation = await ann.create()
    said, _ = both(await ann.say(conversation))
    await until(lambda: len(upstream.calls) == 2)  # the title has been asked for
    await ann.call(EXCLUDE, interaction_id=said, excluded=True)
    first = await ann.read(conversation)
    await ann.call(EXCLUDE, interaction_id=said, excluded=True)
    again = await ann.read(conversation)
    assert again["interactions"] == first["interactions"]


async def test_no_history_rejoins_behind_what_was_deleted_or_excluded(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    root = Rpc(gateway.http)
    team = await make_team(gateway)
    for endpoint, body in (
        ("delete_interactions", lambda one: {"interaction_ids": one}),
        (EXCLUDE, lambda one: {"interaction_id": one, "excluded": True}),
    ):
        upstream.script("manager", *(say(0, f"A{n}") for n in range(3)))
        chat = Chat(gateway, team)
        await chat.say(f"one {endpoint}")
        await chat.say("two")
        first = chat.conversation
        reply = (await root.read(first))["interactions"][3]["id"]
        await root.call(endpoint, **body(reply))
        await chat.say("three")
        assert chat.conversation != first
        assert len((await root.read(first))["interactions"]) == (3 if "delete" in endpoint else 4)
        said = (await root.read(first))["interactions"][0]["message_content"]
        assert said == f"one {endpoint}"


async def test_a_retry_is_not_given_an_answer_that_was_deleted(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    root = Rpc(gateway.http)
    team = await make_team(gateway)
    upstream.script("manager", *(say(0, f"A{n}") for n in range(4)))
    for delete in ("delete_interactions", "delete_conversations"):
        chat = Chat(gateway, team)
        first = await chat.say(delete)
        conversation = chat.conversation
        whole = await root.read(conversation)
        body = (
            {"interaction_ids": [one["id"] for one in whole["interactions"]]}
            if delete == "delete_interactions"
            else {"conversation_ids": [conversation]}
        )
        await root.call(delete, **body)
        chat.history.pop()
        assert await chat.send(**retry()) != first
        assert chat.conversation != conversation


# ---- replies that are being given ----------------------------------------------------------------


async def test_deleting_a_message_cancels_its_reply_and_the_next_one_begins(
    ann: Rpc, upstream: ScriptedUpstream, database: Database
) -> None:
    answering(upstream, text("One.", hold=asyncio.Event()), "Two.")
    conversation = await ann.create()
    said, reply = both(await ann.say(conversation, "1?", **STREAMING))
    call = await upstream.arrived()
    waiting = asyncio.create_task(ann.say(conversation, "2?"))
    await until(lambda: call.open)
    await ann.call("delete_interactions", interaction_ids=said)
    async with asyncio.timeout(20):
        await call.disconnected.wait()
    assert (await waiting)["response_interaction"]["message_content"] == "Two."
    assert (await turns(database))[0] == ("cancelled", "turn_cancelled")
    shown = (await ann.read(conversation))["interactions"][0]
    assert shown["id"] == reply
    assert [error["code"] for error in shown["errors"]] == ["turn_cancelled"]
    assert shown["completed_at"] is not None


async def test_whoever_waits_for_a_reply_that_is_deleted_is_told(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    answering(upstream, text("One.", hold=asyncio.Event()))
    conversation = await ann.create()
    waiting = asyncio.create_task(ann.say(conversation))
    await upstream.arrived()
    said, reply = (one["id"] for one in (await ann.read(conversation))["interactions"])
    await ann.call("delete_interactions", interaction_ids=[reply])
    answered = await waiting
    assert answered["response_interaction"]["deleted_at"] is not None
    assert answered["response_interaction"]["errors"][0]["code"] == "turn_cancelled"
    assert [one["id"] for one in (await ann.read(conversation))["interactions"]] == [said]


async def test_a_queued_message_that_is_deleted_is_never_asked(
    ann: Rpc, upstream: ScriptedUpstream, database: Database
) -> None:
    hold = asyncio.Event()
    answering(upstream, text("One.", hold=hold), "Three.")
    conversation = await ann.create()
    await ann.say(conversation, "1?", **STREAMING)
    await upstream.arrived()
    queued, _ = both(await ann.say(conversation, "2?", **STREAMING))
    await ann.call("delete_interactions", interaction_ids=queued)
    hold.set()
    await ann.say(conversation, "3?")
    assert "2?" not in str(prompts(upstream))
    assert [state for state, _ in await turns(database)] == ["completed", "cancelled", "completed"]


async def test_deleting_a_conversation_cancels_all_that_is_open_in_it(
    ann: Rpc, upstream: ScriptedUpstream, database: Database
) -> None:
    answering(upstream, text("One.", hold=asyncio.Event()))
    conversation = await ann.create()
    waiting = [asyncio.create_task(ann.say(conversation, "1?"))]
    call = await upstream.arrived()
    waiting.append(asyncio.create_task(ann.say(conversation, "2?")))
    while len(await turns(database)) < 2:
        await asyncio.sleep(0.01)
    await ann.call("delete_conversations", conversation_ids=[conversation])
    async with asyncio.timeout(20):
        await call.disconnected.wait()
    for answered in await asyncio.gather(*waiting):
        assert answered["response_interaction"]["deleted_at"] is not None
        assert answered["response_interaction"]["errors"][0]["code"] == "turn_cancelled"
    assert await turns(database) == [("cancelled", "turn_cancelled")] * 2
    await ann.refused(
        "create_conversation_message", 404, "conversation_not_found", **ann.message(conversation)
    )


async def test_a_chat_whose_conversation_is_deleted_is_told_so(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.script("manager", say(0, "A1", hold=asyncio.Event()))
    chat = Chat(gateway, await make_team(gateway))
    waiting = asyncio.create_task(chat.say("one"))
    await upstream.arrived()
    root = Rpc(gateway.http)
    listed = await root.call("list_conversations_with_interactions", owner=root.owner())
    made = [one["id"] for one in listed["conversations"]]
    await root.call("delete_conversations", conversation_ids=made)
    with pytest.raises(ConflictError) as refused:
        await waiting
    assert refused.value.code == "turn_cancelled"


async def test_an_input_that_came_before_the_last_one_belongs_to_its_turn_too(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.script("manager", say(0, "A1", hold=asyncio.Event()))
    chat = Chat(gateway, await make_team(gateway))
    chat.history.append({"role": "user", "content": "first"})
    waiting = asyncio.create_task(chat.say("second"))
    await upstream.arrived()
    root = Rpc(gateway.http)
    listed = await root.call("list_conversations_with_interactions", owner=root.owner())
    (conversation,) = listed["conversations"]
    first = conversation["interactions"][0]
    assert first["message_content"] == "first"
    await root.call("delete_interactions", interaction_ids=first["id"])
    with pytest.raises(ConflictError):
        await waiting


# ---- all or none ---------------------------------------------------------------------------------


async def test_nothing_is_deleted_if_one_of_several_is_missing(
    ann: Rpc, upstream: ScriptedUpstream, database: Database
) -> None:
    answering(upstream)
    conversation = await ann.create()
    said, reply = both(await ann.say(conversation))
    missing = 31 * "0"
    error = await ann.refused(
        "delete_conversations",
        404,
        "conversation_not_found",
        conversation_ids=[conversation, f"conv_{missing}1", f"conv_{missing}2"],
    )
    assert conversation not in error["message"]
    assert f"conv_{missing}1" in error["message"]
    assert f"conv_{missing}2" in error["message"]
    error = await ann.refused(
        "delete_interactions",
        404,
        "interaction_not_found",
        interaction_ids=[said, f"int_{missing}1", reply],
    )
    assert f"int_{missing}1" in error["message"]
    assert said not in error["message"]
    assert len(await ann.said(conversation)) == 2


async def test_interactions_of_several_conversations_are_deleted_at_once(
    ann: Rpc, upstream: ScriptedUpstream, database: Database
) -> None:
    answering(upstream)
    made = [await ann.create() for _ in range(3)]
    said = [(await ann.say(one))["input_interaction"]["id"] for one in made]
    kept = await ann.read(made[2])
    await ann.call("delete_interactions", interaction_ids=said[:2])
    assert [len(await ann.said(one)) for one in made] == [1, 1, 2]
    assert (await ann.read(made[2]))["interactions"] == kept["interactions"]


async def test_what_was_deleted_before_is_not_found(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream)
    conversation = await ann.create()
    said, reply = both(await ann.say(conversation))
    await ann.call("delete_interactions", interaction_ids=[said, said])
    await ann.refused("delete_interactions", 404, "interaction_not_found", interaction_ids=said)
    change = {"interaction_id": said, "excluded": True}
    await ann.refused(EXCLUDE, 404, "interaction_not_found", **change)
    body = {"conversation_ids": [conversation, conversation]}
    await ann.call("delete_conversations", **body)
    await ann.refused("delete_conversations", 404, "conversation_not_found", **body)
    await ann.refused("delete_interactions", 404, "interaction_not_found", interaction_ids=reply)


async def test_of_many_who_delete_at_once_one_does(ann: Rpc) -> None:
    made = [await ann.create() for _ in range(10)]
    answers = await asyncio.gather(
        *(
            ann.send("delete_conversations", {"conversation_ids": made[::step]})
            for step in (1, -1) * 5
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 9


async def test_a_thousand_conversations_are_deleted_at_once(ann: Rpc, database: Database) -> None:
    await database.execute(
        """INSERT INTO conversation (id, owner_type, owner_identifier, version, length, root_id)
           SELECT id, 'user', 'ann', 1, 0, id
           FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 1000)) made"""
    )
    listed = await ann.call("list_conversations_with_interactions", owner=ann.owner())
    made = [one["id"] for one in listed["conversations"]]
    assert len(made) == 1000
    await ann.call("delete_conversations", conversation_ids=made)
    listed = await ann.call("list_conversations_with_interactions", owner=ann.owner())
    assert listed["conversations"] == []
