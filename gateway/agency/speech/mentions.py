"""Whom a message addresses: `@programmer`, `@senior_programmer` for a name with blanks, or `#143`
for a number. Upper and lower case are the same, and what stands in code addresses nobody. Pure."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_TICKS = re.compile(r"`+")
_SIGN = re.compile(r"(?<![\w@#&/.])[@#]")
_ON = re.compile(r"\w|[-.:/+@#]\w")
"""A name that goes on like this is another name."""


@dataclass(frozen=True, slots=True)
class Addressable:
    """What somebody is called. Who has no `number` is addressed by name alone."""

    name: str
    number: str | None = None


def addressed(text: str, bots: Mapping[Key, Addressable]) -> frozenset[Key]:
    """Returns those whom a text addresses: of one name, all who bear it."""
    if "@" not in text and "#" not in text:
        return frozenset()
    by_word: defaultdict[str, set[Key]] = defaultdict(set)
    for key, bot in bots.items():
        by_word["@" + _folded("_".join(bot.name.split()))].add(key)
        if bot.number is not None:
            by_word["#" + bot.number].add(key)
    by_word.pop("@", None)
    words = sorted(by_word, key=len, reverse=True)
    found: set[Key] = set()
    for prose in _prose(_folded(text)):
        for sign in _SIGN.finditer(prose):
            at = sign.start()
            word = next((word for word in words if prose.startswith(word, at)), None)
            if word is not None and not _ON.match(prose, at + len(word)):
                found |= by_word[word]
    return frozenset(found)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())


def _prose(text: str) -> Iterator[str]:
    """The text outside of code: between fences, and between pairs of backticks."""
    fence = ""
    lines: list[str] = []
    for line in text.splitlines():
        opening = _FENCE.fullmatch(line)
        if fence:
            mark = opening.group(1) if opening and not opening.group(2).strip() else ""
            if mark.startswith(fence):
                fence = ""
        elif opening and not (opening.group(1)[0] == "`" and "`" in opening.group(2)):
            yield from _outside_ticks("\n".join(lines))
            fence, lines = opening.group(1), []
        else:
            lines.append(line)
    yield from _outside_ticks("\n".join(lines))


def _outside_ticks(text: str) -> Iterator[str]:
    """A run of backticks opens code that the next run of the same length closes."""
    runs = [(run.start(), run.end()) for run in _TICKS.finditer(text)]
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for at, (start, end) in enumerate(runs):
        by_length[end - start].append(at)
    begin, at = 0, 0
    while at < len(runs):
        start, end = runs[at]
        same = by_length[end - start]
        closing = bisect_left(same, at + 1)
        if closing == len(same):
            at += 1
            continue
        yield text[begin:start]
        begin = runs[same[closing]][1]
        at = same[closing] + 1
    yield text[begin:]
