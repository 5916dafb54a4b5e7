"""Histories that were made elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.postgres.database import Database
from tests.chat.clients import Chat, letters, public
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say
from tests.team import make_team

IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


async def test_a_foreign_history_is_put_before_the_manager_with_all_its_roles(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway)
    foreign: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "Rain"},
        {"role": "assistant", "content": "It rains."},
        {"role": "user", "content": [{"type": "text", "text": "And here?"}, IMAGE]},
        {"role": "assistant", "content": None, "refusal": "I can't see."},
        {"role": "function", "name": "look", "content": "Sun"},
        {"role": "assistant", "content": [{"type": "text", "text": "The sun shines."}]},
    ]
    ann = Chat(gateway, team, history=list(foreign))
    upstream.script("manager", say(0, "Here it is fine."), say(0, "Bye."))
    await ann.say("So?")
    call = upstream.calls[0]
    assert public(call) == [
        ("user", "Weather?"),
        ("assistant", ""),
        ("user", "Rain"),
        ("assistant", "It rains."),
        ("user", "And here?"),
        ("assistant", "I can't see."),
        ("user", "Sun"),
        ("assistant", "The sun shines."),
        ("user", "So?"),
    ]
    assert "Be brief." in call.messages[0]["content"]
    assert IMAGE in call.messages[5]["content"]
    first = ann.conversation
    await ann.say("Thanks")
    assert ann.conversation == first
    assert len(public(upstream.calls[1])) == 11
    assert IMAGE in upstream.calls[1].messages[5]["content"]
    await check(database)


async def test_a_tail_that_nobody_knows_is_imported_after_the_match(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script("manager", say(team["programmer"], "Q"), say(0, "A1"), say(0, "A4"))
    upstream.script("programmer", say(team["manager"], "Inside"))
    ann = Chat(gateway, team)
    await ann.say("Q1")
    first = ann.conversation
    for number in (2, 3):
        ann.history += [
            {"role": "user", "content": f"Q{number}"},
            {"role": "assistant", "content": f"A{number}"},
        ]
    await ann.say("Q4")
    assert ann.conversation == first
    assert letters(upstream.calls[-1]) == [
        ("user", 0, "Q1"),
        ("assistant", team["programmer"], "Q"),
        ("user", team["programmer"], "Inside"),
        ("assistant", 0, "A1"),
        ("user", 0, "Q2"),
        ("assistant", 0, "A2"),
        ("user", 0, "Q3"),
        ("assistant", 0, "A3"),
        ("user", 0, "Q4"),
    ]


async def test_a_known_turn_is_found_however_long_the_unknown_tail_is(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A1"), say(0, "End"))
    await ann.say("Q1")
    first = ann.conversation
    for number in range(60):
        ann.history += [
            {"role": "user", "content": f"q{number}"},
            {"role": "assistant", "content": f"a{number}"},
        ]
    await ann.say("So?")
    assert ann.conversation == first
    assert len(public(upstream.calls[-1])) == 123


async def test_a_history_that_ends_with_an_answer_asks_for_another_one(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A1"), say(0, "More"), say(0, "A2"))
    await ann.say("Q1")
    first = ann.conversation
    await ann.send()
    assert ann.conversation == first
    assert [message["content"] for message in ann.history] == ["Q1", "A1", "More"]
    await ann.say("Q2")
    assert ann.conversation == first


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_a_system_message_alone_is_answered(
    gateway: Gateway, upstream: ScriptedUpstream, role: str
) -> None:
    ann = Chat(gateway, await make_team(gateway), history=[{"role": role, "content": "Greet."}])
    upstream.script("manager", say(0, "Hello."), say(0, "Fine."))
    await ann.send()
    first = ann.conversation
    await ann.say("How are you?")
    assert ann.conversation == first
    assert "Greet." in upstream.calls[1].messages[0]["content"]


@pytest.mark.parametrize("content", ["", "   ", [], [{"type": "text", "text": ""}]])
async def test_empty_content_is_a_message_too(
    gateway: Gateway, upstream: ScriptedUpstream, content: Any
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "Yes?"), say(0, "Now there is something."))
    assert await ann.say(content) == "Yes?"
    first = ann.conversation
    await ann.say("Something")
    assert ann.conversation == first


async def test_several_messages_in_a_row_are_one_input(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A1"), say(0, "A2"))
    ann.history = [{"role": "user", "content": "One"}, {"role": "user", "content": "Two"}]
    await ann.say("Three")
    first = ann.conversation
    ann.history.append({"role": "user", "content": "Four"})
    await ann.say("Five")
    assert ann.conversation == first
    assert [text for _, text in public(upstream.calls[1])] == [
        *("One", "Two", "Three", "A1", "Four", "Five")
    ]


async def test_a_hundred_openings_alike_do_not_hide_the_longer_match(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Hello."))
    ann = Chat(gateway, team)
    await ann.say("Hi")
    await ann.say("I am Ann")
    mine = ann.conversation
    for _ in range(100):
        await Chat(gateway, team).say("Hi")
    await ann.say("Who am I?")
    assert ann.conversation == mine
