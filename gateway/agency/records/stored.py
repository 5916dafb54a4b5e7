"""Stored completions: what a caller once asked at the chat door, to read again and to delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from gateway.agency.model import Json, Usage
from gateway.agency.records import sql_stored as sql
from gateway.agency.speech.parts import Parts, called, shown
from gateway.agency.speech.parts import role as role_of_result
from gateway.agency.teams.register import BIGINT
from gateway.agency.turn.request import Ask
from gateway.auth import Principal
from gateway.errors import NotFound
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import FIRST, LAST, Page, page


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    id: UUID
    conversation_id: UUID
    text: str
    finish_reason: str
    usage: Usage
    ask: Ask
    metadata: dict[str, str]
    created_at: datetime
    outdated: bool
    """True once the question was edited."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """`number` is the message's place in its conversation; 0 is the client's system message."""

    number: int
    role: str
    content: str
    parts: Sequence[Mapping[str, Json]] | None
    calls: Sequence[tuple[str, str]] = ()
    """Names and arguments of the tools that were called."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose completions are meant: the caller's, of one responder or of all."""

    principal: Principal
    responder: str | None = None


class Store:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        whose: Whose,
        *,
        limit: int,
        after: UUID | None = None,
        newest_first: bool = False,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[StoredCompletion]:
        """Completions in the order of their making, those of one model or with this metadata."""
        rows = await self._database.fetch(
            sql.NEWEST_FIRST if newest_first else sql.OLDEST_FIRST,
            *_who(whose),
            after or (LAST if newest_first else FIRST),
            limit + 1,
            model,
            _json(metadata) if metadata else None,
        )
        return page(rows, limit, _completion)

    async def one(self, whose: Whose, completion_id: UUID) -> StoredCompletion:
        row = await self._database.fetchrow(sql.ONE, *_who(whose), completion_id)
        return _completion(_found(row))

    async def messages(
        self,
        whose: Whose,
        completion_id: UUID,
        *,
        limit: int,
        after: int | None = None,
        newest_first: bool = False,
    ) -> Page[StoredMessage]:
        """Returns what led to the answer: the system message, the history and the input, in
        order."""
        if after is None:
            after = BIGINT - 1 if newest_first else -1
        rows = await self._database.fetch(
            sql.MESSAGES_NEWEST_FIRST if newest_first else sql.MESSAGES_OLDEST_FIRST,
            *_who(whose),
            completion_id,
            after,
            limit + 1,
        )
        _found(rows[0] if rows else None)
        said = [row for row in rows if row["ordinal"] is not None]
        return page(said, limit, _message, lambda row: str(row["ordinal"]))

    async def update(
        self, whose: Whose, completion_id: UUID, metadata: Mapping[str, str]
    ) -> StoredCompletion:
        """`metadata` replaces what was there."""
        row = await self._database.fetchrow(
            sql.UPDATE, *_who(whose), completion_id, _json(metadata)
        )
        return _completion(_found(row))

    async def delete(self, whose: Whose, completion_id: UUID) -> None:
        """Neither the input nor the answer is shown to anybody again, in forks neither."""
        async with self._database.transaction():
            # What was written by those who held the locks before is seen by a second statement.
            rows = await self._database.fetch(sql.LOCK, *_who(whose), completion_id)
            turns = [row["id"] for row in rows]
            _found(await self._database.fetchrow(sql.DELETE, turns, completion_id))


def _who(whose: Whose) -> tuple[str, str | None]:
    return whose.principal.user, whose.responder


def _found(row: Row | None) -> Row:
    if row is None:
        raise NotFound("There is no such stored completion.", code="completion_not_found")
    return row


def _json(value: Mapping[str, str]) -> str:
    return msgspec.json.encode(value).decode()


def _completion(row: Row) -> StoredCompletion:
    return StoredCompletion(
        id=row["id"],
        conversation_id=row["conversation_id"],
        text=row["content"],
        finish_reason=row["finish_reason"] or "stop",
        usage=Usage(row["prompt_tokens"], row["completion_tokens"]),
        ask=msgspec.json.decode(row["request"], type=Ask),
        metadata={} if row["metadata"] is None else msgspec.json.decode(row["metadata"]),
        created_at=row["created_at"],
        outdated=row["outdated"],
    )


def _message(row: Row) -> StoredMessage:
    parts: Parts = None if row["parts"] is None else msgspec.json.decode(row["parts"])
    role = role_of_result(parts) or row["role"]
    return StoredMessage(row["ordinal"], role, row["content"], shown(parts), called(parts))
