"""The inbox: all steps, over all agents, that wait for somebody whom the caller may answer for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

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
        agencies: dict[int, AgencySpec | None] = {}
        for number in {row["agency_id"] for row in rows[:limit]}:
            agencies[number] = await self._catalog.working(number)
        items = [
            _waiting(row, agency)
            for row in rows[:limit]
            if (agency := agencies[row["agency_id"]]) is not None
        ]
        more = (
            moment(rows[limit - 1]["waiting_since"], rows[limit - 1]["id"])
            if len(rows) > limit
            else None
        )
        return Inbox(items, counted["waiting"] if counted else 0, more)


def _waiting(row: Row, agency: AgencySpec) -> Waiting:
    session = session_of(SessionPlace(row["agent_id"], agency), row)
    return Waiting(session, agency, row["title"], row["waiting_since"], row["expires_at"])
