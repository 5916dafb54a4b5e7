"""Changes single messages of a conversation: edits, deletes, excludes and restores them.

Who is in a conversation changes their own messages; others' with the right to. The owner of an
agency may do so in the place of its bots. What was deleted can be restored by who deleted it, and
by whoever may delete it with a right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from gateway import ids
from gateway.agency.ledger.rows import encoded
from gateway.agency.model import Json
from gateway.agency.revision import sql_editing as sql
from gateway.agency.revision.removal import Removal
from gateway.agency.speech.parts import edited
from gateway.auth import Principal
from gateway.conversation.absence import absent
from gateway.conversation.raising import announce
from gateway.conversation.rooms.participants import Member, Participants
from gateway.conversation.rooms.rights import (
    Actor,
    Right,
    demand,
    demand_change,
    standing_of,
)
from gateway.errors import Conflict, InvalidRequest, VersionMismatch
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.streams.announcer import Announcer
from gateway.streams.events import Interaction, Owner

_interaction = msgspec.json.Decoder(Interaction)


@dataclass(frozen=True, slots=True)
class Target:
    """A message, and who changes it: the caller, in the `place` of a bot if that is given. `known`
    holds the versions that the caller knows, or is None if any will do."""

    conversation_id: UUID
    message_id: UUID
    principal: Principal
    place: Member | None = None
    known: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Edition:
    """What a message said from `written_at` on, and who wrote that."""

    version: int
    owner: Owner
    content: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class _Found:
    """A message in a conversation that is locked, and who is about to change it."""

    row: Row
    actor: Actor

    @property
    def owner(self) -> tuple[str, str]:
        return self.row["owner_type"], self.row["owner_identifier"]


class Editing:
    def __init__(self, database: Database, announcer: Announcer, removal: Removal) -> None:
        self._database = database
        self._announcer = announcer
        self._participants = Participants(database, announcer)
        self._removal = removal

    async def read(self, target: Target) -> Interaction:
        """Raises NotFound."""
        await self._participants.standing(target.conversation_id, target.principal)
        return _interaction.decode((await self._row(target))["body"])

    async def edit(self, target: Target, content: str) -> Interaction:
        """Replace what a message says. Raises NotFound, Forbidden, VersionMismatch, InvalidRequest,
        and Conflict for a reply that is still being given."""
        async with self._locked(target) as found:
            demand_change(found.actor, found.owner, Right.EDIT_OTHERS_MESSAGES)
            _demand_version(target, found)
            if not found.row["complete"]:
                raise Conflict("The reply is still being given.", code="not_complete")
            present = _interaction.decode(found.row["body"])
            if not (content or present.file_ids):
                raise InvalidRequest("A message needs content or files.", param="content")
            if content != present.content:
                before = found.row["parts"]
                kept = None if before is None else edited(msgspec.json.decode(before), content)
                parts = None if kept is None else encoded(kept)
                await self._write(sql.EDIT, target, content, *found.actor.name, parts)
            return await self._present(target)

    async def delete(self, target: Target, why: Mapping[str, Json]) -> list[TurnId]:
        """Delete a message. Returns the turns that were cancelled, with `why`; the caller stops
        them. Raises NotFound, Forbidden, VersionMismatch."""
        async with self._locked(target) as found:
            demand_change(found.actor, found.owner, Right.DELETE_OTHERS_MESSAGES)
            _demand_version(target, found)
            by = target.principal.user
            return await self._removal.delete_locked(
                [target.message_id], [target.conversation_id], by, why
            )

    async def restore(self, target: Target) -> Interaction:
        """Bring a deleted message back. Does nothing if it is there. Raises NotFound, Forbidden."""
        async with self._locked(target, deleted=True) as found:
            if found.row["deleted"]:
                if found.row["deleted_by"] == target.principal.user:
                    demand_change(found.actor, found.owner, Right.DELETE_OTHERS_MESSAGES)
                else:
                    demand(found.actor.standing, Right.DELETE_OTHERS_MESSAGES)
                await self._write(sql.RESTORE, target)
            return await self._present(target)

    async def exclude(self, target: Target, *, excluded: bool) -> Interaction:
        """Keep a message from the agents, or show it again. Raises NotFound, Forbidden."""
        async with self._locked(target):
            await self._removal.exclude(target.message_id, target.principal, excluded=excluded)
            return await self._present(target)

    async def history(self, target: Target) -> Sequence[Edition]:
        """Returns what a message said, oldest first; the last is what it says now. Raises
        NotFound."""
        await self._participants.standing(target.conversation_id, target.principal)
        await self._row(target)
        rows = await self._database.fetch(sql.HISTORY, target.message_id)
        return [
            Edition(version, Owner(kind, identifier), content, written_at)
            for version, kind, identifier, content, written_at in rows
        ]

    # ---- within a transaction --------------------------------------------------------------------

    @asynccontextmanager
    async def _locked(self, target: Target, *, deleted: bool = False) -> AsyncIterator[_Found]:
        """Keeps others from changing the conversation. Raises NotFound if the message is not there,
        unless it may be `deleted`."""
        async with self._database.joined():
            conversation, user = target.conversation_id, target.principal.user
            row = await self._database.fetchrow(sql.LOCK, conversation, user)
            if row is None:
                raise absent(ids.CONVERSATION, [conversation])
            standing = standing_of(row, target.principal)
            actor = await self._participants.actor(
                conversation, standing, target.principal, target.place
            )
            yield _Found(await self._row(target, deleted=deleted), actor)

    async def _row(self, target: Target, *, deleted: bool = False) -> Row:
        row = await self._database.fetchrow(sql.FOUND, target.conversation_id, target.message_id)
        if row is None or (row["deleted"] and not deleted):
            raise absent(ids.INTERACTION, [target.message_id])
        return row

    async def _present(self, target: Target) -> Interaction:
        return _interaction.decode((await self._row(target))["body"])

    async def _write(self, statement: str, target: Target, *parameters: object) -> None:
        row = await self._database.fetchrow(
            statement, target.conversation_id, target.message_id, *parameters
        )
        if row is None:
            raise LookupError("a conversation that is locked is not there")
        announce(self._database, self._announcer, target.conversation_id, row["version"])


def _demand_version(target: Target, found: _Found) -> None:
    if target.known is not None and found.row["version"] not in target.known:
        raise VersionMismatch(
            "The message has changed since the version that you name.",
            beside={"message": _interaction.decode(found.row["body"])},
        )
