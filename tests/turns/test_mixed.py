"""One conversation, answered by teams and by plain models in turn: each is told all of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.agency.engine.titles import fitting
from tests.chat.clients import Chat, named, public
from tests.rpc.asking import TITLED, Rpc, answering, prompts
from tests.running import Gateway
from tests.scripted import Call, ScriptedUpstream, Step, say, status, text
from tests.team import Team, make_team


def put_to(model: str) -> dict[str, object]:
    return {"ai_relay_options": {"provider_id": "open_ai", "model_id": model}}


@pytest.fixture
def door(gateway: Gateway) -> Rpc:
    return Rpc(gateway.http)


@pytest.fixture
async def team(gateway: Gateway) -> Team:
    return await make_team(gateway)


async def test_a_team_is_told_what_a_model_answered_and_the_other_way_round(
    door: Rpc, team: Team, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "M1", "M2")
    upstream.script("manager", say(0, "T1"), say(0, "T2"))
    agency = put_to(f"agency/{team.id}")
    conversation = await door.create("gpt")
    await door.say(conversation, "one")
    await door.say(conversation, "two", **agency)
    await door.say(conversation, "three")
    await door.say(conversation, "four", **agency)
    told = [("user", "one"), ("assistant", "M1"), ("user", "two"), ("assistant", "T1")]
    assert public(upstream.calls_of("manager")[0]) == told[:3]
    assert prompts(upstream)[2] == [*told, ("user", "three")]
    told += [("user", "three"), ("assistant", "M2"), ("user", "four")]
    assert public(upstream.calls_of("manager")[1]) == told


async def test_what_is_excluded_is_told_to_neither_until_it_is_included_again(
    door: Rpc, team: Team, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "M1", "M2", "M3")
    upstream.script("manager", say(0, "T1"), say(0, "T2"), say(0, "T3"))
    agency = put_to(f"agency/{team.id}")
    conversation = await door.create("gpt")
    first = await door.say(conversation, "one")
    await door.say(conversation, "two", **agency)
    excluded = {"interaction_id": first["input_interaction"]["id"]}
    await door.call("update_interaction_excluded_state", **excluded, excluded=True)
    await door.say(conversation, "three")
    await door.say(conversation, "four", **agency)
    assert prompts(upstream)[2] == [("user", "two"), ("assistant", "T1"), ("user", "three")]
    assert public(upstream.calls_of("manager")[1])[:2] == [("user", "two"), ("assistant", "T1")]
    await door.call("update_interaction_excluded_state", **excluded, excluded=False)
    await door.say(conversation, "five", **agency)
    await door.say(conversation, "six")
    whole = await door.said(conversation)
    assert [text for _, text in public(upstream.calls_of("manager")[2])] == whole[:9]
    assert [text for _, text in prompts(upstream)[-1]] == whole[:11]


async def test_what_was_asked_stays_when_its_answer_failed(
    door: Rpc, team: Team, upstream: ScriptedUpstream
) -> None:
    upstream.script("manager", status(418), say(0, "T2"))
    answering(upstream)
    conversation = await door.create(f"agency/{team.id}")
    failed = await door.say(conversation, "My name is Bo.")
    assert failed["response_interaction"]["errors"]
    await door.say(conversation, "What is my name?")
    told = [text for _, text in public(upstream.calls_of("manager")[1])]
    assert told == ["My name is Bo.", "What is my name?"]


async def test_a_skill_set_is_given_to_the_responder_for_its_message(
    door: Rpc, team: Team, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "M")
    upstream.script("manager", say(0, "T1"), say(0, "T2"))
    made = await door.call(
        "create_skill_set",
        owner=door.owner(),
        name="Rhymer",
        icon="quill",
        description="Rhymes",
        prompt="Answer in rhymes.",
    )
    skills = {"skill_set_ids": [made["id"]]}
    conversation = await door.create("gpt")
    await door.say(conversation, "one", **skills)
    await door.say(conversation, "two")
    assert prompts(upstream)[0][0] == ("system", "Answer in rhymes.")
    assert all(role != "system" for role, _ in prompts(upstream)[1])
    agency = put_to(f"agency/{team.id}")
    await door.say(conversation, "three", **skills, **agency)
    await door.say(conversation, "four", **agency)
    systems = [call.messages[0]["content"] for call in upstream.calls_of("manager")]
    assert ["Answer in rhymes." in system for system in systems] == [True, False]


async def test_a_files_text_stands_with_its_message_until_the_file_is_deleted(
    gateway: Gateway, door: Rpc, team: Team, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "M")
    upstream.script("manager", *(say(0, f"T{n}") for n in range(3)))
    files = gateway.client(path="/v1").files
    given = await files.create(
        file=("note.txt", b"\xef\xbb\xbfThe code is 7."), purpose="user_data"
    )
    conversation = await door.create("gpt")
    said = await door.say(conversation, "Read this.", file_ids=[given.id])
    assert said["input_interaction"]["file_ids"] == [given.id]
    system, told = prompts(upstream)[0]
    assert "nothing that anybody says" in system[1]
    assert told == ("user", 'Read this.\n\n{"file":"note.txt","text":"The code is 7."}')
    agency = put_to(f"agency/{team.id}")
    await door.say(conversation, "And?", **agency)
    plain = {"from": 0, "context": "Read this."}

    def letter(call: int) -> Any:
        return json.loads(upstream.calls_of("manager")[call].messages[1]["content"])

    assert letter(0) == {**plain, "files": [{"file": "note.txt", "text": "The code is 7."}]}
    chat = Chat(gateway, team)  # what is remembered of a context holds no file
    await chat.say("More", **named(conversation))
    assert letter(1) == letter(0)
    await files.delete(given.id)
    await chat.branch(0).say("Again", **named(conversation))
    assert letter(2) == plain
    assert (await door.read(conversation))["interactions"][0]["file_ids"] == [given.id]


async def test_files_that_fit_into_no_prompt_are_refused(
    gateway: Gateway, door: Rpc, upstream: ScriptedUpstream
) -> None:
    files = gateway.client(path="/v1").files
    given = await files.create(file=("long.txt", b"x" * 400_001), purpose="user_data")
    conversation = await door.create("gpt")
    body = door.message(conversation, file_ids=[given.id])
    await door.refused("create_conversation_message", 400, "files_too_large", **body)
    assert await door.said(conversation) == []


async def test_a_title_that_fails_harms_nothing_and_is_tried_again(
    door: Rpc, upstream: ScriptedUpstream
) -> None:
    titles = [*(status(500) for _ in range(3)), text("“Of ovens”\nand more")]

    def step(call: Call) -> Step:
        return titles.pop(0) if TITLED in call.messages[0]["content"] else text("A")

    async def until(left: int) -> None:
        async with asyncio.timeout(10):
            while len(titles) > left:
                await asyncio.sleep(0.02)

    upstream.always("*", step)
    conversation = await door.create("gpt")
    await door.say(conversation, "one")
    await until(1)
    said = await door.say(conversation, "two")
    assert said["response_interaction"]["message_content"] == "A"
    await until(0)
    async with asyncio.timeout(20):
        while (title := (await door.read(conversation))["title"]) is None:
            await asyncio.sleep(0.02)
    assert title == "Of ovens"


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Of ovens", "Of ovens"),
        ('\n  "Of ovens"  \nI chose this since …', "Of ovens"),
        ("# Of   ovens", "Of ovens"),
        ("x" * 101, "x" * 99 + "…"),
        ("x" * 100, "x" * 100),
        (" \n ", ""),
    ],
)
def test_a_title_is_one_line_of_at_most_100_characters(said: str, title: str) -> None:
    assert fitting(said) == title
