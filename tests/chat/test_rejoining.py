"""A client sends its growing history and no id: it goes on where it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import APIStatusError

from gateway.postgres.database import Database
from tests.chat.clients import Chat, letters, named, public
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, status
from tests.team import Team, make_team


def consult(upstream: ScriptedUpstream, team: Team, question: str, answer: str) -> None:
    upstream.script("manager", say(team["programmer"], question), say(0, answer))
    upstream.script("programmer", say(team["manager"], f"About {question}"))


async def count(database: Database, table: str) -> int:
    row = await database.fetchrow(f"SELECT count(*) FROM {table}")  # noqa: S608
    assert row is not None
    return int(row[0])


async def test_every_agent_remembers_what_was_said_before(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    ann = Chat(gateway, team)
    consult(upstream, team, "Q1", "A1")
    await ann.say("First")
    first = ann.conversation
    consult(upstream, team, "Q2", "A2")
    await ann.say("Second")
    assert ann.conversation == first
    manager, programmer = team["manager"], team["programmer"]
    assert letters(upstream.calls_of("programmer")[1]) == [
        ("user", manager, "Q1"),
        ("assistant", manager, "About Q1"),
        ("user", manager, "Q2"),
    ]
    assert letters(upstream.calls_of("manager")[2]) == [
        ("user", 0, "First"),
        ("assistant", programmer, "Q1"),
        ("user", programmer, "About Q1"),
        ("assistant", 0, "A1"),
        ("user", 0, "Second"),
    ]


async def test_a_stream_and_a_plain_answer_continue_each_other(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "One."), say(0, "Two."), say(0, "Three."))
    await ann.stream("1")
    first = ann.conversation
    await ann.say("2")
    await ann.stream("3")
    assert ann.conversation == first
    assert len(public(upstream.calls[2])) == 5


@pytest.mark.parametrize(
    ("content", "echo", "again"),
    [
        ("Hi", "  Fine. \n", "Hi\n"),
        ("Hi", [{"type": "text", "text": "Fine."}], [{"type": "text", "text": "Hi"}]),
        ([{"type": "text", "text": "Hi"}, {"type": "text", "text": "you"}], "Fine.", "Hi\nyou"),
        (
            [{"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}],
            "Fine.",
            [{"image_url": {"detail": "low", "url": "data:x"}, "type": "image_url"}],
        ),
    ],
    ids=["white space", "parts", "several parts", "an image with its keys in another order"],
)
async def test_how_a_message_is_written_makes_no_difference(
    gateway: Gateway, upstream: ScriptedUpstream, content: Any, echo: Any, again: Any
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, " Fine. "), say(0, "Bye."))
    await ann.say(content)
    first = ann.conversation
    ann.history = [{"role": "user", "content": again}, {"role": "assistant", "content": echo}]
    await ann.say("Go on")
    assert ann.conversation == first


async def test_another_image_is_another_history(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A cat."), say(0, "A dog."))
    await ann.say([{"type": "image_url", "image_url": {"url": "data:cat"}}])
    first = ann.conversation
    ann.history[0]["content"][0]["image_url"]["url"] = "data:dog"
    await ann.say("Sure?")
    assert ann.conversation != first


async def test_system_messages_may_change_in_between(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", *(say(0, f"A{n}") for n in range(5)))
    told: list[tuple[str, str] | None] = [
        ("system", "Be brief."),
        ("developer", "Be brief."),
        ("system", "Be kind."),
        None,
        ("system", "Be kind."),
    ]
    seen = set()
    for number, system in enumerate(told):
        ann.history = [m for m in ann.history if m["role"] in ("user", "assistant")]
        if system is not None:
            ann.history.insert(number % 2, {"role": system[0], "content": system[1]})
        await ann.say(f"Q{number}")
        seen.add(ann.conversation)
    assert len(seen) == 1
    for call, system in zip(upstream.calls, told, strict=True):
        prompt = call.messages[0]["content"]
        assert ("Be brief." in prompt) == (system is not None and system[1] == "Be brief.")
        assert ("Be kind." in prompt) == (system is not None and system[1] == "Be kind.")
    stored = await database.fetch(
        "SELECT text FROM message WHERE role = 'system' ORDER BY version, ordinal"
    )
    assert [row["text"] for row in stored] == ["Be brief.", "Be kind.", "Be kind."]


async def test_an_unchanged_system_message_is_echoed_for_each_of_its_turns(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway), history=[{"role": "system", "content": "S"}])
    upstream.script("manager", say(0, "A1"), say(0, "A2"))
    await ann.say("Q1")
    await ann.say("Q2")
    rows = await database.fetch(
        "SELECT s.text FROM turn t JOIN message s ON s.id = t.system_message_id ORDER BY t.seq"
    )
    assert [row["text"] for row in rows] == ["S", "S"]
    assert await count(database, "message") == 5


async def test_after_a_failure_the_same_history_goes_on_and_the_failed_words_are_gone(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    ann = Chat(gateway, team)
    consult(upstream, team, "Q1", "A1")
    await ann.say("First")
    first = ann.conversation
    upstream.script("manager", say(team["programmer"], "Doomed"), status(418))
    upstream.script("programmer", say(team["manager"], "Doomed too"))
    failing = ann.branch()
    with pytest.raises(APIStatusError):
        await failing.say("Forgotten")
    consult(upstream, team, "Q2", "A2")
    await ann.say("Second")
    assert ann.conversation == first
    assert public(upstream.calls_of("manager")[-1]) == [
        ("user", "First"),
        ("assistant", "A1"),
        ("user", "Second"),
    ]
    for call in upstream.calls[-3:]:
        assert "Doomed" not in str(call.body)
        assert "Forgotten" not in str(call.body)


async def test_what_a_failed_turn_imported_is_not_imported_twice(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A1"), status(418), say(0, "A2"))
    await ann.say("Q1")
    first = ann.conversation
    ann.history += [
        {"role": "user", "content": "Elsewhere"},
        {"role": "assistant", "content": "Said elsewhere"},
    ]
    failing = ann.branch()
    with pytest.raises(APIStatusError):
        await failing.say("Q2")
    await ann.say("Q2")
    assert ann.conversation == first
    assert public(upstream.calls[-1]) == [
        ("user", "Q1"),
        ("assistant", "A1"),
        ("user", "Elsewhere"),
        ("assistant", "Said elsewhere"),
        ("user", "Q2"),
    ]


async def test_what_another_agency_said_is_another_history(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    one, other = await make_team(gateway), await make_team(gateway)
    ann = Chat(gateway, one)
    upstream.script("manager", say(0, "A1"), say(0, "A2"))
    await ann.say("Q1")
    first, ann.team = ann.conversation, other
    await ann.say("Q2")
    assert ann.conversation != first
    assert len(public(upstream.calls[-1])) == 3


async def test_what_is_deleted_while_a_turn_runs_is_not_told_again(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "A1"), say(0, "A2", hold=hold), say(0, "A3"), say(0, "A4"))
    await ann.say("Secret", store=True)
    path = f"/api/agency/{ann.team.id}/chat/completions/{ann.completion}"
    asking = asyncio.create_task(ann.say("Q2"))
    await upstream.arrived("manager", 2)
    assert (await gateway.http.delete(path)).status_code == 200
    hold.set()
    await asking
    first = ann.conversation
    await ann.branch(0).say("Q3", **named(first))
    assert [text for _, text in public(upstream.calls[2])] == ["Q2", "A2", "Q3"]
    # The history that holds it is nobody's any more: what the client sends of it is imported.
    await ann.say("Q4")
    assert ann.conversation != first
