"""Texts that match a regular expression: the plain kind that JSON schemas hold.

What is read: characters, classes, `.`, groups, alternatives, quantifiers and anchors. Assertions
that look around are skipped, so a text may not match; whoever needs to know must check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

LONGEST: Final = 4096
"""Characters of a text."""
MOST_STEPS: Final = 4 * LONGEST
"""Of writing a text: nested quantifiers multiply, also where they write nothing."""
DEEPEST: Final = 40
"""Groups in each other."""

_CLASSES: Final = {"d": "0123456789", "w": "abcdefghijklmnopqrstuvwxyz0123456789_", "s": " "}
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_ANY: Final = "".join(map(chr, range(ord("a"), ord("z") + 1))) + "".join(map(chr, range(32, 127)))
"""What a negated class, `\\D` and the like are taken from, letters first."""


class Unreadable(Exception):
    """The pattern is of a kind that is not read here, or no text of this length matches it."""


@dataclass(frozen=True, slots=True)
class _Chars:
    """One of these characters."""

    chars: str


@dataclass(frozen=True, slots=True)
class _Repeated:
    """A node from `least` to `most` times; None stands for no limit."""

    node: _Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class _Sequence:
    nodes: Sequence[_Node]


@dataclass(frozen=True, slots=True)
class _Either:
    branches: Sequence[_Node]


_Node: TypeAlias = "_Chars | _Repeated | _Sequence | _Either"


def matching(pattern: str, least: int = 0, most: int | None = None, nth: int = 0) -> str:
    """The `nth` of the texts that this makes from a pattern, of `least` to `most` characters.
    Raises Unreadable."""
    node = _Reader(pattern).read()
    for extra in _growing(least):
        writer = _Writer(nth, extra)
        writer.write(node)
        text = "".join(writer.said)
        if len(text) >= least and (most is None or len(text) <= most):
            return text
    if not (pattern.startswith("^") and pattern.endswith("$")):
        text = text.ljust(least, "x")
        if most is None or len(text) <= most:
            return text
    raise Unreadable(f"no text of {least} to {most} characters")


def _growing(least: int) -> Iterator[int]:
    """Yields how many times more than needed a node is repeated."""
    yield from range(9)
    yield from (extra for extra in (12, 16, 24, 32, 64, 128, least) if extra <= max(least, 8))


@dataclass(slots=True)
class _Writer:
    nth: int
    extra: int
    said: list[str] = field(default_factory=list)
    steps: int = 0

    def write(self, node: _Node) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS or len(self.said) > LONGEST:
            raise Unreadable("too long")
        match node:
            case _Chars(chars):
                self.said.append(chars[self.nth % len(chars)])
                self.nth //= len(chars)
            case _Sequence(nodes):
                for one in nodes:
                    self.write(one)
            case _Either(branches):
                self.write(branches[self.nth % len(branches)])
            case _Repeated(repeated, least, most):
                times = least + self.extra
                for _ in range(times if most is None else min(times, most)):
                    self.write(repeated)


@dataclass(slots=True)
class _Reader:
    pattern: str
    at: int = 0
    depth: int = 0

    def read(self) -> _Node:
        node = self._either()
        if self.at < len(self.pattern):
            raise Unreadable("a bracket too many")
        return node

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _take(self) -> str:
        if self.at >= len(self.pattern):
            raise Unreadable("it ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    def _either(self) -> _Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable("too intricate")
        branches = [self._sequence()]
        while self._peek() == "|":
            self.at += 1
            branches.append(self._sequence())
        self.depth -= 1
        return branches[0] if len(branches) == 1 else _Either(branches)

    def _sequence(self) -> _Node:
        nodes: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            node = self._atom()
            if node is not None:
                nodes.append(self._quantified(node))
        return _Sequence(nodes)

    def _atom(self) -> _Node | None:
        """Returns None for syntax that stands for no character."""
        match self._take():
            case "^" | "$":
                return None
            case ".":
                return _Chars(_ANY)
            case "[":
                return _Chars(self._class())
            case "(":
                return self._group()
            case "\\":
                chars = self._escaped()
                return _Chars(chars) if chars else None
            case char:
                return _Chars(char)

    def _group(self) -> _Node | None:
        looks = False
        if self._peek() == "?":
            self.at += 1
            looks = self._opening()
        inside = self._either()
        if self._take() != ")":
            raise Unreadable("a group has no end")
        return None if looks else inside

    def _opening(self) -> bool:
        """The rest of what begins a group. True if it looks around and takes nothing."""
        match self._take():
            case ":":
                return False
            case "=" | "!":
                return True
            case "P" | "<" as kind:
                if kind == "<" and self._peek() in ("=", "!"):
                    self.at += 1
                    return True
                while self._take() != ">":
                    pass
                return False
            case _:
                raise Unreadable("a group of an unknown kind")

    def _escaped(self) -> str:
        """The characters that an escape stands for; none for an assertion."""
        char = self._take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char.lower() in _CLASSES:
            return _without(_CLASSES[char.lower()])
        if char in "bBAZz":
            return ""
        if char in "xu":
            digits = self.pattern[self.at : self.at + (2 if char == "x" else 4)]
            self.at += len(digits)
            return _char(digits)
        if char.isalnum() and char not in _CONTROLS:
            raise Unreadable("an escape of an unknown kind")
        return _CONTROLS.get(char, char)

    def _class(self) -> str:
        negated = self._peek() == "^"
        self.at += negated
        chars: list[str] = []
        while self._peek() != "]" or not chars:
            chars.append(self._member())
        self.at += 1
        joined = "".join(dict.fromkeys("".join(chars)))
        found = _without(joined) if negated else joined
        if not found:
            raise Unreadable("a class of no characters")
        return found

    def _member(self) -> str:
        """A character of a class, a range, or what an escape stands for."""
        char = self._take()
        first = self._escaped() if char == "\\" else char
        if len(first) != 1 or self._peek() != "-" or self.pattern[self.at + 1 : self.at + 2] == "]":
            return first
        self.at += 1
        char = self._take()
        last = self._escaped() if char == "\\" else char
        if len(last) != 1 or last < first:
            raise Unreadable("a range of an unknown kind")
        return "".join(map(chr, range(ord(first), min(ord(last), ord(first) + 127) + 1)))

    def _quantified(self, node: _Node) -> _Node:
        simple: Mapping[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        bounds = self._bounds() if self._peek() == "{" else simple.get(self._peek())
        if bounds is None:  # a brace that counts nothing is a character
            return node
        self.at += 1
        if self._peek() in ("?", "+"):  # lazy, or possessive
            self.at += 1
        return _Repeated(node, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        end = self.pattern.find("}", self.at)
        inside = self.pattern[self.at + 1 : end] if end > 0 else ""
        low, comma, high = inside.partition(",")
        if not _counts(low) or (high and not _counts(high)):
            return None
        self.at = end
        least = int(low)
        return least, (int(high) if high else None if comma else least)


def _counts(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) <= 5


def _without(chars: str) -> str:
    return "".join(char for char in _ANY if char not in chars)


def _char(digits: str) -> str:
    try:
        return chr(int(digits, 16))
    except ValueError:
        raise Unreadable("an escape of an unknown kind") from None
