"""Conversations and their interactions: made and read.

What is deleted, or may not be read by the caller, is not there: NotFound. `rooms.rights` says who
may do what.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from gateway import ids
from gateway.auth import Principal
from gateway.conversation import sql_store as sql
from gateway.conversation.absence import absent
from gateway.conversation.rooms.rights import (
    reads_everything,
)
from gateway.postgres.database import Database
from gateway.postgres.pages import FIRST, Page
from gateway.streams.announcer import Announcer

SLICE = 500
"""Rows that are taken in at once, before others have their turn."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Members in the order of the statements' columns. `model_id` is "" if it has none."""

    id: UUID
    owner: str
    provider_id: str
    model_id: str
    title: str | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class Interaction(msgspec.Struct, frozen=True):
    """Members in the order of the statements' columns. `errors` is a JSON text. `provider_id` and
    `model_id` are None where its conversation's hold.

    A Struct: to make ten thousand for a list takes 1 ms, and as frozen dataclasses 22.
    """

    id: UUID
    conversation_id: UUID
    file_ids: Sequence[UUID] | None
    skill_set_ids: Sequence[UUID] | None
    excluded_at: datetime | None
    content: str
    errors: str | None
    owner_type: str
    owner: str
    provider_id: str | None
    model_id: str | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Whole:
    """A conversation with its interactions, oldest first."""

    conversation: Conversation
    interactions: Sequence[Interaction]


class Conversations:
    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer

    # ---- reading ---------------------------------------------------------------------------------

    async def one(self, conversation_id: UUID, principal: Principal) -> Conversation:
        row = await self._database.fetchrow(
            sql.ONE, conversation_id, principal.user, reads_everything(principal)
        )
        if row is None:
            raise absent(ids.CONVERSATION, [conversation_id])
        return Conversation(*row)

    async def whole(self, conversation_id: UUID, principal: Principal) -> Whole:
        conversation = await self.one(conversation_id, principal)
        said = await self._interactions([conversation_id])
        return Whole(conversation, said.get(conversation_id, ()))

    async def page(
        self, owner: str, limit: int | None = None, after: UUID | None = None
    ) -> Page[Whole]:
        """Returns an owner's conversations in the order of their making: all, or at most `limit` of
        which none was made before `after`."""
        more = None if limit is None else limit + 1
        rows = await self._database.fetch(sql.PAGE, after or FIRST, owner, more)
        found = [Conversation(*row) for row in rows[:limit]]
        said = await self._interactions([one.id for one in found]) if found else {}
        items = [Whole(one, said.get(one.id, ())) for one in found]
        last = ids.show(ids.CONVERSATION, found[-1].id) if len(rows) > len(found) else None
        return Page(items, last)

    async def _interactions(self, of: Sequence[UUID]) -> Mapping[UUID, Sequence[Interaction]]:
        rows = await self._database.fetch(sql.INTERACTIONS, of)
        said: dict[UUID, list[Interaction]] = {one: [] for one in of}
        for start in range(0, len(rows), SLICE):
            for row in rows[start : start + SLICE]:
                interaction = Interaction(*row)
                said[interaction.conversation_id].append(interaction)
            await asyncio.sleep(0)
        return said

    async def interactions(self, wanted: Sequence[UUID]) -> Sequence[Interaction]:
        """Returns interactions in the order asked, also those that were deleted meanwhile."""
        rows = await self._database.fetch(sql.THESE, wanted)
        found = {row["id"]: Interaction(*row) for row in rows}
        return [found[one] for one in wanted]

    # ---- changing --------------------------------------------------------------------------------

    async def create(self, owner: str, provider_id: str, model_id: str) -> Conversation:
        row = await self._database.fetchrow(sql.CREATE, ids.new(), owner, provider_id, model_id)
        if row is None:
            raise LookupError("an INSERT … RETURNING returned nothing")
        return Conversation(*row)
