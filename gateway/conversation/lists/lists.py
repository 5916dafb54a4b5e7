"""What a user may read, page by page: all of it, or what is looked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from gateway.auth import Principal
from gateway.conversation.lists import sql_lists as sql
from gateway.conversation.rooms.participants import ParticipantKind
from gateway.conversation.rooms.rights import reads_everything
from gateway.conversation.turn_states import TurnState
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import END, Page, moment, moment_in, page
from gateway.streams.events import Conversation, Owner, Participant


class Whose(StrEnum):
    MINE = "mine"
    SHARED = "shared"
    ALL = "all"


class Order(StrEnum):
    CREATED = "created"
    UPDATED = "updated"


class Place(StrEnum):
    """Where words are looked for."""

    TITLE = "title"
    TEXT = "text"


class Activity(StrEnum):
    """What goes on in a conversation, or went wrong in it."""

    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"


_STATES = {
    Activity.RUNNING: (TurnState.QUEUED, TurnState.RUNNING),
    Activity.WAITING: (TurnState.WAITING,),
    Activity.FAILED: (TurnState.FAILED,),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which conversations are listed. `words` are looked for in titles, in what was said, or in
    both. Without `whose` those that the caller owns or has joined."""

    words: str | None = None
    in_titles: bool = True
    in_text: bool = True
    whose: Whose | None = None
    order: Order = Order.CREATED
    agency_id: int | None = None
    participant: tuple[ParticipantKind, str] | None = None
    activities: frozenset[Activity] = frozenset()


class LastMessage(msgspec.Struct, frozen=True):
    """`excerpt` is how it begins."""

    id: str
    owner: Owner
    excerpt: str
    created_at: datetime


class Match(msgspec.Struct, frozen=True):
    """The newest message with the words that were looked for, and where they stand in it."""

    message_id: str
    excerpt: str
    created_at: datetime


class ConversationEntry(Conversation, frozen=True, kw_only=True):
    """A conversation in a list. `participants` are the first six, `messages`, `running`, `waiting`
    and `failed` count its messages and its turns, `branches` those of its root. `match` is null if
    nothing was looked for, or only its title has it."""

    root_id: str
    participants: list[Participant]
    last_message: LastMessage | None
    messages: int
    running: int
    waiting: int
    failed: int
    branches: int
    match: Match | None


_entry = msgspec.json.Decoder(ConversationEntry)


class Listings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, principal: Principal, wanted: Wanted, limit: int, cursor: str | None
    ) -> Page[ConversationEntry]:
        """Newest first. Raises InvalidRequest for a cursor that is none."""
        words = wanted.words if wanted.words and wanted.words.strip() else None
        statement = sql.listed(wanted.whose or "own", wanted.order, searched=words is not None)
        states = sorted(state for one in wanted.activities for state in _STATES[one])
        rows = await self._database.fetch(
            statement,
            principal.user,
            reads_everything(principal),
            words,
            wanted.in_titles,
            wanted.in_text,
            wanted.agency_id,
            *(wanted.participant or (None, None)),
            states or None,
            *moment_in(cursor, END),
            limit + 1,
            _letters(words),
        )
        return page(rows, limit, lambda row: _entry.decode(row["body"]), _cursor)

    async def some(self, user: str, wanted: Sequence[UUID]) -> dict[UUID, ConversationEntry]:
        """Those of these that are in the user's own list, the latest last."""
        rows = await self._database.fetch(sql.SOME, user, wanted)
        return {row["id"]: _entry.decode(row["body"]) for row in rows}


def _letters(words: str | None) -> list[str]:
    """Returns what stands in whatever has these words; nothing if some are enough (`or`)."""
    wanted = re.sub(r"(?:^|(?<=\s))-(?:\"[^\"]*\"?|\S*)", " ", words or "")
    found = re.findall(r"\w+", wanted)
    return [] if "or" in map(str.lower, found) else found


def _cursor(row: Row) -> str:
    return moment(row["at"], row["id"])
