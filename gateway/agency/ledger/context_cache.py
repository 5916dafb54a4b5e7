"""The contexts of conversations that this process was in last, so that one that goes on need not
be read again: a turn then costs the database the same, however long its conversation.

What is kept is good for one version of its conversation. The statement that accepts the next turn
works only at the version that was looked up, so a copy that something has overtaken is never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from gateway.agency.speech.prompt import Entry


@dataclass(frozen=True, slots=True)
class Remembered:
    """Contexts by agent, as of `version`. If they are `all`, an agent without one has said and
    heard nothing; else its context must be read."""

    version: int
    contexts: Mapping[int, list[Entry]]
    all: bool

    @property
    def weight(self) -> int:
        """About what it takes to keep it, in characters."""
        return sum(ENTRY + len(e.text) for context in self.contexts.values() for e in context)


ENTRY = 300
"""What an entry takes besides its text."""


class Memory:
    """Holds the latest conversations, up to so many `characters` of them."""

    def __init__(self, characters: int = 8_000_000) -> None:
        self._room = characters
        self._kept: dict[UUID, tuple[Remembered, int]] = {}

    def keep(self, conversation_id: UUID, remembered: Remembered) -> None:
        self.forget(conversation_id)
        weight = remembered.weight
        self._kept[conversation_id] = remembered, weight
        self._room -= weight
        while self._room < 0:
            self.forget(next(iter(self._kept)))

    def recall(self, conversation_id: UUID, version: int) -> Remembered | None:
        """Hand over what was kept: whoever takes it may change it, so it is kept no longer."""
        remembered = self.forget(conversation_id)
        return remembered if remembered and remembered.version == version else None

    def forget(self, conversation_id: UUID) -> Remembered | None:
        remembered, weight = self._kept.pop(conversation_id, (None, 0))
        self._room += weight
        return remembered
