"""What was said: conversations and the agents' contexts, for whoever may read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gateway.agency.records import sql_records as sql
from gateway.agency.teams.team import AgencySpec
from gateway.auth import Principal, Scope
from gateway.conversation.rooms.rights import reads_everything
from gateway.errors import NotFound
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import LAST, Page, id_in, numbers_in, page


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
        before = id_in(cursor) or LAST
        rows = await self._database.fetch(
            sql.CONVERSATIONS, principal.user, f"agency/{agency.id}", before, limit + 1
        )
        return page(rows, limit, _conversation)

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
            *numbers_in(cursor, 2),
            limit + 1,
            reads_everything(principal),
        )
        if not rows:
            raise no_conversation()
        found = [row for row in rows if row["id"] is not None]
        return page(found, limit, _message, lambda row: "{version}.{ordinal}".format(**row))


def no_conversation() -> NotFound:
    return NotFound("There is no such conversation.", code="conversation_not_found")


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
