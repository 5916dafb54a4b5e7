"""What a plain model's answer tells of itself, read beside it as it passes: tokens, its end, an
error. Nothing that is odd in it is an error here: the client gets the answer as it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.agency.models.tokens import texts, tokens
from gateway.agency.models.upstream import chunks

MAX_TOKENS: Final = 1 << 30
"""A count above this is no count."""

SPOKEN: Final = ("content", "refusal", "reasoning_content", "reasoning")
"""Members of a delta or a message that a model wrote."""


@dataclass(frozen=True, slots=True)
class CountedTokens:
    """`cached` are those of `input` that the upstream had read before. Unless `counted`, they are
    estimates of ours."""

    input: int
    cached: int
    output: int
    counted: bool


class Counting:
    """Fed with the JSON of each event, or of the whole answer, which has `choices` parts."""

    def __init__(self, choices: int = 1) -> None:
        self.counted: CountedTokens | None = None
        self.error: object = None
        """The upstream's `error` object, where an answer was due."""
        self.done = False
        self._choices = choices
        self._finished: set[str] = set()
        self._characters = 0

    @property
    def finished(self) -> bool:
        """True if each choice has its finish reason: what comes after it is no answer."""
        return len(self._finished) >= self._choices

    @property
    def spoken(self) -> bool:
        """True if the model has begun to write."""
        return self._characters > 0

    def take(self, payload: bytes) -> bool:
        """Read one event. True if it tells the usage and nothing else."""
        if payload.startswith(b"[DONE]"):
            self.done = True
            return False
        try:
            chunk = _decoded(payload)
        except (ValueError, RecursionError):
            return False
        choices = _member(chunk, "choices")
        for choice in choices if isinstance(choices, list) else ():
            self._choose(choice)
        if error := _member(chunk, "error"):
            self.error = error
        usage = _member(chunk, "usage")
        if (found := _counted(usage)) is not None:
            self.counted = found
        return isinstance(usage, dict) and not choices and not error

    def _choose(self, choice: object) -> None:
        if _member(choice, "finish_reason"):
            self._finished.add(str(_member(choice, "index")))
        said = _member(choice, "delta") or _member(choice, "message")
        self._characters += sum(_length(_member(said, name)) for name in SPOKEN)
        calls = _member(said, "tool_calls")
        for call in calls if isinstance(calls, list) else ():
            function = _member(call, "function")
            self._characters += sum(_length(_member(function, n)) for n in ("name", "arguments"))

    def tokens(self, messages: bytes | None) -> CountedTokens:
        """Returns the upstream's count, or else an estimate of 4 characters a token. `messages` is
        the JSON that the client sent."""
        if self.counted is not None:
            return self.counted
        return CountedTokens(tokens(_asked(messages)), 0, tokens(self._characters), counted=False)


def _decoded(payload: bytes) -> object:
    try:
        value: object = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return chunks.loads(payload)
    return value


def _asked(messages: bytes | None) -> int:
    try:
        given: object = msgspec.json.decode(messages or b"null")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0
    found = given if isinstance(given, list) else ()
    return sum(_length(_member(message, "content")) for message in found)


def _length(content: object) -> int:
    """Characters of a text, or of the texts of a list of parts."""
    if isinstance(content, (str, list)):
        return sum(map(len, texts(content)))
    return 0


def _counted(usage: object) -> CountedTokens | None:
    sent, made = (_count(_member(usage, f"{kind}_tokens")) for kind in ("prompt", "completion"))
    if sent is None or made is None:
        return None
    details = _member(_member(usage, "prompt_tokens_details"), "cached_tokens")
    named = (details, _member(usage, "prompt_cache_hit_tokens"), _member(usage, "cached_tokens"))
    cached = next((count for one in named if (count := _count(one)) is not None), 0)
    return CountedTokens(sent, min(cached, sent), made, counted=True)


def _count(value: object) -> int | None:
    """Upstreams write 12, 12.0 and "12"."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        count = int(float(value))
    except (ValueError, OverflowError):
        return None
    return count if 0 <= count < MAX_TOKENS else None


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None
