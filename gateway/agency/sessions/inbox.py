"""The inbox: all steps, over all agents, that wait for somebody whom the caller may answer for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gateway.agency.sessions import sql
from gateway.agency.sessions.sessions import SessionPlace, session_of
from gateway.agency.sessions.state import Session
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import AgencySpec
from gateway.auth import Principal
from gateway.conversation.rooms.rights import reads_everything
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import BEGINNING, moment, moment_in


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session that waits for an answer, since when and until when, None if it waits for ever.
    `title` is that of the conversation that it answers."""

    session: Session
    agency: AgencySpec
    title: str | None
    waiting_since: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Inbox:
    """A page of what waits, the longest first. `count` is of all that waits."""

    items: Sequence[Waiting]
    count: int
    next_cursor: str | None


class Inboxes:
    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog

    async def page(self, principal: Principal, limit: int, cursor: str | None) -> Inbox:
        """Raises InvalidRequest for a cursor that is none."""
        whose = principal.user, reads_everything(principal)
        rows = await self._database.fetch(
            sql.INBOX, *whose, *moment_in(cursor, BEGINNING), limit + 1
        )
        counted = await self._database.fetchrow(sql.COUNT, *whose)
        items = await self._items(rows[:limit])
        more = (
            moment(rows[limit - 1]["waiting_since"], rows[limit - 1]["id"])
            if len(rows) > limit
            else None
        )
        return Inbox(items, counted["waiting"] if counted else 0, more)

    async def newest(self, principal: Principal) -> tuple[int, UUID | None]:
        """Returns how much waits, and the turn that began to wait last."""
        whose = principal.user, reads_everything(principal)
        row = await self._database.fetchrow(sql.NEWEST, *whose)
        return (0, None) if row is None else (row["waiting"], row["newest"])

    async def one(self, principal: Principal, turn_id: UUID) -> Waiting | None:
        """A turn that waits for the caller. None if it does so no more."""
        whose = principal.user, reads_everything(principal)
        rows = await self._database.fetch(sql.INBOX_ONE, *whose, turn_id)
        return next(iter(await self._items(rows)), None)

    async def _items(self, rows: Sequence[Row]) -> list[Waiting]:
        agencies: dict[int, AgencySpec | None] = {}
        for number in {row["agency_id"] for row in rows}:
            agencies[number] = await self._catalog.working(number)
        return [
            _waiting(row, agency)
            for row in rows
            if (agency := agencies[row["agency_id"]]) is not None
        ]


def _waiting(row: Row, agency: AgencySpec) -> Waiting:
    session = session_of(SessionPlace(row["agent_id"], agency), row)
    return Waiting(session, agency, row["title"], row["waiting_since"], row["expires_at"])
