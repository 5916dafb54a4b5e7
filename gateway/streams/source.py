"""Where a feed reads what its brokers only hint at. The rooms above hand this in, so that nothing
here knows a table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from gateway.streams.events import Change, WholeConversation


@dataclass(frozen=True, slots=True)
class Changed:
    """One thing that a version changed. `talk_of` is the responder whose agents said it among
    themselves; None is for every reader. Who may not hear those is told `instead`, or nothing."""

    version: int
    event: Change
    talk_of: str | None = None
    instead: Change | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed after a version, oldest first, up to `version`. `behind` is true if it was too
    much to be told one by one; `speaking` are the interactions whose text is not complete."""

    version: int
    items: Sequence[Changed] = ()
    speaking: frozenset[UUID] = frozenset()
    behind: bool = False
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """What a reader of a conversation may see of it: the talk of `hears`, or of all agents; and
    what the reader may do in it."""

    hears_all: bool = False
    hears: frozenset[str] = field(default_factory=frozenset)
    rights: frozenset[str] = field(default_factory=frozenset)

    def seen(self, changed: Changed) -> Change | None:
        """Returns as much of the change as the reader may see, or None."""
        heard = changed.talk_of is None or self.hears_all or changed.talk_of in self.hears
        return changed.event if heard else changed.instead


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads which conversation, with which key."""

    conversation_id: UUID
    key_id: str


ReadChanges: TypeAlias = Callable[[UUID, int], Awaitable[Changes | None]]
"""What changed in a conversation after a version. None if there is no such conversation."""
ReadWhole: TypeAlias = Callable[[UUID, int | None], Awaitable[WholeConversation | None]]
"""A conversation with its newest so many interactions, or with all of them. None if it is not
there any more."""
ReadOne: TypeAlias = Callable[[UUID, UUID], Awaitable[WholeConversation | None]]
"""A conversation with one of its interactions and no other. None if either is not there."""
ReadVersions: TypeAlias = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, int]]]
ReadAccess: TypeAlias = Callable[[Sequence[Reader]], Awaitable[Mapping[Reader, Access]]]
"""What readers may see. Who is missing in the answer may see nothing."""

NoteReaders: TypeAlias = Callable[[Sequence[Reader]], Awaitable[None]]
"""Takes note of who follows which conversation."""


@dataclass(frozen=True, slots=True)
class Source:
    changes: ReadChanges
    whole: ReadWhole
    one: ReadOne
    versions: ReadVersions
    access: ReadAccess
    seen: NoteReaders
