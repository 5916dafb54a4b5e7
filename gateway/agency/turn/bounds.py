"""The manager's answer on its way out: what the client's `stop` and `max_tokens` mean for it. They
bound the answer, not the envelope around it."""

from __future__ import annotations

from gateway.agency.model import FinishReason
from gateway.agency.speech.prompt import CHARACTERS_PER_TOKEN
from gateway.agency.turn.request import Ask


class Release:
    """Lets an answer through up to its bounds; `finish_reason` is set once one is met.

    A beginning stop sequence is held back until it is clear whether it is one. Tokens are
    estimated at four characters each.
    """

    def __init__(self, ask: Ask) -> None:
        self._stop = tuple(stop for stop in ask.stop if stop)
        self._beginnings = [_Beginning(stop) for stop in self._stop]
        self._room = None if ask.max_tokens is None else ask.max_tokens * CHARACTERS_PER_TOKEN
        self._held = ""
        self.finish_reason: FinishReason | None = None

    @property
    def bounded(self) -> bool:
        """True if there is anything to look out for."""
        return bool(self._stop) or self._room is not None

    def feed(self, text: str) -> str:
        """Returns what may go out now."""
        if not self.bounded:
            return text
        if self.finish_reason is not None:
            return ""
        new, text = text, self._held + text
        if (end := self._end(text)) is not None:
            self.finish_reason = "stop"
            return self._fitting(text[:end])
        keep = max((one.feed(new) for one in self._beginnings), default=0)
        self._held = text[len(text) - keep :]
        return self._fitting(text[: len(text) - keep])

    def close(self) -> str:
        """Returns what was held back and turns out to be no stop sequence."""
        held, self._held = self._held, ""
        return self._fitting(held) if self.finish_reason is None else ""

    def _end(self, text: str) -> int | None:
        """Returns where the stop sequence begins that is complete first. Pieces that come later do
        not change it."""
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _fitting(self, text: str) -> str:
        if self._room is None:
            return text
        if len(text) > self._room:
            self.finish_reason = "length"
            text = text[: self._room]
        self._room -= len(text)
        return text


class _Beginning:
    """How much of a stop sequence the text so far ends with. Each character is looked at twice at
    most, however often the sequence repeats itself. Source: Knuth, Morris and Pratt, 1977."""

    def __init__(self, stop: str) -> None:
        self._stop = stop
        self._borders = [0] * len(stop)
        for at in range(1, len(stop)):
            self._borders[at] = self._longer(stop[at], self._borders[at - 1])
        self._length = 0

    def feed(self, text: str) -> int:
        """The length after `text`, with which the sequence is not complete."""
        if len(text) >= len(self._stop):  # what was before it plays no part any more
            self._length, text = 0, text[len(text) - len(self._stop) + 1 :]
        for character in text:
            self._length = self._longer(character, self._length)
        return self._length

    def _longer(self, character: str, length: int) -> int:
        while length and self._stop[length] != character:
            length = self._borders[length - 1]
        return length + (self._stop[length] == character)
