"""`X-Conversation-Id` names a conversation outright."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from openai import APIStatusError, NotFoundError

from gateway import ids
from gateway.postgres.database import Database
from tests.chat.asking import turns
from tests.chat.clients import Chat, named, public, retry
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.scripted import Call, Reply, ScriptedUpstream, say, silence
from tests.team import make_team


async def test_a_named_conversation_goes_on_and_the_sent_history_is_ignored(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A1"), say(0, "A2"))
    await ann.say("one")
    first = ann.conversation
    ann.history = [
        {"role": "user", "content": "never said"},
        {"role": "assistant", "content": "never answered"},
    ]
    await ann.say("two", **named(first))
    assert ann.conversation == first
    assert public(upstream.calls[1]) == [("user", "one"), ("assistant", "A1"), ("user", "two")]


async def test_the_system_message_of_a_named_conversation_stays_until_another_comes(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway), history=[{"role": "system", "content": "Rhyme!"}])
    upstream.script("manager", *(say(0, f"A{n}") for n in range(4)))
    await ann.say("one")
    first = ann.conversation
    for history in ([], [{"role": "system", "content": "Sing!"}], []):
        ann.history = list(history)
        await ann.say("more", **named(first))
    prompts = [call.messages[0]["content"] for call in upstream.calls]
    assert ["Rhyme!" in prompt for prompt in prompts] == [True, True, False, False]
    assert ["Sing!" in prompt for prompt in prompts] == [False, False, True, True]


@pytest.mark.parametrize("name", ["conv_" + 32 * "0", "conv_1", "nonsense", "chatcmpl-" + 32 * "0"])
async def test_what_names_no_conversation_is_not_found(gateway: Gateway, name: str) -> None:
    ann = Chat(gateway, await make_team(gateway))
    with pytest.raises(NotFoundError) as refused:
        await ann.say("Hi", **named(name))
    assert refused.value.code == "conversation_not_found"


async def test_another_users_conversation_is_not_found(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, shared=True)
    ann = Chat(gateway, team, await gateway.key("ann"))
    bob = Chat(gateway, team, await gateway.key("bob"))
    upstream.script("manager", say(0, "A1"))
    await ann.say("Hi")
    with pytest.raises(NotFoundError):
        await bob.say("Hi", **named(ann.conversation))
    await database.execute("UPDATE conversation SET deleted_at = now()")
    with pytest.raises(NotFoundError):
        await ann.say("Hi", **named(ann.conversation))


async def test_messages_wait_for_the_turn_before_and_keep_their_order(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    hold = asyncio.Event()

    def manage(call: Call) -> Reply:
        text = call.inbound[-1][1]
        return say(0, f"To {text}", hold=hold if text == "m0" else None)

    upstream.always("manager", manage)
    await ann.say("start")
    first = ann.conversation
    asking = []
    for number in range(12):
        asking.append(asyncio.create_task(ann.branch(0).say(f"m{number}", **named(first))))
        async with asyncio.timeout(20):
            while len(await turns(database)) < number + 2:  # it has its place now
                await asyncio.sleep(0.01)
    assert len(upstream.calls) == 2
    hold.set()
    assert await asyncio.gather(*asking) == [f"To m{number}" for number in range(12)]
    told = [text for role, text in public(upstream.calls[-1]) if role == "user"]
    assert told == ["start", *(f"m{number}" for number in range(12))]
    assert upstream.most_open == 1


async def test_a_message_waits_for_a_turn_that_runs_in_another_process(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    one, other = await start_gateway(), await start_gateway()
    ann = Chat(one, await make_team(one))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "A1"), say(0, "A2", hold=hold), say(0, "A3"))
    await ann.say("one")
    first = ann.conversation
    second = asyncio.create_task(ann.branch(0).say("two", **named(first)))
    await upstream.arrived("manager", 2)
    elsewhere = ann.branch(0)
    elsewhere.gateway = other
    third = asyncio.create_task(elsewhere.say("three", **named(first)))
    await asyncio.sleep(0.2)
    assert len(upstream.calls) == 2
    hold.set()
    assert [await second, await third] == ["A2", "A3"]
    assert [text for _, text in public(upstream.calls[2])] == ["one", "A1", "two", "A2", "three"]


async def test_a_turn_whose_client_left_gives_way_to_the_next_message(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A1"), silence(), say(0, "A3"))
    await ann.say("one")
    first = ann.conversation
    asking = asyncio.create_task(ann.branch(0).say("two", **named(first)))
    await upstream.arrived("manager", 2)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    await ann.branch(0).say("three", **named(first))
    assert [text for _, text in public(upstream.calls[2])] == ["one", "A1", "three"]
    assert [state for state, _ in await turns(database)] == ["completed", "cancelled", "completed"]


async def test_the_same_words_in_two_conversations_are_two_requests(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", *(say(0, text) for text in ("A", "B", "yes in A", "yes in B")))
    one, two = Chat(gateway, team), Chat(gateway, team)
    await one.say("Shall I?")
    await two.say("Shall I?")
    for chat, answer in ((one, "yes in A"), (two, "yes in B")):
        chat.history = []
        options = named(chat.conversation)
        options["extra_headers"] |= retry()["extra_headers"]
        assert await chat.say("yes", **options) == answer


async def test_a_conversation_of_which_nothing_succeeded_goes_on_by_name(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", silence(), say(0, "A2"), say(0, "A3"))
    with pytest.raises(APIStatusError) as failure:
        await cancelled(gateway, upstream, ann.branch())
    first = failure.value.response.headers["x-conversation-id"]
    await ann.say("two", **named(first))
    assert ann.conversation == first
    assert public(upstream.calls[1]) == [("user", "two")]
    await ann.branch(0).say("three", **named(first))
    assert len(public(upstream.calls[2])) == 3


async def cancelled(gateway: Gateway, upstream: ScriptedUpstream, chat: Chat) -> None:
    """Ask, and have the turn cancelled from outside."""
    asking = asyncio.create_task(chat.say("one"))
    await upstream.arrived()
    row = await gateway.resources.database.fetchrow("SELECT id FROM turn WHERE state = 'running'")
    assert row is not None
    answer = await gateway.http.post(f"/api/turns/{ids.show(ids.TURN, row['id'])}/cancel")
    assert answer.status_code == 200, answer.text
    await asking
