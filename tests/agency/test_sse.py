"""Events are found in bytes, wherever a read happens to end."""

from __future__ import annotations

import time

import pytest

from gateway.agency.models.upstream.sse import MAX_LINE, EventReader, EventTooLong

STREAM = (
    'data: {"ü": 1}\n\n: ping\n\nevent: x\ndata:two\ndata: lines\n\n\ndata:\n\ndata: [DONE]\n\n'
)
EVENTS = ['{"ü": 1}'.encode(), b"two\nlines", b"", b"[DONE]"]
WAYS = {
    "LF": STREAM.encode(),
    "CRLF": STREAM.replace("\n", "\r\n").encode(),
    "CR": STREAM.replace("\n", "\r").encode(),
    "all three": STREAM.replace("\n\n", "\r\n\r").replace("lines\r\n", "lines\n").encode(),
    "BOM": b"\xef\xbb\xbf" + STREAM.encode(),
    "BOM and CR": b"\xef\xbb\xbf" + STREAM.replace("\n", "\r").encode(),
}


@pytest.mark.parametrize("stream", WAYS.values(), ids=WAYS)
def test_every_split_in_two_gives_the_same_events(stream: bytes) -> None:
    for at in range(len(stream) + 1):
        reader = EventReader()
        assert reader.feed(stream[:at]) + reader.feed(stream[at:]) == EVENTS


@pytest.mark.parametrize("stream", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_pieces_of_any_size_give_the_same_events(stream: bytes, size: int) -> None:
    reader = EventReader()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [event for piece in pieces for event in reader.feed(piece)] == EVENTS


def test_an_event_without_its_blank_line_is_not_given() -> None:
    assert EventReader().feed(b"data: half\n") == []
    assert EventReader().feed(b"data: half") == []


def test_a_bom_is_skipped_at_the_start_alone() -> None:
    assert EventReader().feed(b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n") == [b"1"]


def test_a_line_may_be_long_but_not_endless() -> None:
    line = b"data: " + b"x" * (MAX_LINE - 6)
    assert EventReader().feed(line + b"\n\n") == [b"x" * (MAX_LINE - 6)]
    reader = EventReader()
    reader.feed(b"x" * MAX_LINE)
    with pytest.raises(EventTooLong):
        reader.feed(b"x")


def test_many_lines_make_no_endless_event() -> None:
    with pytest.raises(EventTooLong):
        EventReader().feed(b"data: xxxxxxxx\n" * 100_000)


def test_many_events_may_be_longer_than_one() -> None:
    reader = EventReader()
    for _ in range(5):
        event = b"data: a\ndata: " + b"x" * (MAX_LINE - 100) + b"\n\n"
        assert len(reader.feed(event)) == 1


def test_a_long_line_that_comes_drop_by_drop_is_not_copied_again_and_again() -> None:
    reader = EventReader()
    started = time.process_time()
    for _ in range(500_000):
        reader.feed(b"x")
    assert time.process_time() - started < 5
