"""What a model thinks is not what it says, however it writes it, and however it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.agency.model import ModelCall, OnPieces
from gateway.agency.models.upstream.client import Upstream
from gateway.agency.speech.decoder import CUT_OFF, Decoder, parse
from gateway.agency.speech.envelope import Envelope, Malformed
from gateway.agency.speech.thoughts import Thoughts, spoken
from tests.scripted import ScriptedUpstream, text

SECRET = "§"
DRAFT = json.dumps({"to": 0, "context": f"a draft {SECRET}"}, ensure_ascii=False)
IDEA = f"Hm {SECRET} {DRAFT} {SECRET} so"
MARKED = {
    "think": f"<think>{IDEA}</think>",
    "upper case": f"<THINK>{IDEA}</Think>",
    "attributes": f'<think mode="long" n=3>{IDEA}</think >',
    "thinking": f"<thinking>{IDEA}</thinking>",
    "thought": f"<thought>{IDEA}</thought>",
    "reasoning": f"\n<Reasoning>{IDEA}</Reasoning>\n",
    "prefix": f"<seed:think>{IDEA}</seed:think>",
    "twice": f"<think>{IDEA}</think>\n<think></think> ",
    "its own mark in quotes": f'<think>{IDEA} "</think>" `</think>` {SECRET}</think>',
    "square brackets": f"[THINK]{IDEA}[/THINK]",
    "triangles": f"◁think▷{IDEA}◁/think▷",
    "Cohere": f"<|START_THINKING|>{IDEA}<|END_THINKING|>",
    "OpenThinker": f"<|begin_of_thought|>{IDEA}<|end_of_thought|>",
    "Gemma": f"<|channel>thought\n{IDEA}<channel|>",
    "harmony": f"<|channel|>analysis<|message|>{IDEA}<|end|>"
    f"<|start|>assistant<|channel|>commentary<|message|>{IDEA}<|end|>"
    "<|start|>assistant<|channel|>final<|message|>",
    "harmony with a format": f"<|channel|>analysis<|message|>{IDEA}<|end|><|start|>assistant"
    "<|channel|>final <|constrain|>json<|message|>",
    "harmony without its tokens": f"analysisUser wants {IDEA}assistantfinal",
}
UNMARKED = {
    "no opening tag": f"Okay, {IDEA}</think>",
    "no opening tag, in quotes at the end": f'Okay, {IDEA} "so"</think>\n\n',
    "no opening tag, a broken draft": f'Okay: {{"to": 0, "context": {SECRET}</think>',
    "no opening tag, prose with braces": f"Okay {{x}} {IDEA} {{</thinking>",
    "no beginning of harmony": f"We need {IDEA}<|end|><|start|>assistant<|channel|>final"
    "<|message|>",
    "no opening tag, then marked ones": f"Okay, {IDEA}</think><think>{IDEA}</think>",
}
ALL = {**MARKED, **UNMARKED}
ANSWERS = ["So be it.", "Wrap it in `<think>`, say.", '{"html": "<think>a</think>"}', "a < b"]
relaxed = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def pieces(whole: str, cuts: Iterable[int]) -> list[str]:
    bounds = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    return [whole[a:b] for a, b in pairwise(bounds)]


CUTS = st.lists(st.integers(0, 900), max_size=12)

# In plain words


@pytest.mark.parametrize("thought", ALL.values(), ids=ALL)
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_what_stands_behind_the_thoughts(thought: str, answer: str) -> None:
    assert spoken(thought + answer) == answer
    drip = Thoughts(clear=False)
    out = "".join(map(drip.feed, thought + answer)) + drip.close()
    assert out == drip.text == answer


@relaxed
@given(st.sampled_from([*ALL.values()]), st.sampled_from(ANSWERS), CUTS)
def test_in_whatever_pieces_it_comes_no_thought_is_let_through(
    thought: str, answer: str, cuts: list[int]
) -> None:
    for clear in (None, False) if thought in UNMARKED.values() else (None, False, True):
        thoughts = Thoughts(clear=clear)
        out = "".join(map(thoughts.feed, pieces(thought + answer, cuts))) + thoughts.close()
        assert out == thoughts.text == answer


@relaxed
@given(st.text("<>|/think a\"'`{}[\\n◁▷", max_size=40), CUTS)
def test_whatever_it_is_the_pieces_make_no_difference(whole: str, cuts: list[int]) -> None:
    thoughts = Thoughts(clear=True)
    out = "".join(map(thoughts.feed, pieces(whole, cuts))) + thoughts.close()
    assert thoughts.text == spoken(whole)
    assert thoughts.recanted or out == thoughts.text


@pytest.mark.parametrize(
    "said",
    [
        *ANSWERS,
        "Say `<think>` and '</think>' or \"[THINK]\".",
        '{"a": "x </think> \\" </think>", "b": ["<think>"]}',
        "analysis of the matter",
        "<div>x</div> <thinker> < think>",
        "  indented",
        "```html\n<b>x</b>\n```",
    ],
)
def test_what_is_no_thought_stays_word_for_word(said: str) -> None:
    assert spoken(said) == said
    for clear in (True, None):
        drip = Thoughts(clear=clear)
        assert "".join(map(drip.feed, said)) + drip.close() == said


@pytest.mark.parametrize("thought", ["<think>", "[THINK]", "<|channel|>analysis<|message|>"])
def test_thoughts_that_never_end_are_no_answer(thought: str) -> None:
    assert spoken(f"{thought} {IDEA}") == ""


def test_who_thinks_without_a_mark_and_is_cut_has_said_nothing() -> None:
    thoughts = Thoughts(clear=False)
    assert thoughts.feed(IDEA) + thoughts.close(cut=True) == thoughts.text == ""


def test_who_is_not_known_is_held_if_it_begins_as_one_that_thinks_aloud() -> None:
    thoughts = Thoughts()
    assert thoughts.feed("Okay, the user") + thoughts.feed(" asks") == ""
    assert thoughts.close() == "Okay, the user asks"
    assert Thoughts().feed("Apples ") == "Apples "


def test_what_was_let_through_too_early_is_known() -> None:
    thoughts = Thoughts()
    thoughts.feed("Apples or pears?")
    assert thoughts.feed("</think>Pears.") + thoughts.close() == ""
    assert (thoughts.text, thoughts.recanted, thoughts.unmarked) == ("Pears.", True, True)


HOSTILE = [
    "<",
    "<think",
    "<think a",
    "</think",
    '"</think>"',
    "<|start|>",
    "[THIN",
    " ",
    "{",
    '"\\',
]


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("lead", ["", "x", "<think>", "{"])
def test_little_is_held_of_whatever_comes(unit: str, lead: str) -> None:
    """So no character is looked at more often than a mark is long."""
    thoughts, decoder = Thoughts(clear=True), Decoder()
    for character in lead + unit * 400:
        thoughts.feed(character)
        decoder.feed(character)
        assert len(thoughts.held) <= 210
        assert len(decoder.held) <= 400


# In envelopes

FINAL = {"to": 0, "context": "It ends with </think>, <think> and <|channel|>."}
SAID = json.dumps(FINAL)


def decoded(chunks: Iterable[str]) -> tuple[str, Decoder]:
    decoder = Decoder()
    return "".join(map(decoder.feed, chunks)), decoder


@pytest.mark.parametrize("thought", ALL.values(), ids=ALL)
@pytest.mark.parametrize(
    "frame", ["{}", "```json\n{}\n```", "[{}]", "Here: {}", '{{"envelopes":[{}]}}']
)
def test_a_draft_in_thoughts_is_never_the_answer(thought: str, frame: str) -> None:
    answer = thought + frame.format(SAID)
    assert parse(answer) == (Envelope(0, FINAL["context"]),)
    out, decoder = decoded(answer)
    assert decoder.close() == parse(answer)
    assert out == ("" if frame.startswith("Here") else FINAL["context"])


@relaxed
@given(st.sampled_from([*ALL.values()]), CUTS)
def test_no_character_of_a_thought_reaches_the_end_user(thought: str, cuts: list[int]) -> None:
    out, decoder = decoded(pieces(thought + SAID, cuts))
    assert out == decoder.answer == FINAL["context"]
    for end in range(len(thought)):
        assert Decoder().feed(thought[:end]) == ""


def test_thoughts_before_plain_words_are_no_part_of_them() -> None:
    said = parse(f"<think>{IDEA}</think> It is four.")
    assert isinstance(said, Malformed)
    assert said.prose == "It is four."


def test_a_draft_that_was_let_out_is_known_once_it_turns_out_to_be_one() -> None:
    out, decoder = decoded([DRAFT, "</think>", SAID])
    assert out
    assert decoder.recanted
    assert parse(f"{DRAFT}</think>{SAID}") == (Envelope(0, FINAL["context"]),)


def test_words_that_begin_an_answer_hold_it_until_it_has_ended() -> None:
    out, decoder = decoded(["Sure: ", SAID])
    assert (out, decoder.answer, decoder.sure) == ("", FINAL["context"], False)


# From an upstream


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


PLAIN = ModelCall("m", [{"role": "user", "content": "Hi"}])


def into(heard: list[str]) -> OnPieces:
    """A listener that wants all, and keeps the words."""
    return lambda pieces: not heard.extend(piece.text for piece in pieces)


async def test_a_plain_models_thoughts_are_neither_told_nor_kept(
    scripted: ScriptedUpstream,
) -> None:
    scripted.script("*", *[text(thought + "So.") for thought in ALL.values() for _ in range(2)])
    async with Upstream(scripted.base_url) as model:
        for _ in ALL:
            heard: list[str] = []
            completion = await model.complete(PLAIN, into(heard))
            assert "".join(heard) == completion.text == "So."
            assert (await model.complete(PLAIN)).text == "So."


async def test_who_is_known_to_think_without_a_mark_is_held_from_then_on(
    scripted: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.script("*", *[text(f"Apples {SECRET}</think>Pears.")] * 2)
    async with Upstream(scripted.base_url) as model:
        told: list[list[str]] = []
        for _ in range(2):
            heard: list[str] = []
            assert (await model.complete(PLAIN, into(heard))).text == "Pears."
            told.append(heard)
    assert "".join(told[1]) == "Pears."
    assert [record.message for record in caplog.records] == [
        "a model does not mark where it thinks"
    ]


async def test_who_begins_like_a_thinker_and_is_none_is_held_once(
    scripted: ScriptedUpstream,
) -> None:
    scripted.script("*", *[text("Okay, apples it is, and pears.")] * 2)
    async with Upstream(scripted.base_url) as model:
        told: list[list[str]] = []
        for _ in range(2):
            heard: list[str] = []
            await model.complete(PLAIN, into(heard))
            told.append(heard)
    assert len(told[0]) == 1 < len(told[1])
    assert "".join(told[1]) == told[0][0]


async def test_an_agents_answer_is_handed_on_as_it_is(scripted: ScriptedUpstream) -> None:
    """Its envelopes are read elsewhere, and its thoughts are kept with its step."""
    scripted.script("*", text(f"<think>{IDEA}</think>{SAID}"))
    async with Upstream(scripted.base_url) as model:
        completion = await model.complete(ModelCall("m", PLAIN.messages, allowed=(0,)))
    assert completion.text == f"<think>{IDEA}</think>{SAID}"


def test_an_answer_that_is_cut_off_says_so() -> None:
    assert parse(f"<think>{IDEA}") == Malformed(CUT_OFF)
