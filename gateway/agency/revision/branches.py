"""Branches of a conversation: copies up to some place, in which talk goes on in another way.

Whoever may read a conversation may branch it. The branch is theirs; its bots come along, other
people do not. Agents of a branch know that branch alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gateway import ids
from gateway.agency.intake.responder import check
from gateway.agency.revision import sql_branches as sql
from gateway.agency.teams.catalog import Catalog
from gateway.auth import Principal
from gateway.conversation.absence import absent
from gateway.conversation.raising import announce
from gateway.conversation.rooms.participants import Participants
from gateway.conversation.rooms.presence import OFFLINE_S
from gateway.conversation.rooms.rights import reads_everything
from gateway.errors import Conflict, InvalidRequest
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.streams.announcer import Announcer


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch as the tree shows it. It left its parent at `at_interaction_id`; `excerpt` is how it
    went on. `door` is where it was made: `api` or `chat`, None for the root."""

    id: UUID
    root_id: UUID
    parent_id: UUID | None
    title: str | None
    created_at: datetime
    at_interaction_id: UUID | None
    door: str | None
    turns: int
    excerpt: str | None


@dataclass(frozen=True, slots=True)
class Leaving:
    """Where a branch leaves its conversation."""

    conversation_id: UUID
    at: UUID
    row: Row

    @property
    def is_persons(self) -> bool:
        return bool(self.row["owner_type"] == "user")

    def files_of(self, user: str) -> tuple[UUID, ...]:
        """The files of the message, for who said it: nobody else may name them."""
        own = (self.row["owner_type"], self.row["owner_identifier"]) == ("user", user)
        return tuple(self.row["file_ids"] or ()) if own else ()


class Branches:
    def __init__(self, database: Database, announcer: Announcer, catalog: Catalog) -> None:
        self._database = database
        self._announcer = announcer
        self._catalog = catalog
        self._participants = Participants(database, announcer)

    async def leaving(self, conversation_id: UUID, at: UUID, principal: Principal) -> Leaving:
        """Raises NotFound, and Conflict for a reply that is still being given."""
        await self._participants.standing(conversation_id, principal)
        row = await self._database.fetchrow(sql.PLACE, conversation_id, at)
        if row is None:
            raise absent(ids.INTERACTION, [at])
        if not row["complete"]:
            raise Conflict("The reply is still being given.", code="not_complete")
        return Leaving(conversation_id, at, row)

    async def after(self, leaving: Leaving, principal: Principal) -> UUID:
        """A branch that ends after the message. Its id."""
        return await self._branch(leaving, leaving.row["ordinal"], principal)

    async def before(self, leaving: Leaving, principal: Principal) -> UUID:
        """A branch that ends before the message, which a person said and says anew. Raises
        InvalidRequest."""
        if not leaving.is_persons:
            raise InvalidRequest("With `content`, `at` is what a person said.", param="at")
        return await self._branch(leaving, leaving.row["ordinal"] - 1, principal)

    async def again(self, leaving: Leaving, principal: Principal) -> UUID:
        """A branch in which the reply is asked again. The caller starts its turn. Raises NotFound
        for a bot that may not be used, InvalidRequest for what is no reply."""
        row = leaving.row
        if row["turn_id"] is None or row["input_deleted"]:
            raise InvalidRequest("With `regenerate`, `at` is a reply to a message.", param="at")
        await check(row["responder"], self._catalog, principal)
        async with self._database.joined():
            copy = await self._branch(leaving, row["ordinal"] - 1, principal)
            asked = await self._database.fetchrow(
                sql.ASK_AGAIN,
                copy,
                ids.new(),
                TurnId(ids.new()),
                row["turn_id"],
                principal.user,
                principal.key_id,
                secrets.token_bytes(32),
                row["owner_type"],
                row["owner_identifier"],
                row["model_id"],
                row["provider_id"],
            )
            if asked is None:
                raise LookupError("a branch that was just made is not there")
            announce(self._database, self._announcer, copy, asked["version"])
            return copy

    async def tree(self, conversation_id: UUID, principal: Principal) -> Sequence[Branch]:
        """Returns all branches of the same root that the caller may read, oldest first. Raises
        NotFound."""
        await self._participants.standing(conversation_id, principal)
        everything = reads_everything(principal)
        rows = await self._database.fetch(sql.BRANCHES, conversation_id, principal.user, everything)
        return [Branch(**dict(row)) for row in rows]

    async def _branch(self, leaving: Leaving, last: int, principal: Principal) -> UUID:
        copy = ids.new()
        row = await self._database.fetchrow(
            sql.BRANCH,
            leaving.conversation_id,
            copy,
            last,
            leaving.at,
            principal.user,
            OFFLINE_S,
        )
        if row is None:
            raise absent(ids.CONVERSATION, [leaving.conversation_id])
        return copy
