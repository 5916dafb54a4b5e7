"""How the gateway writes what agents said and found, and how it knows its own writing again."""

from __future__ import annotations

import json

import pytest

from gateway.agency.speech.envelope import (
    LONGEST_ESCAPE,
    MAX_FRAME,
    MAX_TO,
    Envelope,
    compact,
    encode_calling,
    encode_inbound,
    encode_passage,
    recipient,
    tells,
)

CALLS = [{"id": "c", "name": "look", "arguments": "{}"}]


def test_a_message_names_who_of_several_speaks_and_its_files_where_there_are_any() -> None:
    by = {"kind": "user", "identifier": "ann"}
    files = [{"name": "a.txt", "text": '"}'}]
    assert encode_inbound(0, "Hi") == '{"from":0,"context":"Hi"}'
    told = encode_inbound(0, "Hi", by, files)
    assert json.loads(told) == {"from": 0, "by": by, "context": "Hi", "files": files}
    assert list(json.loads(told)) == ["from", "by", "context", "files"]


def test_a_passage_is_one_line_with_its_source_if_it_has_one() -> None:
    assert encode_passage(1, None, "a\nb") == '{"number":1,"source":null,"text":"a\\nb"}'
    told = encode_passage(2, "é\0\ud83d", "x\0")
    assert told == '{"number":2,"source":"é\ufffd\ufffd","text":"x\ufffd"}'


def test_calls_stand_beside_what_was_said_with_them() -> None:
    called = (Envelope(0, "Wait"), CALLS)
    quiet = (Envelope(2, "Code?"), [])
    first = {"to": 0, "context": "Wait", "calls": CALLS}
    second = {"to": 2, "context": "Code?"}
    assert json.loads(encode_calling([called])) == first
    assert json.loads(encode_calling([quiet])) == second
    assert json.loads(encode_calling([called, quiet])) == [first, second]


@pytest.mark.parametrize(
    ("output", "known"),
    [
        ('{"to":2,"context":"a"}', True),
        ('[{"context":"a","to":2}]', True),
        ('{"envelopes":[{"to":2,"context":"a"}]}', True),
        ('{"envelopes":[{"to":2,"context":"a"}],"why":1}', False),
        ('{"to":2,"context":"a","why":1}', False),
        ('{"to":3,"context":"a"}', False),
        ('{"to":2,"context":"b"}', False),
        ('Sure: {"to":2,"context":"a"}', False),
        ('"a"', False),
        ("[]", False),
    ],
)
def test_an_output_is_known_by_its_envelopes_if_it_is_no_more_than_they(
    output: str, known: bool
) -> None:
    assert tells([(2, "a")], output) is known


def test_an_output_that_is_longer_than_its_envelopes_can_be_is_not_read() -> None:
    written = '{"to":2,"context":"a"}'
    longest = MAX_FRAME + LONGEST_ESCAPE
    assert tells([(2, "a")], written.ljust(longest))
    assert not tells([(2, "a")], written.ljust(longest + 1))
    both = compact([{"to": 2, "context": "a"}, {"to": 3, "context": "b"}])
    assert tells([(2, "a"), (3, "b")], both.ljust(2 * longest))


def test_an_output_that_nests_without_end_is_not_known() -> None:
    assert not tells([(2, "a" * 100_000)], "[" * 100_000)


def test_an_address_has_a_bounded_length_and_value() -> None:
    assert recipient("#1 (" + "x" * (MAX_TO - 5) + ")") == 1
    assert recipient("#1 (" + "x" * (MAX_TO - 4) + ")") is None
    assert recipient(str(2**63 - 1)) == 2**63 - 1
    assert recipient(str(-(2**63) + 1)) == -(2**63) + 1
    assert recipient(str(2**63)) is None
    assert recipient(str(-(2**63))) is None
    assert recipient(f"{2**53 - 1}.0") == 2**53 - 1
    assert recipient(f"{2**53}.0") is None
    assert recipient(f"-{2**53}.0") is None
