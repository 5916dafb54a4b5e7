"""What an agent has said so far in one answer, and what of it the end user may see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from gateway.agency.speech.envelope import (
    MAX_CONTEXT,
    MAX_ENVELOPES,
    Envelope,
    Malformed,
    recipient,
)


class Slot(Enum):
    """What the string or value that comes next is."""

    NAME = auto()
    TO = auto()
    CONTEXT = auto()
    ENVELOPES = auto()
    OTHER = auto()


@dataclass(slots=True)
class _Draft:
    """An object that may become an envelope. `live`: it is the first to 0, so it is let out."""

    to: int | None = None
    context: str | None = None
    named: bool = False
    live: bool = False

    def envelope(self) -> Envelope | None:
        if self.to is None or self.context is None:
            return None
        return Envelope(self.to, self.context)


class AnswerReader:
    """Reads the members of one object after the other, in their order."""

    __slots__ = ("_claimed", "_draft", "_out", "_released", "answered", "malformed", "said")

    def __init__(self) -> None:
        self.said: list[Envelope] = []
        self.malformed: Malformed | None = None
        self.answered = False
        self._draft = _Draft()
        self._claimed = False
        self._out: list[str] = []
        self._released: list[str] = []

    @property
    def released(self) -> str:
        return "".join(self._released)

    @property
    def text(self) -> str:
        """All that was said to 0 so far, be it released or not."""
        return "".join((*self._released, *self._out))

    @property
    def meant(self) -> bool:
        """The object names `to` or `context`, so it is an envelope or a failed one."""
        return self._draft.named

    @property
    def unfinished(self) -> Envelope | None:
        """The envelope of an object that is not closed, but has all that it needs."""
        return self._draft.envelope()

    def begin(self) -> None:
        self._draft = _Draft()

    def name(self, name: str) -> Slot:
        """Returns the slot of the member of this name. The first of several of one name counts."""
        draft = self._draft
        if name == "envelopes" and not draft.named:
            return Slot.ENVELOPES
        draft.named |= name in ("to", "context")
        if name == "to" and draft.to is None:
            return Slot.TO
        if name == "context" and draft.context is None:
            return Slot.CONTEXT
        return Slot.OTHER

    def address(self, text: str) -> None:
        draft = self._draft
        draft.to = recipient(text)
        if draft.to is None:
            self.fault(f'has a "to" that is not the number of anyone: {text[:40]}')
        elif draft.to == 0 and not self._claimed:
            self._claimed = draft.live = True
            if draft.context is not None:
                self.piece(draft.context)
                self.answered = True

    def piece(self, text: str) -> None:
        """The next characters of the context."""
        if text and self._draft.live:
            self._out.append(text)

    def write(self, context: str) -> None:
        """The whole context, of which the pieces have been told."""
        if len(context) > MAX_CONTEXT:
            self.fault(f"has a context of more than {MAX_CONTEXT:,} characters")
            return
        self._draft.context = context
        self.answered |= self._draft.live

    def finish(self) -> None:
        draft = self._draft
        if (envelope := draft.envelope()) and len(self.said) == MAX_ENVELOPES:
            self.fault(f"is one too many: an answer has at most {MAX_ENVELOPES}")
        elif envelope:
            self.said.append(envelope)
        elif draft.named:
            self.fault('has no "to"' if draft.to is None else 'has no "context"')
        self.begin()

    def fault(self, what: str) -> None:
        """Note a broken envelope, which spoils the answer. The first one is named."""
        self.malformed = Malformed(f"Envelope {len(self.said) + 1} {what}.")

    def release(self) -> str:
        if not self._out:
            return ""
        out = "".join(self._out)
        self._out.clear()
        self._released.append(out)
        return out
