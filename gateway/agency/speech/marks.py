"""The marks by which models set thoughts apart from what they say, in all their spellings.

| spelling                                                   | by                          |
|------------------------------------------------------------|-----------------------------|
| `<think>`, `<thinking>`, `<thought>`, `<reasoning>`, closed | DeepSeek, Qwen, most others |
| `[THINK]…[/THINK]`                                         | Mistral                     |
| `◁think▷…◁/think▷`                                         | Kimi                        |
| `<|START_THINKING|>…<|END_THINKING|>`                      | Cohere                      |
| `<|begin_of_thought|>…<|end_of_thought|>`                  | OpenThinker                 |
| `<|channel>thought…<channel|>`                             | Gemma                       |
| `<|channel|>analysis<|message|>…<|end|>`                   | gpt-oss (harmony)           |
| `analysis…assistantfinal`                                  | gpt-oss, its tokens removed |

A tag is written in any case, and may have attributes and a prefix (`<seed:think>`). A mark between
quotes or backticks is spoken of, and marks nothing. A closing mark alone says that all before it
was thought: the opening one stood in the model's template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

LONGEST: Final = 200
"""Characters of a mark. What is longer is none."""

FIRST: Final = "<[◁"
"""What marks begin with."""

_QUOTES: Final = "\"'`"
_NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "antthinking")
_NAME = rf"(?:[a-z]{{1,16}}:)?(?:{'|'.join(sorted(_NAMES, key=len, reverse=True))})"
_PAIRS = {
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>": "<channel|>",
}
_TOKENS = ("start", "channel", "message", "end", "return", "call", "constrain")


class MarkKind(Enum):
    OPEN = auto()
    """Thoughts follow."""
    CLOSE = auto()
    """What came before was thought."""
    EMPTY = auto()
    """A mark that only frames."""


@dataclass(frozen=True, slots=True)
class Mark:
    """`end` is the place behind it; `closer` finds where the thoughts end that it opens."""

    kind: MarkKind
    end: int
    closer: re.Pattern[str] | None = None


WAIT: Final = Mark(MarkKind.EMPTY, -1)
"""What is there may become a mark with the characters that come next."""

_MARK = re.compile(
    rf"(?i:<(?P<tag>{_NAME})(?:\s[^<>]{{0,{LONGEST}}})?>)"
    rf"|(?P<closed>(?i:</{_NAME}\s{{0,8}}>)|{'|'.join(map(re.escape, _PAIRS.values()))})"
    rf"|(?P<pair>{'|'.join(map(re.escape, _PAIRS))})"
    r"|(?:<\|start\|>[^<]{0,60})?<\|channel\|>(?P<channel>[^<]{0,60})"
    r"(?:<\|constrain\|>[^<]{0,40})?<\|message\|>"
    r"|<\|start\|>[^<]{0,60}<\|message\|>"
    r"|<\|(?:message|end|return|call)\|>"
)
_HARMONY_END = re.compile(r"<\|(?:end|return|call)\|>|(?=<\|(?:start|channel)\|>)")
_BARE_HARMONY = re.compile(r"analysis(?=[A-Z])")
_BARE_HARMONY_END = re.compile(r"assistant\s{0,2}final")
_CLOSERS = {
    **{
        name: re.compile(rf"</(?:[a-z]{{1,16}}:)?{name}\s{{0,8}}>", re.IGNORECASE)
        for name in _NAMES
    },
    **{opener: re.compile(re.escape(closer)) for opener, closer in _PAIRS.items()},
}
LONGEST_CLOSER: Final = 40

_STARTS = (
    *(f"<{slash}{name}" for name in _NAMES for slash in ("", "/")),
    *(text.lower() for pair in _PAIRS.items() for text in pair),
    *(f"<|{token}|>" for token in _TOKENS),
)
_UNFINISHED = re.compile(
    rf"(?i:</?[a-z]{{0,16}}(?::[a-z]{{0,11}})?|<{_NAME}\s[^<>]*|</{_NAME}\s*)\Z"
    r"|(?:<\|start\|>[^<]*)?<\|channel\|>[^<]*(?:<\|constrain\|>[^<]*)?(?:<[|a-z]*)?\Z"
    r"|<\|start\|>[^<]*(?:<[|a-z]*)?\Z"
)


def read(
    text: str, at: int, before: str = "", *, leads: bool = False, ended: bool = False
) -> Mark | None:
    """The mark that begins here, WAIT if one may begin, or None. `before` is the character that
    stood before the text; `leads` if nothing was said yet; `ended` if nothing more comes."""
    found = _MARK.match(text, at)
    if found is None:
        if leads and (bare := _bare(text, at, ended=ended)):
            return bare
        return None if ended or not _may_become_one(text, at) else WAIT
    end = found.end()
    if (quote := text[at - 1] if at else before) and quote in _QUOTES:
        if end == len(text) and not ended:
            return WAIT
        if text[end : end + 1] == quote:
            return None
    return _meaning(found, end)


def _meaning(found: re.Match[str], end: int) -> Mark:
    if tag := found["tag"]:
        return Mark(MarkKind.OPEN, end, _CLOSERS[tag.lower().rpartition(":")[2]])
    if pair := found["pair"]:
        return Mark(MarkKind.OPEN, end, _CLOSERS[pair])
    if found["closed"]:
        return Mark(MarkKind.CLOSE, end)
    if (channel := found["channel"]) is None:
        return Mark(MarkKind.EMPTY, end)
    if channel.strip().startswith("final"):
        return Mark(MarkKind.CLOSE, end)
    return Mark(MarkKind.OPEN, end, _HARMONY_END)


def _bare(text: str, at: int, *, ended: bool) -> Mark | None:
    if bare := _BARE_HARMONY.match(text, at):
        return Mark(MarkKind.OPEN, bare.end(), _BARE_HARMONY_END)
    return None if ended or not "analysis".startswith(text[at : at + 9]) else WAIT


def _may_become_one(text: str, at: int) -> bool:
    if len(text) - at > LONGEST:
        return False
    rest = text[at:].lower()
    return any(start.startswith(rest) for start in _STARTS) or bool(_UNFINISHED.match(rest))


def close(closer: re.Pattern[str], text: str, pos: int) -> int | None:
    """The place behind the mark that ends thoughts, or None if there is none that is not quoted.
    The last LONGEST_CLOSER characters may be the beginning of one."""
    while found := closer.search(text, pos):
        start, end = found.span()
        quote = text[start - 1] if start else ""
        if start == end or not quote or quote not in _QUOTES:
            return end
        if end == len(text):
            return None
        if text[end] != quote:
            return end
        pos = end
    return None
