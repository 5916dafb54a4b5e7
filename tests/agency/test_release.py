"""What of the manager's answer goes out under a client's `stop` and `max_tokens`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.agency.speech.prompt import CHARACTERS_PER_TOKEN
from gateway.agency.turn.bounds import Release
from gateway.agency.turn.request import Ask


def released(
    pieces: Sequence[str], *, stop: Sequence[str] = (), max_tokens: int | None = None
) -> tuple[str, str | None]:
    release = Release(Ask(model="m", stop=tuple(stop), max_tokens=max_tokens))
    out = [release.feed(piece) for piece in pieces]
    return "".join(out) + release.close(), release.finish_reason


def test_without_bounds_everything_goes_out_at_once() -> None:
    release = Release(Ask(model="m"))
    assert not release.bounded
    assert [release.feed(piece) for piece in ("Hel", "lo")] == ["Hel", "lo"]
    assert (release.close(), release.finish_reason) == ("", None)


def test_a_stop_sequence_ends_the_answer_before_itself() -> None:
    assert released(["one END two"], stop=["END"]) == ("one ", "stop")


def test_the_beginning_of_a_stop_sequence_is_held_back_until_it_is_clear_what_it_is() -> None:
    release = Release(Ask(model="m", stop=("END",)))
    assert [release.feed(piece) for piece in ("x E", "N", "ough")] == ["x ", "", "ENough"]
    assert [release.feed("y E"), release.close()] == ["y ", "E"]
    assert release.finish_reason is None


def test_the_stop_sequence_that_is_complete_first_counts() -> None:
    assert released(["xabc"], stop=["abc", "b"]) == ("xa", "stop")
    assert released(["x", "a", "b", "c"], stop=["abc", "b"]) == ("xa", "stop")


def test_what_was_held_back_is_let_go_once() -> None:
    release = Release(Ask(model="m", stop=("END",)))
    assert [release.feed("x E"), release.close(), release.close()] == ["x ", "E", ""]
    release = Release(Ask(model="m", stop=("END",)))
    assert [release.feed("x E"), release.feed("ND"), release.close()] == ["x ", "", ""]


def test_what_has_gone_out_takes_up_room() -> None:
    assert released(["abc", "def", "ghi"], max_tokens=1) == ("abcd", "length")


def test_after_its_end_nothing_more_goes_out() -> None:
    assert released(["a|", "b", "|c"], stop=["|"]) == ("a", "stop")


def test_an_empty_stop_sequence_is_none() -> None:
    assert released(["hello"], stop=[""]) == ("hello", None)


@pytest.mark.parametrize(
    ("characters", "reason"), [(39, None), (40, None), (41, "length"), (400, "length")]
)
def test_tokens_are_counted_at_four_characters_each(characters: int, reason: str | None) -> None:
    text, why = released(["x" * characters], max_tokens=10)
    assert (len(text), why) == (min(characters, 40), reason)


def test_the_bound_that_is_met_first_counts() -> None:
    assert released(["abcdefgh|"], stop=["|"], max_tokens=1) == ("abcd", "length")
    assert released(["abc|defgh"], stop=["|"], max_tokens=1) == ("abc", "stop")
    assert released(["abcd|"], stop=["|"], max_tokens=1) == ("abcd", "stop")


WORDS = st.text(alphabet="ab", max_size=24)
STOPS = st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=4)
ROOM = st.none() | st.integers(1, 5)


def split(text: str, cuts: Sequence[int]) -> list[str]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@given(WORDS, STOPS, ROOM, st.lists(st.integers(0, 99), max_size=8))
@example("xabc", ["abc", "b"], None, [1, 2, 3])
def test_what_is_streamed_adds_up_to_the_whole_whatever_the_chunks(
    text: str, stop: list[str], max_tokens: int | None, cuts: list[int]
) -> None:
    whole = released([text], stop=stop, max_tokens=max_tokens)
    assert released(split(text, cuts), stop=stop, max_tokens=max_tokens) == whole
    assert released(list(text), stop=stop, max_tokens=max_tokens) == whole


@given(WORDS, STOPS, ROOM)
def test_what_goes_out_is_as_much_as_may_and_no_more(
    text: str, stop: list[str], max_tokens: int | None
) -> None:
    out, reason = released([text], stop=stop, max_tokens=max_tokens)
    room = len(text) if max_tokens is None else max_tokens * CHARACTERS_PER_TOKEN
    assert text.startswith(out)
    assert len(out) <= room
    assert not any(sequence in out for sequence in stop)
    match reason:
        case None:
            assert out == text
        case "length":
            assert len(out) == room < len(text)
        case _:
            assert any(text[len(out) :].startswith(sequence) for sequence in stop)


def test_a_released_answer_is_released_unchanged() -> None:
    for stop, text in ((["END"], "one END two"), (["aa"], "baaab")):
        once, _ = released([text], stop=stop, max_tokens=1)
        assert released([once], stop=stop, max_tokens=1)[0] == once
