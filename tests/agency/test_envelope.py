"""How envelopes are read from what a model says, and what of it reaches the end user."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from types import FrameType

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.agency.speech.decoder import MAX_CHANGES, MAX_DEPTH, Decoder, parse
from gateway.agency.speech.envelope import (
    MAX_CONTEXT,
    MAX_ENVELOPES,
    Envelope,
    Malformed,
    encode_inbound,
    encode_outbound,
    recipient,
    schema,
    storable,
)

HI = Envelope(0, "hi")


def stream(chunks: Iterable[str]) -> tuple[list[str], Decoder]:
    decoder = Decoder()
    return [decoder.feed(chunk) for chunk in chunks], decoder


def reason(text: str) -> str:
    """Why it is malformed, which has to be the same in one piece and character by character."""
    said = parse(text)
    assert isinstance(said, Malformed), said
    assert stream(text)[1].close() == said
    return said.reason


def released(text: str) -> str:
    """What the end user is told in the end; of that, a beginning while it comes."""
    out, decoder = stream(text)
    assert decoder.answer.startswith("".join(out))
    assert stream([text])[1].answer == decoder.answer
    return decoder.answer


# What is let out, and when


def test_the_answer_to_the_end_user_is_let_out_as_it_comes() -> None:
    out, decoder = stream(['{"to": 0, "con', 'text": "Hel', "lo, ", 'world"', "}"])
    assert out == ["", "Hel", "lo, ", "world", ""]
    assert decoder.close() == (Envelope(0, "Hello, world"),)
    assert decoder.answer == "Hello, world"
    assert decoder.raw == '{"to": 0, "context": "Hello, world"}'


def test_it_is_answered_when_the_string_is_closed_and_not_before() -> None:
    decoder = Decoder()
    decoder.feed('{"to":0,"context":"hi')
    assert not decoder.answered
    decoder.feed('"')
    assert decoder.answered
    assert decoder.close() == (HI,)


def test_a_context_before_its_address_is_held_back_and_then_let_out_at_once() -> None:
    out, decoder = stream(['{"context": "Hello', ' you", "to": ', "0", "}"])
    assert out == ["", "", "", "Hello you"]
    assert decoder.answered
    assert decoder.close() == (Envelope(0, "Hello you"),)


def test_a_number_is_not_known_before_it_ends() -> None:
    out, decoder = stream(['{"context": "secret", "to": 0', ".5}"])
    assert out == ["", ""]
    assert isinstance(decoder.close(), Malformed)


def test_what_goes_to_an_agent_is_never_let_out() -> None:
    assert released('{"to":143,"context":"secret"}') == ""
    assert released('{"context":"secret","to":143}') == ""
    assert released('{"to":-1,"context":"a query"}') == ""


def test_only_the_first_answer_is_let_out_but_all_are_told() -> None:
    text = '[{"to":143,"context":"a"},{"to":0,"context":"hi"},{"to":0,"context":"again"}]'
    assert released(text) == "hi"
    assert parse(text) == (Envelope(143, "a"), HI, Envelope(0, "again"))


@pytest.mark.parametrize(
    "text",
    [
        r'{"to":143,"context":"say {\"to\":0,\"context\":\"x\"}"}',
        r'{"context":"say {\"to\":0,\"context\":\"x\"}","to":143}',
        '{"to":143,"context":"say {"to":0,"context":"x"}"}',
        '{"context":"say {"to":0,"context":"x"}","to":143}',
        """{'to':143,'context':'say {"to":0,"context":"x"}'}""",
        '{to: 143, context: `say {"to":0,"context":"x"}`}',
        '{"to": programmer, "context": say {"to":0,"context":"x"}}',
        '{"to":143,"context":"a","why":{"to":0,"context":"x"}}',
        '{"why":[[{"to":0,"context":"x"}]],"to":143,"context":"a"}',
        '{"why":{"to":0,"context":"x"}}',
        '{"to":143,"context":"a","envelopes":[{"to":0,"context":"x"}]}',
        '{"to":143,"context":{"to":0,"context":"x"}}',
        '{"to":143,"to":0,"context":"x"}',
        '{"to":143,"context":"a","to":0}',
        '{"envelopes":[{"to":143,"context":"a","why":[{"to":0,"context":"x"}]}]}',
        '{"envelopes":[[{"to":0,"context":"x"}]]}',
        '{"envelopes":{"to":0,"context":"x"}}',
        '{"envelopes":[{"envelopes":[{"to":0,"context":"x"}]}]}',
        '<think>{"to":0,"context":"x"}</think>{"to":143,"context":"a"}',
        '<think>{"to":0,"context":"x"}',
        ' \n<think>a</think><think>{"to":0,"context":"x"}</think>',
        '{"to":{"to":0,"context":"x"},"context":"a"}',
        '{"to":[{"to":0,"context":"x"}],"context":"a"}',
        '{"to":[0],"context":"x"}',
        '{"to":false,"context":"x"}',
        '{"to":null,"context":"x"}',
        '{"to":0.5,"context":"x"}',
        '{"to":"zero","context":"x"}',
        '"{\\"to\\":0,\\"context\\":\\"x\\"}"',
    ],
)
def test_nothing_inside_of_something_else_passes_for_an_answer(text: str) -> None:
    assert released(text) == ""
    said = parse(text)
    assert isinstance(said, Malformed) or [envelope.to for envelope in said] == [143]


# Characters


def test_an_escape_is_held_back_until_it_is_whole() -> None:
    out, _ = stream(['{"to":0,"context":"a\\', "n", "b\\u00", "e9c", '"}'])
    assert out == ["a", "\n", "b", "éc", ""]


def test_a_surrogate_pair_is_held_back_until_it_is_whole() -> None:
    out, _ = stream(['{"to":0,"context":"a\\ud83d', "\\ude", "00b", '"}'])
    assert out == ["a", "", "😀b", ""]


def test_a_lone_surrogate_and_nul_become_the_replacement_character() -> None:
    text = r'{"to":0,"context":"\ud83d|\ude00|\ude00\ud83d|\u0000|\ud83d\ud83d\ude00|\ud83d"}'
    expected = "\ufffd|\ufffd|\ufffd\ufffd|\ufffd|\ufffd😀|\ufffd"
    assert parse(text) == (Envelope(0, expected),)
    assert released(text) == expected


def test_surrogates_that_arrive_unescaped_are_treated_alike() -> None:
    out, decoder = stream(['{"to":0,"context":"\ud83d', "\ude00 \ud83d", '\x00"}'])
    assert out == ["", "😀 ", "\ufffd\ufffd"]
    assert decoder.close() == (Envelope(0, "😀 \ufffd\ufffd"),)


def test_an_escaped_backslash_does_not_begin_another_escape() -> None:
    assert released(r'{"to":0,"context":"\\ud83d\\n\\"}') == r"\ud83d\n" + "\\"


def test_an_escape_that_json_does_not_know_stands_for_itself() -> None:
    assert released(r'{"to":0,"context":"\(x\) \d+ \u12 \\d \ué"}') == r"\(x\) \d+ \u12 \d \ué"


def test_raw_line_breaks_in_a_string_are_kept() -> None:
    assert parse('{"to":0,"context":"a\n\tb\r\n"}') == (Envelope(0, "a\n\tb\r\n"),)


# What is tolerated around an envelope and in it


@pytest.mark.parametrize(
    "text",
    [
        ' \n {\t"to" : 0 ,\r\n"context" : "hi" } \n',
        '```json\n{"to":0,"context":"hi"}\n```',
        '```\n[{"to":0,"context":"hi"}]\n```',
        'Sure! Here it is: {"to":0,"context":"hi"} Hope this helps.',
        'As in {x}, {"a": b} and [1], { } or {"a":1}: {"to":0,"context":"hi"} and {x',
        '{"a": {"b": oops {"to":0,"context":"hi"}',
        '{{"to":0,"context":"hi"}}',
        'As {"envelopes":[...]}: {"to":0,"context":"hi"}',
        '<think>{"to":143,"context":"x"}</think>\n{"to":0,"context":"hi"}',
        '\n<think></think><think>no</think>{"to":0,"context":"hi"}',
        '<thinker>{"to":0,"context":"hi"}',
        '{"envelopes":[{"to":0,"context":"hi"}]}',
        '{"why":[1,{"a":[]}], "envelopes" : [ {"context":"hi","to":0} ], "z":null}',
        '{"envelopes":[{"envelopes":[1],"to":0,"context":"hi"}]}',
        '{"t\\u006f":0,"context":"hi"}',
        '{"to":0,"context":"hi","to":143,"context":"x"}',
        '{"to":0,"context":"hi","x":{"y":[1,-2.5e3,true,false,null,"}",{}]},"z":[]}',
        '{"to":0,"context":"hi",}',
        '{"to":0,"context":"hi"',
        '{"to":0,"context":"hi"},',
    ],
)
def test_sloppiness_is_tolerated(text: str) -> None:
    assert parse(text) == (HI,)
    assert released(text) == "hi"


@pytest.mark.parametrize(
    "text",
    [
        '[{"to":0,"context":"hi"},{"to":143,"context":"a"}]',
        '{"to":0,"context":"hi"}{"to":143,"context":"a"}',
        '{"to":0,"context":"hi"}\n\nand\n{"to":143,"context":"a"}',
        '{"envelopes":[{"to":0,"context":"hi"},{"to":143,"context":"a"}]}',
        '{"envelopes":[{"to":0,"context":"hi"}],"to":143,"context":"a"}',
    ],
)
def test_several_envelopes_are_told_in_order(text: str) -> None:
    assert parse(text) == (HI, Envelope(143, "a"))


@pytest.mark.parametrize(
    ("to", "means"),
    [
        ("143", 143),
        ("143.0", 143),
        ("1.43e2", 143),
        ('"143"', 143),
        ('"#143"', 143),
        ('" #143 (programmer) "', 143),
        ('"143.0"', 143),
        ("-1", -1),
        ("-0", 0),
        ("-0.0", 0),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_an_id_is_understood_in_many_forms(to: str, means: int) -> None:
    assert parse(f'{{"to":{to},"context":"a"}}') == (Envelope(means, "a"),)


@pytest.mark.parametrize(
    "to",
    [
        "1.5",
        "9223372036854775808",
        "9007199254740993.0",
        "1e400",
        "9" * 399,
        "true",
        "null",
        '""',
        '"programmer"',
        '"#143 #144"',
        '"nan"',
        '"\u0661"',
    ],
)
def test_an_address_that_can_not_be_an_id_is_malformed(to: str) -> None:
    text = f'{{"to":{to},"context":"a"}}'
    assert reason(text).startswith('Envelope 1 has a "to" that is not the number of anyone: ')


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ("null", ""),
        ("12", "12"),
        ("true", "true"),
        ('{ "a" : [ 1, "é\\u00e9" ], "b":{} }', '{"a":[1,"éé"],"b":{}}'),
        ("[ ]", "[]"),
        ('["a\nb", "\\ud83d"]', '["a\\nb","\ufffd"]'),
        ("[1,]", "[1,]"),
    ],
)
def test_a_context_that_is_no_string_is_taken_as_its_json(context: str, text: str) -> None:
    for answer in (f'{{"to":0,"context":{context}}}', f'{{"context":{context} ,"to":0}}'):
        assert parse(answer) == (Envelope(0, text),)
        assert released(answer) == text


def test_a_context_that_is_no_string_is_not_let_out_in_pieces() -> None:
    out, decoder = stream(['{"to":0,"context":{"a":', '"b"', "}", "}"])
    assert out == ["", "", "", '{"a":"b"}']
    assert decoder.answered


def test_junk_may_nest_but_not_without_end() -> None:
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse(f'{{"x":{deep},"to":0,"context":"hi"}}') == (HI,)
    assert reason(f'{{"x":[{deep}],"to":0,"context":"hi"}}').endswith("64 levels deep.")
    assert "deep" in reason('{"x":' * 100_000)
    assert parse("[{" * 10_000 + '"to":0,"context":"hi"}') == (HI,)


def test_a_number_without_end_is_no_number() -> None:
    assert "not valid JSON" in reason('{"to":0,"x":' + "1" * 5000 + ',"context":"hi"}')


# Why an answer is malformed


@pytest.mark.parametrize(
    "text",
    ["", "  ", "I am done.", "{}", "[1]", '{"a":1}', '"hi"', '{"envelopes":[]}', "so {x"],
)
def test_an_answer_without_an_envelope_is_told_what_one_is(text: str) -> None:
    assert reason(text) == 'Your answer is not a JSON object with "to" and "context".'


@pytest.mark.parametrize(
    "text",
    [
        '{"to":0,"context":"h',
        '{"to":0,"context":"h\\',
        '{"to":143,"conte',
        '{"to":143,conte',
        '{"context":"hi","to":14',
        '[{"to":143,"context":"a"},',
        '[{"to":143,"context":"a"},{"to":14',
        '{"envelopes":[{"to":143,"context":"a"}',
        "<think>well",
    ],
)
def test_an_answer_that_ends_too_early_was_cut_off(text: str) -> None:
    assert reason(text) == "Your answer was cut off before it was complete."


def test_what_was_let_out_before_the_cut_is_known() -> None:
    _, decoder = stream(['{"to":0,"context":"The answer is \\u00'])
    assert isinstance(decoder.close(), Malformed)
    assert decoder.answer == "The answer is "
    assert not decoder.answered


def test_who_has_the_answer_may_stop_reading() -> None:
    _, decoder = stream(['[{"to":143,"context":"a"},{"to":0,"context":"hi"},{"to":1'])
    assert decoder.answered
    assert decoder.close() == (Envelope(143, "a"), HI)


def test_a_missing_member_is_named() -> None:
    assert reason('{"context":"hi"}') == 'Envelope 1 has no "to".'
    assert reason('{"to":0}') == 'Envelope 1 has no "context".'


def test_one_broken_envelope_spoils_the_answer_and_the_first_is_named() -> None:
    good = '{"to":143,"context":"a"}'
    assert reason(f'[{good},{{"to":1}},{{"context":"x"}}]') == 'Envelope 2 has no "context".'
    assert reason(f'[{good},{good},{{"to":"me","context":"x"}}]') == (
        'Envelope 3 has a "to" that is not the number of anyone: me.'
    )
    assert reason(f'{{"envelopes":[{good},{{"context":"x"}}]}}') == 'Envelope 2 has no "to".'


def test_an_unescaped_quote_is_explained() -> None:
    assert reason('{"to":143,"context":"say "hi" to them"}') == (
        'Envelope 1 is not valid JSON (a quote inside a string is written \\").'
    )


def test_nothing_more_is_read_once_the_answer_is_malformed() -> None:
    out, decoder = stream(['{"to":1} ', '{"to":0,"context":"hi"}'])
    assert out == ["", ""]
    assert decoder.raw == '{"to":1} {"to":0,"context":"hi"}'
    assert decoder.close() == Malformed('Envelope 1 has no "context".')


# Encoding


def test_inbound_is_compact_and_readable_and_holds_its_text() -> None:
    assert encode_inbound(0, 'é "x"}') == '{"from":0,"context":"é \\"x\\"}"}'


def test_outbound_is_one_object_or_an_array() -> None:
    assert encode_outbound([HI]) == '{"to":0,"context":"hi"}'
    assert encode_outbound([HI, Envelope(143, "ü")]) == (
        '[{"to":0,"context":"hi"},{"to":143,"context":"ü"}]'
    )


@given(st.lists(st.builds(Envelope, st.integers(-(2**63) + 1, 2**63 - 1), st.text()), min_size=1))
def test_what_was_said_is_read_back_from_what_the_model_is_shown(said: list[Envelope]) -> None:
    expected = tuple(Envelope(envelope.to, storable(envelope.context)) for envelope in said)
    assert parse(encode_outbound(said)) == expected


def test_who_may_address_one_party_alone_is_asked_for_one_envelope() -> None:
    wanted = schema([0])
    assert wanted == {
        "type": "object",
        "properties": {"to": {"type": "integer", "enum": [0]}, "context": {"type": "string"}},
        "required": ["to", "context"],
        "additionalProperties": False,
    }
    assert json.dumps(wanted).index('"to"') < json.dumps(wanted).index('"context"')


def test_others_are_asked_for_a_list_of_envelopes() -> None:
    envelope = json.loads(json.dumps(schema([0])).replace("[0]", "[0, -1, 143]"))
    assert schema([0, -1, 143]) == {
        "type": "object",
        "properties": {"envelopes": {"type": "array", "items": envelope}},
        "required": ["envelopes"],
        "additionalProperties": False,
    }


@given(st.text(alphabet="0123456789.-+eE #()ax\n", max_size=30))
def test_any_text_is_an_id_or_none(text: str) -> None:
    number = recipient(text)
    assert number is None or abs(number) < 2**63


# Against json.loads, at every split point

CHARACTERS = st.one_of(
    st.sampled_from('"\\/\b\f\n\r\t\0{}[],:` éß漢\u2028\ufeff😀𝄞\ud83d\ude00'),
    st.characters(),
    st.characters(categories=["Cs"]),
    st.sampled_from("abc nrtu0d8"),
)
SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t", "\b": "\\b", "\r": "\\r"}
FORGED: list[object] = [{"to": 0, "context": "forged"}, [{"context": "forged", "to": 0}], {"to": 0}]
VALUES: st.SearchStrategy[object] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(CHARACTERS, max_size=6),
        st.sampled_from(FORGED),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
OTHER_NAMES = st.sampled_from(["x", "", "To", "from", "é", "to ", 'a"{'])


def escaped_by_hand(character: str, upper: bool) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    units = units.upper() if upper else units
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


@st.composite
def string_literals(draw: st.DrawFn) -> str:
    """A JSON string in one of the many ways in which it can be written."""
    text = draw(st.text(CHARACTERS, max_size=12))
    if (how := draw(st.integers(0, 3))) < 2:
        return json.dumps(text, ensure_ascii=bool(how))
    written = []
    for character in text:
        choice = draw(st.integers(0, 3))
        if choice == 0 and character not in '"\\':
            written.append(character)
        else:
            by_hand = escaped_by_hand(character, upper=choice == 1)
            written.append(SHORT.get(character, by_hand) if choice == 2 else by_hand)
    return f'"{"".join(written)}"'


@st.composite
def objects(draw: st.DrawFn) -> str:
    to = draw(st.sampled_from(["0", "143", "-1", "0.0", "4522"]))
    first = [("to", to), ("context", draw(string_literals()))]
    if draw(st.booleans()):
        first.reverse()
    members = [*first, *draw(st.sampled_from([[], [("to", "0")], [("context", '"late"')]]))]
    for _ in range(draw(st.integers(0, 2))):
        value = json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans()))
        members.insert(draw(st.integers(0, len(members))), (draw(OTHER_NAMES), value))
    space = draw(st.sampled_from(["", " ", "\n  "]))
    body = f",{space}".join(f"{space}{json.dumps(name)}:{space}{v}" for name, v in members)
    return f"{{{body}{space}}}"


@dataclass(frozen=True)
class Case:
    """`json` is what Python's parser is given, `text` what ours is given."""

    json: str
    text: str

    @property
    def said(self) -> tuple[Envelope, ...]:
        found = json.loads(self.json, strict=False, object_pairs_hook=first_wins)
        return tuple(Envelope(int(one["to"]), as_stored(one["context"])) for one in found)

    @property
    def answer(self) -> str:
        return next((envelope.context for envelope in self.said if envelope.to == 0), "")


def first_wins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return dict(reversed(pairs))


def as_stored(text: str) -> str:
    def joined(pair: re.Match[str]) -> str:
        high, low = (ord(unit) for unit in pair[0])
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))

    text = re.sub("[\ud800-\udbff][\udc00-\udfff]", joined, text)
    return re.sub("[\x00\ud800-\udfff]", "\ufffd", text)


PROSE = st.sampled_from(
    ["", " \n", "Sure: ", "{x} ", "[1] ", '{"a":1}\n', "{} ", '{"a": b} ', "```json\n", "< {", "é"]
)
FRAMES: list[Callable[[list[str]], str]] = [
    lambda found: f"[{', '.join(found)}]",
    lambda found: "".join(found),
    lambda found: "\n\nand then\n".join(found),
    lambda found: f'{{"envelopes": [{",".join(found)}]}}',
    lambda found: f'{{"why": [{{}}], "envelopes": [{",".join(found)}], "x": {{"to": 0}}}}',
]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    found = draw(st.lists(objects(), min_size=1, max_size=3))
    think = draw(st.sampled_from(["", "", '<think>{"to":0,"context":"t"} < </think>', "<thin"]))
    framed = draw(st.sampled_from(FRAMES))(found)
    text = (
        f"{think}{draw(PROSE)}{framed}{draw(st.sampled_from(['', ' Done.', '```', ' {x}', ' ]']))}"
    )
    return Case(f"[{','.join(found)}]", text)


def splits(text: str) -> Iterator[tuple[str, str]]:
    return ((text[:at], text[at:]) for at in range(len(text) + 1))


relaxed = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(cases())
def test_it_reads_what_json_loads_reads_at_every_split(case: Case) -> None:
    for chunks in [*splits(case.text), tuple(case.text)]:
        out, decoder = stream(chunks)
        assert decoder.close() == case.said
        assert decoder.answer == case.answer
        assert "".join(out) == (case.answer if decoder.sure else "")
        assert decoder.raw == case.text


@relaxed
@given(cases(), st.lists(st.integers(0, 400), max_size=12))
def test_it_reads_what_json_loads_reads_in_any_chunks(case: Case, cuts: list[int]) -> None:
    bounds = sorted({0, len(case.text), *(cut for cut in cuts if cut < len(case.text))})
    chunks = [case.text[a:b] for a, b in pairwise(bounds)]
    out, decoder = stream(chunks)
    assert decoder.close() == case.said
    assert decoder.answer == case.answer
    assert "".join(out) == (case.answer if decoder.sure else "")


@relaxed
@given(cases())
def test_cut_at_any_point_it_has_let_out_a_beginning_of_the_answer(case: Case) -> None:
    decoder = Decoder()
    has_answer = any(envelope.to == 0 for envelope in case.said)
    for character in case.text:
        decoder.feed(character)
        assert case.answer.startswith(decoder.answer)
        said = decoder.close()
        if isinstance(said, tuple):
            assert said == case.said[: len(said)]
            assert decoder.answer == answer_in(said)
        if decoder.answered:
            assert has_answer
            assert decoder.answer == case.answer


@relaxed
@given(st.text(CHARACTERS, max_size=12))
def test_no_character_waits_that_could_be_let_out(text: str) -> None:
    decoder = Decoder()
    decoder.feed('{"to":0,"context":"')
    for at, character in enumerate(text):
        decoder.feed(json.dumps(character, ensure_ascii=False)[1:-1])
        so_far = text[: at + 1]
        waits = "\ud800" <= so_far[-1] <= "\udbff"
        assert decoder.answer == as_stored(so_far[:-1] if waits else so_far)


SOUP = st.lists(
    st.sampled_from(
        [
            *"{}[],:\"\\ 01-.x'",
            *('"to"', '"context"', '"envelopes":[', '{"to":0,"context":"', '"to":143,', "to:"),
            *("null", "<think>", "</think>", "\\u", "d83d", "\\ude00", "\ud83d", "\0", "```"),
            *('{"to":0,"context":"a"}', '"context":"b"', '"x":{', '"to":0'),
        ]
    ),
    max_size=24,
)


def answer_in(said: tuple[Envelope, ...]) -> str:
    return next((envelope.context for envelope in said if envelope.to == 0), "")


@settings(relaxed, max_examples=600)
@example(['{"to":0,"context":"', "\ud83d", "\\u"])
@example(['{"envelopes":[', '{"to":0,"context":"a"}', "]", ",", '"to":143,', '"context":"b"', "}"])
@given(SOUP)
def test_whatever_comes_the_chunks_make_no_difference(pieces: list[str]) -> None:
    text = "".join(pieces)
    whole = Decoder()
    whole.feed(text)
    said = whole.close()
    for chunks in (pieces, text, *splits(text)):
        _, decoder = stream(chunks)
        assert decoder.close() == said
        assert decoder.answer == whole.answer
        assert decoder.answered == whole.answered
    if isinstance(said, tuple):
        assert whole.answer == answer_in(said)


# Cost


def calls(work: Callable[[], object]) -> int:
    """How many functions, ours and C's, are called."""
    count = 0

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


LONG = {
    "plain text": lambda n: '{"to":0,"context":"' + "text " * n + '"}',
    "escapes": lambda n: '{"to":0,"context":"' + "\\n\\ud83d\\ude00" * n + '"}',
    "high surrogates": lambda n: '{"to":0,"context":"' + "\\ud83d" * n + '"}',
    "prose with braces": lambda n: "{x} " * n,
    "an open quote": lambda n: '{"' + "{" * n,
    "thoughts": lambda n: "<think>" + "</thin" * n,
    "white space": lambda n: " " * n + "{" + " " * n,
    "a bare name": lambda n: "{" + "a b " * n,
    "nested context": lambda n: '{"to":0,"context":[' + "[1], " * n + "1]}",
    "many envelopes": lambda n: '{"to":143,"context":[1]},' * n,
    "digits": lambda n: '{"a":' + "1" * n,
    "a long address": lambda n: '{"context":"","to":"' + "1" * n + '"}',
}


@pytest.mark.parametrize("kind", LONG)
def test_twice_the_text_is_twice_the_work(kind: str) -> None:
    """Calls grow with the text, and none sees more than the chunk and the little that is held."""

    def read(text: str) -> None:
        decoder = Decoder()
        for character in text:
            decoder.feed(character)
            assert len(decoder.held) <= 400
        decoder.close()

    small, large = LONG[kind](400), LONG[kind](800)
    growth = calls(lambda: read(large)) / calls(lambda: read(small))
    assert growth < 1.1 * len(large) / len(small)


def test_ordinary_text_passes_with_few_calls() -> None:
    decoder = Decoder()
    decoder.feed('{"to":0,"context":"')
    assert calls(lambda: decoder.feed("a piece of ordinary text of some length")) < 30


def test_a_huge_answer_is_read_at_once() -> None:
    text = "line\n \\u00e9 \\\\ " * 200_000
    said = parse('{"to":0,"context":"' + text + '"}')
    assert said == (Envelope(0, "line\n é \\ " * 200_000),)


ENVELOPE = '{"to": 1, "context": "x"}'


def test_an_answer_has_a_bounded_number_of_envelopes() -> None:
    assert len(parse(f"[{', '.join([ENVELOPE] * MAX_ENVELOPES)}]")) == MAX_ENVELOPES
    assert "one too many" in reason(f"[{', '.join([ENVELOPE] * (MAX_ENVELOPES + 1))}]")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (encode_outbound([Envelope(1, "x" * (MAX_CONTEXT + 1))]), "a context of more than"),
        (json.dumps({"to": " " * 30_000, "context": "x"}), "not the number of anyone"),
        ('{"to": 1, "context": [' + "1, " * MAX_CHANGES, "too intricate"),
    ],
)
def test_each_member_of_an_envelope_is_bounded(text: str, why: str) -> None:
    said = parse(text)
    assert isinstance(said, Malformed)
    assert why in said.reason


def test_prose_with_many_braces_is_still_prose() -> None:
    program = "while (true) { x = {}; }\n" * MAX_CHANGES
    said = parse(program)
    assert isinstance(said, Malformed)
    assert said.prose == program.strip()
