"""The rehearsal model plays each part of a team, offline, and says that it is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.agency.model import ModelCall
from gateway.agency.models.rehearsal.model import Rehearsal
from gateway.agency.speech.prompt import TITLE, wanted_format
from gateway.agency.turn.rules import RETURNS

MANAGER = (
    "You are #1 (manager).\n\nLead.\n\nThe others in your team:\n#143 (programmer)\n#-1 (library)"
)
PROGRAMMER = "You are #143 (programmer).\n\nCode.\n\nThe others in your team:\n#1 (manager)"

Message = dict[str, Any]


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def heard(sender: int, text: str) -> Message:
    return {"role": "user", "content": json.dumps({"from": sender, "context": text})}


def said(*envelopes: tuple[int, str]) -> Message:
    items = [{"to": to, "context": text} for to, text in envelopes]
    return {"role": "assistant", "content": json.dumps(items if len(items) > 1 else items[0])}


async def answer(allowed: tuple[int, ...], *messages: Message) -> Any:
    call = ModelCall("rehearsal", messages, allowed=allowed)
    return json.loads((await Rehearsal().complete(call)).text)


ASKED = (system(MANAGER), heard(0, "How long?"), said((143, "How long?"), (-1, "How long?")))


async def test_the_manager_asks_everyone_and_the_library_once() -> None:
    envelopes = await answer((0, 143, -1), system(MANAGER), heard(0, "How long?"))
    assert [envelope["to"] for envelope in envelopes] == [143, -1]
    assert "How long?" in envelopes[0]["context"]
    assert envelopes[1]["context"] == "How long?"


async def test_the_manager_brings_the_answers_together() -> None:
    envelope = await answer(
        (0, 143, -1), *ASKED, heard(143, "Two days."), heard(-1, "The plan says three.")
    )
    assert envelope["to"] == 0
    for part in ("#143 (programmer)", "Two days.", "#-1 (library)", "three", "no real model"):
        assert part in envelope["context"]


async def test_the_manager_tells_what_the_library_found_as_a_person_would_read_it() -> None:
    found = 'Found for: x\n{"number":1,"source":"a.md","text":"Three\\ndays."}\n'
    found += '{"number":2,"source":null,"text":"Four."}\n{not JSON'
    envelope = await answer((0, 143, -1), *ASKED, heard(143, "Two."), heard(-1, found))
    told = "Found for: x [1] a.md: Three days. [2] source unknown: Four. {not JSON"
    assert f"#-1 (library) says: “{told}”" in envelope["context"]


async def test_a_second_turn_starts_over_and_leaves_out_the_first() -> None:
    first = (*ASKED, heard(143, "Two days."), heard(-1, "Nothing."), said((0, "Two days.")))
    again = (*first, heard(0, "And the price?"))
    consults = await answer((0, 143, -1), *again)
    assert [envelope["to"] for envelope in consults] == [143, -1]
    asked = said(*((envelope["to"], envelope["context"]) for envelope in consults))
    final = await answer((0, 143, -1), *again, asked, heard(143, "Ten."), heard(-1, "None."))
    assert final["to"] == 0
    assert "Ten." in final["context"]
    assert "Two days." not in final["context"]


@pytest.mark.parametrize("allowed", [(0,), (0, 143, -1)], ids=["only the user", "everyone"])
async def test_told_by_the_gateway_to_answer_it_answers(allowed: tuple[int, ...]) -> None:
    note = heard(-2, "Answer now.")
    envelope = await answer(allowed, *ASKED, heard(143, "Two days."), note)
    assert envelope["to"] == 0
    assert "Two days." in envelope["context"]
    assert "Answer now." not in envelope["context"]


async def test_who_can_not_be_asked_is_named_to_the_end_user() -> None:
    note = heard(-2, "#143 (programmer) can't answer: Its gateway can't be reached.")
    envelope = await answer((0, 143, -1), *ASKED, heard(-1, "Nothing."), note)
    assert envelope["to"] == 0
    assert "#143 (programmer) can't answer: Its gateway can't be reached." in envelope["context"]


async def test_a_manager_without_a_team_answers_at_once() -> None:
    alone = system("You are #1 (manager).\n\nYou are on your own.")
    envelope = await answer((0,), alone, heard(0, "Hello"))
    assert envelope["to"] == 0
    assert "Hello" in envelope["context"]


async def test_a_manager_that_is_asked_by_an_agent_answers_the_agent() -> None:
    envelope = await answer((0, 143), system(MANAGER), heard(0, "Hi"), heard(143, "Which one?"))
    assert envelope["to"] == 143


async def test_an_agent_answers_whoever_asked_and_says_who_it_is() -> None:
    envelope = await answer((1, 144), system(PROGRAMMER), heard(144, "Can you?"))
    assert envelope["to"] == 144
    assert "#143 (programmer)" in envelope["context"]
    assert "Can you?" in envelope["context"]


async def test_an_agent_answers_all_who_asked_it_at_the_same_time() -> None:
    envelopes = await answer((1, 144), system(PROGRAMMER), heard(1, "Why?"), heard(144, "How?"))
    assert [envelope["to"] for envelope in envelopes] == [1, 144]
    assert "Why?" in envelopes[0]["context"]
    assert "How?" in envelopes[1]["context"]


async def test_a_note_to_an_agent_is_answered_to_an_allowed_id() -> None:
    history = (system(PROGRAMMER), heard(1, "Why?"), said((9, "Because.")), heard(-2, "No #9."))
    assert (await answer((144, 1), *history))["to"] == 1
    assert (await answer((144,), *history))["to"] == 144


async def test_the_question_may_stand_in_the_first_part_of_several() -> None:
    text = {"type": "text", "text": json.dumps({"from": 0, "context": "What is this?"})}
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    message = {"role": "user", "content": [text, image]}
    assert "What is this?" in (await answer((0,), system(MANAGER), message))["context"]


async def test_a_long_question_is_shortened() -> None:
    envelope = await answer((1,), system(PROGRAMMER), heard(1, "word " * 1000))
    assert len(envelope["context"]) < 300
    assert "…" in envelope["context"]


async def test_prose_in_the_history_is_taken_as_the_end_users() -> None:
    history = ({"role": "user", "content": "Hi [1"}, {"role": "assistant", "content": "Hello"})
    consults = await answer((0, 143), system(MANAGER), *history, heard(0, "And now?"))
    assert consults["to"] == 143
    assert "And now?" in consults["context"]


async def test_without_envelopes_it_answers_in_plain_text() -> None:
    messages = [{"role": "user", "content": "Name this talk"}]
    completion = await Rehearsal().complete(ModelCall("rehearsal", messages))
    assert completion.text.startswith("You said: “Name this talk” This is a rehearsal")


async def test_a_title_is_the_first_words_of_what_was_said() -> None:
    said = "How do ovens work, and why?\n\nWith heat."
    messages = [{"role": "system", "content": TITLE}, {"role": "user", "content": said}]
    completion = await Rehearsal().complete(ModelCall("rehearsal", messages))
    assert completion.text == "How do ovens work, and why?"


async def test_the_same_call_gives_the_same_answer() -> None:
    call = ModelCall("rehearsal", ASKED, allowed=(0, 143))
    assert await Rehearsal().complete(call) == await Rehearsal().complete(call)


async def test_usage_is_estimated_from_the_characters() -> None:
    completion = await Rehearsal().complete(ModelCall("r", [{"role": "user", "content": "12345"}]))
    assert completion.usage.prompt_tokens == 2
    assert completion.usage.completion_tokens == -(-len(completion.text) // 4)


async def test_it_is_always_reachable() -> None:
    await Rehearsal().ping()


# ---- an answer in a format -----------------------------------------------------------------------

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"days": {"type": "integer", "minimum": 2}, "note": {"type": "string"}},
    "required": ["days", "note"],
}


def wanting(response_format: Any) -> Message:
    return system(f"{MANAGER}\n\n{wanted_format(response_format)}\n\nThe client's own words.")


async def test_the_manager_answers_in_the_format_that_is_wanted() -> None:
    wanted = wanting({"type": "json_schema", "json_schema": {"schema": SCHEMA}})
    envelopes = await answer((0, 143, -1), wanted, heard(0, "How long?"))
    assert [envelope["to"] for envelope in envelopes] == [143, -1]
    asked = (wanted, *ASKED[1:], heard(143, "Two days."), heard(-1, "Nothing."))
    envelope = await answer((0, 143, -1), *asked)
    made = json.loads(envelope["context"])
    assert made["days"] == 2
    assert "no real model" in made["note"]


async def test_any_object_holds_the_answer() -> None:
    asked = (wanting({"type": "json_object"}), heard(0, "How long?"))
    envelope = await answer((0,), *asked)
    assert "no real model" in json.loads(envelope["context"])["answer"]


async def test_an_answer_that_is_sent_back_is_followed_by_another_one() -> None:
    schema = {"oneOf": [{"type": "number"}, {"type": "integer"}]}
    wanted = wanting({"type": "json_schema", "json_schema": {"schema": schema}})
    messages = [wanted, heard(0, "How long?")]
    made = []
    for _ in range(1 + RETURNS):
        envelope = await answer((0,), *messages)
        made.append(json.loads(envelope["context"]))
        messages += [said((0, envelope["context"])), heard(-2, "Your answer was not delivered.")]
    assert any(isinstance(value, float) for value in made)


async def test_what_can_not_be_made_is_answered_in_words() -> None:
    wanted = wanting({"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}})
    envelope = await answer((0,), wanted, heard(0, "How long?"))
    assert "How long?" in envelope["context"]


# ---- those who speak -----------------------------------------------------------------------------


async def test_what_a_tool_returned_is_no_question() -> None:
    by = {"kind": "tool", "identifier": "look"}
    result = {"from": 0, "by": by, "context": "Rain"}
    returned = {"role": "user", "content": json.dumps(result)}
    envelope = await answer((0,), system(MANAGER), heard(0, "Weather?"), returned)
    assert "Weather?" in envelope["context"]
    assert "You asked: “Rain”" not in envelope["context"]


async def test_a_plain_model_hears_the_words_of_one_of_several() -> None:
    by = {"kind": "user", "identifier": "ann"}
    wrapped = {"role": "user", "content": json.dumps({"by": by, "context": "Hello, all"})}
    text = (await Rehearsal().complete(ModelCall("m", [wrapped]))).text
    assert "“Hello, all”" in text


async def test_where_several_speak_whom_it_quotes_is_not_asked_by_that() -> None:
    by = {"kind": "user", "identifier": "ann"}
    spoken = {"from": 0, "by": by, "context": "What, @gpt and #7?"}
    said = {"role": "user", "content": json.dumps(spoken)}
    envelope = await answer((0,), system(MANAGER), said)
    assert "What, gpt and 7?" in envelope["context"]
    assert "#" not in envelope["context"]
