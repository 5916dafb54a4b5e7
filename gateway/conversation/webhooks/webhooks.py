"""The webhooks of a user: made, listed, removed, and what was sent to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from gateway import ids
from gateway.auth import Principal
from gateway.conversation.absence import absent
from gateway.conversation.rooms.participants import Participants
from gateway.conversation.webhooks import signing
from gateway.conversation.webhooks import sql_webhooks as sql
from gateway.errors import Conflict, InvalidRequest
from gateway.network.addresses import origin
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import LAST, Page, id_in, page

MOST = 50
"""Webhooks of one user."""
URL_LENGTH = 2000


class Event(StrEnum):
    TURN_COMPLETED = "turn.completed"
    TURN_FAILED = "turn.failed"
    TURN_WAITING = "turn.waiting"
    MESSAGE_CREATED = "message.created"
    PARTICIPANT_INVITED = "participant.invited"


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook. Without a conversation or an agency it is told of all that its user may read."""

    id: UUID
    url: str
    events: tuple[Event, ...]
    conversation_id: UUID | None
    agency_id: int | None
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery, and what came of the last attempt."""

    id: UUID
    event: Event
    attempts: int
    created_at: datetime
    due_at: datetime | None
    delivered_at: datetime | None
    failed_at: datetime | None
    answered_at: datetime | None
    status: int | None
    answer: str | None
    error: str | None


class Webhooks:
    def __init__(self, database: Database, participants: Participants) -> None:
        self._database = database
        self._participants = participants

    async def create(
        self,
        principal: Principal,
        url: str,
        events: Sequence[Event],
        conversation_id: UUID | None,
        agency_id: int | None,
    ) -> tuple[Hook, str]:
        """Returns the webhook and its secret. That the caller may use the agency was checked.
        Raises InvalidRequest, Conflict, and NotFound for a conversation that may not be read."""
        _check(url)
        if not events:
            raise InvalidRequest("A webhook needs an event to be told of.", param="events")
        if conversation_id is not None:
            await self._participants.standing(conversation_id, principal)
        secret = signing.new_secret()
        row = await self._database.fetchrow(
            sql.CREATE,
            ids.new(),
            principal.user,
            principal.key_id,
            url,
            list(dict.fromkeys(events)),
            conversation_id,
            agency_id,
            secret,
            MOST,
        )
        if row is None:
            raise Conflict(f"A user has at most {MOST} webhooks.", code="full")
        return _hook(row), signing.shown(secret)

    async def page(self, user: str, limit: int, cursor: str | None) -> Page[Hook]:
        """Newest first."""
        last = id_in(cursor, ids.WEBHOOK) or LAST
        rows = await self._database.fetch(sql.PAGE, user, last, limit + 1)
        return page(rows, limit, _hook, lambda row: ids.show(ids.WEBHOOK, row["id"]))

    async def delete(self, webhook_id: UUID, user: str) -> None:
        """Remove a webhook, and all that was sent to it. Raises NotFound."""
        if await self._database.fetchrow(sql.DELETE, webhook_id, user) is None:
            raise absent(ids.WEBHOOK, [webhook_id])

    async def deliveries(
        self, webhook_id: UUID, user: str, limit: int, cursor: str | None
    ) -> Page[Sent]:
        """Newest first. Raises NotFound."""
        await self._find(webhook_id, user)
        last = id_in(cursor, ids.DELIVERY) or LAST
        rows = await self._database.fetch(sql.DELIVERIES, webhook_id, last, limit + 1)
        return page(rows, limit, _sent, lambda row: ids.show(ids.DELIVERY, row["id"]))

    async def redeliver(self, webhook_id: UUID, user: str, delivery_id: UUID) -> Sent:
        """Send it again, as if for the first time. Raises NotFound."""
        await self._find(webhook_id, user)
        row = await self._database.fetchrow(sql.AGAIN, webhook_id, delivery_id)
        if row is None:
            raise absent(ids.DELIVERY, [delivery_id])
        return _sent(row)

    async def _find(self, webhook_id: UUID, user: str) -> None:
        if await self._database.fetchrow(sql.FIND, webhook_id, user) is None:
            raise absent(ids.WEBHOOK, [webhook_id])


def _check(url: str) -> None:
    """Where it leads to is checked when it is connected to. Raises InvalidRequest."""
    try:
        origin(url)
        if len(url) > URL_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("no URL")
    except ValueError:
        raise InvalidRequest(
            "A webhook's URL looks like https://example.com/hook: http or https, a host, and no"
            " user name.",
            param="url",
        ) from None


def _hook(row: Row) -> Hook:
    return Hook(
        row["id"],
        row["url"],
        tuple(map(Event, row["events"])),
        row["conversation_id"],
        row["agency_id"],
        row["created_at"],
        row["disabled_at"],
    )


def _sent(row: Row) -> Sent:
    return Sent(
        row["id"],
        Event(row["event"]),
        row["attempts"],
        row["created_at"],
        row["due_at"],
        row["delivered_at"],
        row["failed_at"],
        row["answered_at"],
        row["status"],
        row["answer"],
        row["error"],
    )
