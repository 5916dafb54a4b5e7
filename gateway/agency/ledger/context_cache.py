"""The contexts of conversations that this process was in last, so that one that goes on need not
be read again: a turn then costs the database the same, however long its conversation.

What is kept is good for one version of its conversation. The statement that accepts the next turn
works only at the version that was looked up, so a copy that something has overtaken is never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from cachetools import LRUCache

from gateway.agency.speech.prompt import Entry


@dataclass(frozen=True, slots=True)
class Remembered:
    """Contexts by agent, as of `version`. If they are `all`, an agent without one has said and
    heard nothing; else its context must be read."""

    version: int
    contexts: Mapping[int, list[Entry]]
    all: bool


ENTRY = 300
"""What an entry takes besides its text."""


class ContextCache:
    """Holds the latest conversations, up to so many `characters` of them."""

    def __init__(self, characters: int = 8_000_000) -> None:
        self.kept: LRUCache[UUID, Remembered] = LRUCache(characters, _weight)

    def keep(self, conversation_id: UUID, remembered: Remembered) -> None:
        self.kept.pop(conversation_id, None)
        with suppress(ValueError):  # it is too large
            self.kept[conversation_id] = remembered

    def recall(self, conversation_id: UUID, version: int) -> Remembered | None:
        """Hand over what was kept: whoever takes it may change it, so it is kept no longer."""
        remembered = self.kept.pop(conversation_id, None)
        return remembered if remembered and remembered.version == version else None


def _weight(remembered: Remembered) -> int:
    """About what it takes to keep it, in characters."""
    return sum(ENTRY + len(e.text) for context in remembered.contexts.values() for e in context)
