"""What was said: conversations and the agents' contexts, for whoever may read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gateway.agency.records import sql_records as sql
from gateway.agency.teams.catalog import Page
from gateway.agency.teams.team import AgencySpec
from gateway.auth import Principal, Scope
from gateway.errors import InvalidRequest, NotFound
from gateway.postgres.database import Database, Row

LAST = UUID(int=2**128 - 1)
"""An id after every other."""


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """`parent_id`: the conversation that this one was forked from."""

    id: UUID
    title: str | None
    version: int
    parent_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """One entry of one agent's context; `from_id` and `to_id` are None for the API."""

    id: UUID
    agent_id: int
    role: str
    linked_message_id: UUID | None
    from_id: int | None
    to_id: int | None
    text: str
    created_at: datetime


class Records:
    """Lists page by the place of the last row, so a page neither repeats nor loses a row."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def conversations(
        self, agency: AgencySpec, principal: Principal, *, limit: int, cursor: str | None = None
    ) -> Page[ConversationRecord]:
        """The caller's conversations with an agency, newest first."""
        before = LAST if cursor is None else _conversation_before(cursor)
        rows = await self._database.fetch(
            sql.CONVERSATIONS, principal.user, f"agency/{agency.id}", before, limit + 1
        )
        found = tuple(_conversation(row) for row in rows[:limit])
        return Page(found, found[-1].id.hex if len(rows) > limit else None)

    async def messages(
        self,
        agency: AgencySpec,
        conversation_id: UUID,
        principal: Principal,
        *,
        agent_id: int | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Page[MessageRecord]:
        """The contexts of an agency's agents in one conversation, or of one of them, oldest first.

        Without a right to the agency's inside: what was said to the end user and by them.
        """
        inside = agency.owner == principal.user or principal.may(Scope.ADMIN)
        rows = await self._database.fetch(
            sql.MESSAGES,
            conversation_id,
            int(agency.id),
            principal.user,
            inside,
            agent_id,
            *place_of(cursor, 2),
            limit + 1,
        )
        if not rows:
            raise no_conversation()
        found = [row for row in rows if row["id"] is not None]
        return Page(
            tuple(_message(row) for row in found[:limit]),
            "{version}.{ordinal}".format(**found[limit - 1]) if len(found) > limit else None,
        )


def no_conversation() -> NotFound:
    return NotFound("There is no such conversation.", code="conversation_not_found")


def _conversation_before(cursor: str) -> UUID:
    try:
        return UUID(hex=cursor)
    except ValueError:
        raise _no_cursor() from None


def place_of(cursor: str | None, length: int) -> list[int]:
    """The numbers of a cursor; zeros, which are before everything, if there is none."""
    if cursor is None:
        return [0] * length
    numbers = cursor.split(".")
    if len(numbers) != length or not all(map(_is_number, numbers)):
        raise _no_cursor()
    return [int(number) for number in numbers]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _no_cursor() -> InvalidRequest:
    return InvalidRequest("This cursor is none of ours.", param="cursor")


def _conversation(row: Row) -> ConversationRecord:
    return ConversationRecord(
        row["id"],
        row["title"],
        row["version"],
        row["parent_id"],
        row["created_at"],
        row["updated_at"],
    )


def _message(row: Row) -> MessageRecord:
    return MessageRecord(
        id=row["id"],
        agent_id=row["agent_id"],
        role=row["role"],
        linked_message_id=row["linked_message_id"],
        from_id=row["from_id"],
        to_id=row["to_id"],
        text=row["text"],
        created_at=row["created_at"],
    )
