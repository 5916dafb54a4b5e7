"""What strangers and models write is read in linear time, whatever they write.

Each reader is given one shape in a size and eight times that size. Linear work takes eight times as
long, quadratic sixty-four times. Processor time is measured, and the best of three runs counts.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from gateway.agency.models.rehearsal.model import reply
from gateway.agency.models.upstream.refusal import read
from gateway.agency.models.upstream.sse import EventReader
from gateway.agency.models.upstream.wire import MAX_BODY
from gateway.agency.speech.decoder import Decoder, parse
from gateway.agency.speech.envelope import recipient, storable, tells
from gateway.agency.speech.thoughts import Thoughts, spoken
from gateway.agency.turn.answer_format import misfit
from gateway.agency.turn.bounds import Release
from gateway.agency.turn.request import Ask
from gateway.retrieval.documents.chunking import chunk
from gateway.retrieval.documents.parsing import of_html
from gateway.routes.http.errors import field_of
from gateway.routes.openai.file_wire import attachment

SMALL, TIMES = 6_000, 8
"""Characters, and how many times as many the second run has."""
MOST = 24.0
"""Between eight and sixty-four: a busy machine makes no linear work quadratic."""
NOTHING_S = 0.03
"""What takes no longer than this when it is large is quick enough to say nothing of its shape."""

SHAPES = {
    "blanks": " ",
    "lines": "\n",
    "paragraphs": "\n \n",
    "quotes": '"',
    "backslashes": "\\",
    "braces": "{",
    "closed": "}",
    "brackets": "[",
    "pairs": "{}",
    "nested names": '{"a":',
    "trailing commas": "}, ",
    "envelopes": '{"to": 1, "context": "x"}',
    "bare": "{to",
    "thoughts": "<think>",
    "thought": "</think>",
    "tag without end": "<think ",
    "quoted marks": '"</think>"',
    "harmony": "<|start|>a<|channel|>b",
    "digits": "9",
    "sentences": ".'",
    "words": "a b ",
    "brackets around": "(x)",
    "labels": "#1 (",
    "introductions": "You are #1 (",
    "fields": "unknown field `",
    "events": "data: x\n\n",
    "comments": ":\n",
    "carriage": "\r",
    "escapes": "\\u0041",
    "surrogates": "\ud83d",
    "tags": "<p>x",
    "wide": "。",
}


def fill(shape: str, size: int) -> str:
    return shape * (size // len(shape))


def seconds(read: Callable[[str], object], text: str) -> float:
    taken = []
    for _ in range(3):
        began = process_time()
        read(text)
        taken.append(process_time() - began)
    return min(taken)


def check(read: Callable[[str], object], shape: str) -> None:
    large = seconds(read, fill(shape, SMALL * TIMES))
    if large > NOTHING_S:
        small = seconds(read, fill(shape, SMALL))
        assert large < MOST * max(small, NOTHING_S / TIMES)


def in_pieces(text: str) -> None:
    decoder = Decoder()
    for at in range(0, len(text), 3):
        decoder.feed(text[at : at + 3])
    decoder.close()


def said_in_pieces(text: str) -> None:
    thoughts = Thoughts()
    for at in range(0, len(text), 3):
        thoughts.feed(text[at : at + 3])
    thoughts.close()


def released(text: str) -> None:
    release = Release(Ask(model="m", stop=("a b a b c", "  x", "\n\n\n"), max_tokens=10**6))
    for at in range(0, len(text), 3):
        release.feed(text[at : at + 3])
    release.close()


def released_by_long_stops(text: str) -> None:
    """Each sequence repeats the text until shortly before its end."""
    stops = tuple(text[at : at + 900] + "\0" for at in range(4))
    release = Release(Ask(model="m", stop=stops))
    for at in range(0, len(text), 40):
        release.feed(text[at : at + 40])
    release.close()


def heard(text: str) -> None:
    events = EventReader()
    body = text.encode("utf-8", "surrogatepass")
    for at in range(0, len(body), 7):
        events.feed(body[at : at + 7])


def rehearsed(text: str) -> None:
    said: list[Any] = [{"role": "user", "content": storable(text)}] * 3
    reply([{"role": "system", "content": storable(text)}, *said], (0, 1))


READERS: dict[str, Callable[[str], object]] = {
    "a model's answer": parse,
    "an answer in pieces": in_pieces,
    "an answer to somebody": lambda text: parse('{"to": "' + text),
    "an answer to a number": lambda text: parse('{"to": ' + text),
    "an answer's context": lambda text: parse('{"to": 0, "context": "' + text),
    "an answer's structure": lambda text: parse('{"to": 0, "context": ' + text),
    "an answer's rest": lambda text: parse('{"to": 0, "context": "x"}' + text),
    "an answer after thoughts": lambda text: parse("<think>" + text),
    "an answer that begins with words": lambda text: parse("So: " + text),
    "plain words": spoken,
    "plain words in pieces": said_in_pieces,
    "plain JSON": lambda text: spoken("{" + text),
    "a refusal": lambda text: read(storable(text).encode()),
    "a recipient": recipient,
    "a labelled recipient": lambda text: recipient("#1 (" + text),
    "a recipient's end": lambda text: recipient("1" + text + "x"),
    "unstorable text": storable,
    "a repeated output": lambda text: tells([(1, storable(text))], storable(text)),
    "a bounded answer": released,
    "an answer bounded by long sequences": released_by_long_stops,
    "an upstream's stream": heard,
    "a rehearsal": rehearsed,
    "a document": chunk,
    "a page": lambda text: of_html(storable(text)),
    "a wanted object": lambda text: misfit(storable(text), None),
    "a violated member": lambda text: field_of("Object contains " + text + "\n", "body"),
    "a file's name": lambda text: attachment(storable(text)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_takes_linear_time(reader: str, shape: str) -> None:
    check(READERS[reader], SHAPES[shape])


@pytest.mark.parametrize(
    "shape",
    [
        "[",
        "<",
        "</think>",
        "<think></think>",
        '"</think>"',
        "{",
        "{}",
        '{"a": 1} ',
        "[{",
        '{"to": 0, "x": [',
        '{"to":1,"context":""}',
    ],
)
@pytest.mark.parametrize("begins", ["", '{"to": 1, "context": [', '{"envelopes": ['])
def test_an_answer_as_long_as_an_upstream_may_send_is_read_in_a_moment(
    begins: str, shape: str
) -> None:
    """Without a bound this takes minutes, and nothing else runs meanwhile."""
    text = begins + fill(shape, MAX_BODY)
    began = process_time()
    parse(text)
    parse("So: {to:" + text)
    spoken(text)
    tells([(1, "x")], text)
    assert process_time() - began < 5
