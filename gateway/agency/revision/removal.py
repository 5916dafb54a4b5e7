"""Conversations and interactions are deleted here and interactions excluded, with the turns that
rest on them: open ones are cancelled in the rows, and no retry or history finds the others again.

What is deleted, or may not be read by the caller, is not there: NotFound. What may be read and not
changed is Forbidden. `rooms.rights` says who may do what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from uuid import UUID

from gateway import ids
from gateway.agency.ledger.observer import Observer
from gateway.agency.ledger.rows import encoded
from gateway.agency.model import Json
from gateway.agency.revision import sql_removal as sql
from gateway.auth import Principal
from gateway.conversation.absence import absent
from gateway.conversation.raising import announce
from gateway.conversation.rooms.rights import (
    Right,
    Standing,
    demand,
    demand_lead,
    may,
    may_read,
    standing_of,
)
from gateway.conversation.turn_states import TurnState
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.streams.announcer import Announcer


class Removal:
    """Deletes and excludes. The caller stops the turns that a method returns: other processes may
    run them."""

    def __init__(self, database: Database, announcer: Announcer, observer: Observer) -> None:
        self._database = database
        self._announcer = announcer
        self._observer = observer

    async def delete(
        self, wanted: Sequence[UUID], principal: Principal, why: Mapping[str, Json]
    ) -> list[TurnId]:
        """Delete conversations, all or none. Returns the turns that were cancelled, with `why`."""
        async with self._database.joined():
            locked = await self._database.fetch(sql.LOCK, wanted, principal.user)
            found = _readable(locked, principal)
            _demand(ids.CONVERSATION, wanted, found)
            for standing in found.values():
                demand(standing, Right.DELETE_CONVERSATION)
            rows = await self._database.fetch(sql.DELETE, wanted, encoded(why))
            return self._changed(rows, why)

    async def restore(self, conversation_id: UUID, principal: Principal) -> None:
        """Bring a conversation back, for who may delete it. Does nothing to one that is there."""
        async with self._database.joined():
            row = await self._database.fetchrow(sql.LOCK_ANY, conversation_id, principal.user)
            if row is None or not may_read(standing := standing_of(row, principal)):
                raise absent(ids.CONVERSATION, [conversation_id])
            if not may(standing, Right.DELETE_CONVERSATION):
                if row["gone"]:  # to whom may not bring it back it is as gone as before
                    raise absent(ids.CONVERSATION, [conversation_id])
                demand(standing, Right.DELETE_CONVERSATION)
            if row["gone"]:
                restored = await self._database.fetchrow(sql.RESTORE, conversation_id)
                if restored is not None:
                    self._announce(restored)

    async def delete_interactions(
        self, wanted: Sequence[UUID], principal: Principal, why: Mapping[str, Json]
    ) -> list[TurnId]:
        """Delete interactions, all or none. Returns the turns that were cancelled, with `why`."""
        async with self._database.joined():
            locked = await self._lock_around(wanted, principal)
            return await self.delete_locked(wanted, locked, principal.user, why)

    async def delete_locked(
        self,
        wanted: Sequence[UUID],
        conversations: Sequence[UUID],
        by: str,
        why: Mapping[str, Json],
    ) -> list[TurnId]:
        """The same in conversations that the caller has locked, for a user who may."""
        rows = await self._database.fetch(
            sql.DELETE_INTERACTIONS, wanted, encoded(why), conversations, by
        )
        _demand(ids.INTERACTION, wanted, (one for row in rows for one in row["gone"]))
        return self._changed(rows, why)

    async def exclude(self, interaction_id: UUID, principal: Principal, *, excluded: bool) -> None:
        """Keep an interaction from the agents, or show it again. Does nothing if it is so."""
        async with self._database.joined():
            locked = await self._lock_around([interaction_id], principal)
            row = await self._database.fetchrow(sql.EXCLUDE, interaction_id, excluded, locked)
            if row is None:
                raise absent(ids.INTERACTION, [interaction_id])
            if row["version"] is not None:
                self._announce(row)

    async def _lock_around(self, interactions: Sequence[UUID], principal: Principal) -> list[UUID]:
        """The conversations that they are in, which the caller leads."""
        rows = await self._database.fetch(sql.LOCK_AROUND, interactions, principal.user)
        found = _readable(rows, principal)
        for standing in found.values():
            demand_lead(standing)
        return list(found)

    def _changed(self, rows: Sequence[Row], why: Mapping[str, Json]) -> list[TurnId]:
        for row in rows:
            self._announce(row)
        cancelled = [TurnId(turn_id) for row in rows for turn_id in row["cancelled"]]
        for turn_id in cancelled:
            told = partial(self._observer.turn_ended, turn_id, TurnState.CANCELLED, why)
            self._database.after_commit(told)
        return cancelled

    def _announce(self, row: Row) -> None:
        announce(self._database, self._announcer, row["id"], row["version"])


def _readable(rows: Sequence[Row], principal: Principal) -> dict[UUID, Standing]:
    found = {row["id"]: standing_of(row, principal) for row in rows}
    return {one: standing for one, standing in found.items() if may_read(standing)}


def _demand(prefix: str, wanted: Sequence[UUID], found: Iterable[UUID]) -> None:
    """Raises NotFound, which names all that are missing."""
    there = set(found)
    if missing := dict.fromkeys(one for one in wanted if one not in there):
        raise absent(prefix, missing)
