"""Cutting a text into passages: pure, and exact. A passage is a slice of the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SIZE = 1_000
"""Characters of a passage at most: some 250 tokens, enough to answer a question from."""
OVERLAP = 150
"""Characters that a passage may share with the one before: what a cut tears apart is whole in one
of the two."""

_ENDS = (
    re.compile(r"\n[ \t]*\n\s*"),  # of a paragraph
    re.compile(r"[.!?…。！？][\"'”’)\]]*\s+|[。！？]"),  # noqa: RUF001  of a sentence
    re.compile(r"\n\s*"),
    re.compile(r"\s+"),
)
"""Where a text may be cut, the best first."""


@dataclass(frozen=True, slots=True)
class TextChunk:
    """`text` is what stands at `position`, counted in characters from the text's start."""

    position: int
    text: str


def chunk(text: str, size: int = SIZE, overlap: int = OVERLAP) -> list[TextChunk]:
    """Every character stands in at least one chunk, and in two at most. A text of white space
    alone has none. `overlap` is at most a quarter of `size`."""
    if not text.strip():
        return []
    return [TextChunk(start, text[start:end]) for start, end in _spans(text, size, overlap)]


def _spans(text: str, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    start = 0
    while len(text) - start > size:
        end = _cut(text, start + size // 2, start + size)
        yield start, end
        start = _back(text, end, overlap)
    yield start, len(text)


def _cut(text: str, low: int, high: int) -> int:
    """The last good place to cut between `low` and `high`, else `high`."""
    for end in _ENDS:
        places = [found.end() for found in end.finditer(text, low - 1, high)]
        if places and places[-1] >= low:
            return places[-1]
    return high


def _back(text: str, end: int, overlap: int) -> int:
    """Returns where the next chunk begins: at most `overlap` before `end`, at the start of a
    sentence or else of a word; without either, at `end`."""
    for place in (_ENDS[1], _ENDS[3]):
        if found := place.search(text, end - overlap, end):
            return found.end()
    return end
