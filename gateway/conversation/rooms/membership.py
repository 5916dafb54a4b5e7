"""Who comes into a conversation and who goes, and what its users may do in it.

Its owner leads it: invites, adds bots, removes, hands out rights and takes them back, and hands the
conversation over. A user joins who was invited, and leaves at will. Who has left is told that there
is no such conversation; what they said stays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from gateway import ids
from gateway.auth import Principal
from gateway.conversation.absence import absent
from gateway.conversation.raising import announce
from gateway.conversation.rooms import sql_membership as sql
from gateway.conversation.rooms.participants import (
    Member,
    ParticipantKind,
    Participants,
    checked,
)
from gateway.conversation.rooms.presence import OFFLINE_S
from gateway.conversation.rooms.rights import (
    Right,
    Standing,
    demand_lead,
    may_read,
    standing_of,
)
from gateway.errors import Conflict, NotFound
from gateway.ids import TurnId
from gateway.postgres.database import Database
from gateway.postgres.pages import LAST, Page, id_in, page
from gateway.streams.announcer import Announcer
from gateway.streams.events import Participant

MOST = 100
"""Participants of a conversation beside its owner, those who are invited included."""

_participant = msgspec.json.Decoder(Participant)


@dataclass(frozen=True, slots=True)
class Invitation:
    """A conversation that a user may join, and who invited them."""

    conversation_id: UUID
    title: str | None
    invited_by: str
    invited_at: datetime


@dataclass(frozen=True, slots=True)
class _Place:
    """A conversation that is locked, its owner, and what the caller is in it."""

    id: UUID
    owner: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class _Found:
    """A participant as JSON, and whether it has joined."""

    body: str
    joined: bool


class Membership:
    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer
        self._participants = Participants(database, announcer)

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """For what must happen with a change, or not at all."""
        return self._database.joined()

    # ---- by who leads ----------------------------------------------------------------------------

    async def invite(
        self, conversation_id: UUID, principal: Principal, member: Member
    ) -> Participant:
        """Invite a user, or add a bot, which joins at once. That the caller may have the bot answer
        was checked. Raises NotFound, Forbidden, InvalidRequest, and Conflict for who is there."""
        checked([member])
        async with self._led(conversation_id, principal) as place:
            if await self._one(place.id, *member.name):
                raise Conflict(
                    f"{member.identifier[:64]!r} is in this conversation, or invited, already.",
                    code="already_there",
                )
            there = await self._database.fetchrow(sql.COUNT, place.id)
            if there is None or there["there"] > MOST:  # the owner is one of them
                raise Conflict(
                    f"A conversation has at most {MOST} participants beside its owner.", code="full"
                )
            joins = member.kind is not ParticipantKind.USER
            await self._write(sql.INVITE, place.id, *member.name, joins, principal.user)
            if member.rights:
                await self._write(sql.GRANT, place.id, member.identifier, list(member.rights))
            return await self._shown(place.id, member)

    async def remove(self, conversation_id: UUID, principal: Principal, member: Member) -> None:
        """Remove somebody, or withdraw an invitation. Raises NotFound, Forbidden, and Conflict for
        the owner."""
        async with self._led(conversation_id, principal) as place:
            await self._go(place, member)

    async def set_drive(
        self, conversation_id: UUID, principal: Principal, bot: Member, drive: str
    ) -> Participant:
        """Say who answers in a bot's place from now on. Raises NotFound, Forbidden."""
        async with self._led(conversation_id, principal) as place:
            await self._shown(place.id, bot)
            await self._write(sql.SET_DRIVE, place.id, *bot.name, drive)
            return await self._shown(place.id, bot)

    async def grant(
        self, conversation_id: UUID, principal: Principal, user: str, right: Right
    ) -> Participant:
        """Give a user a right. Raises NotFound, Forbidden."""
        member = Member(ParticipantKind.USER, user)
        async with self._led(conversation_id, principal) as place:
            await self._shown(place.id, member)
            if user != place.owner:  # who has every right already
                await self._write(sql.GRANT, place.id, user, [right])
            return await self._shown(place.id, member)

    async def revoke(
        self, conversation_id: UUID, principal: Principal, user: str, right: Right
    ) -> Participant:
        """Take a right back. Raises NotFound, Forbidden, and Conflict for the owner's."""
        member = Member(ParticipantKind.USER, user)
        async with self._led(conversation_id, principal) as place:
            await self._shown(place.id, member)
            if user == place.owner:
                raise Conflict("The owner of a conversation has every right.", code="owner_rights")
            await self._write(sql.REVOKE, place.id, user, right)
            return await self._shown(place.id, member)

    async def hand_over(self, conversation_id: UUID, principal: Principal, user: str) -> None:
        """Make somebody who has joined the owner. The owner of before stays, with the right to add
        messages. Raises NotFound, Forbidden, Conflict."""
        async with self._led(conversation_id, principal) as place:
            if user == place.owner:
                return
            row = await self._one(place.id, ParticipantKind.USER, user)
            if row is None or not row.joined:
                raise Conflict(
                    f"{user[:64]!r} has not joined this conversation.", code="not_joined"
                )
            await self._write(sql.HAND_OVER, place.id, place.owner, user)
            await self._write(sql.GRANT, place.id, place.owner, [Right.ADD_MESSAGE])

    # ---- by oneself ------------------------------------------------------------------------------

    async def join(self, conversation_id: UUID, principal: Principal) -> Participant:
        """Follow an invitation. Does nothing if the caller has joined. Raises NotFound."""
        member = Member(ParticipantKind.USER, principal.user)
        async with self._locked(conversation_id, principal) as place:
            row = None if place is None else await self._one(conversation_id, *member.name)
            if row is None:
                raise absent(ids.CONVERSATION, [conversation_id])
            if not row.joined:
                await self._write(sql.JOIN, conversation_id, principal.user, OFFLINE_S)
            return await self._shown(conversation_id, member)

    async def leave(
        self, conversation_id: UUID, principal: Principal, bot: Member | None = None
    ) -> None:
        """Leave, or turn an invitation down; or have a `bot` leave, for the owner of its agency.
        Raises NotFound, Forbidden, and Conflict for the owner of the conversation."""
        member = bot or Member(ParticipantKind.USER, principal.user)
        async with self._locked(conversation_id, principal) as place:
            if place is None:
                raise absent(ids.CONVERSATION, [conversation_id])
            if bot is not None:
                await self._participants.actor(conversation_id, place.standing, principal, bot)
            elif await self._one(conversation_id, *member.name) is None:
                raise absent(ids.CONVERSATION, [conversation_id])
            await self._go(place, member)

    async def invitations(self, user: str, limit: int, cursor: str | None) -> Page[Invitation]:
        """Returns what a user may join, the newest conversation first."""
        last = id_in(cursor, ids.CONVERSATION) or LAST
        rows = await self._database.fetch(sql.INVITATIONS, user, last, limit + 1)
        return page(
            rows,
            limit,
            lambda row: Invitation(*row),
            lambda row: ids.show(ids.CONVERSATION, row["id"]),
        )

    async def turns(self, conversation_id: UUID, responder: str) -> list[TurnId]:
        """Returns the turns of a responder that have not ended."""
        rows = await self._database.fetch(sql.TURNS, conversation_id, responder)
        return [TurnId(row["id"]) for row in rows]

    # ---- within a transaction --------------------------------------------------------------------

    @asynccontextmanager
    async def _locked(
        self, conversation_id: UUID, principal: Principal
    ) -> AsyncIterator[_Place | None]:
        """Keeps others from changing the conversation, which has rows for its participants then.
        None if it is not there."""
        async with self._database.joined():
            row = await self._database.fetchrow(sql.LOCK, conversation_id, principal.user)
            if row is None:
                yield None
                return
            await self._participants.enrol(conversation_id)
            yield _Place(conversation_id, row["owner"], standing_of(row, principal))

    @asynccontextmanager
    async def _led(self, conversation_id: UUID, principal: Principal) -> AsyncIterator[_Place]:
        """The same for who leads it. Raises NotFound, Forbidden."""
        async with self._locked(conversation_id, principal) as place:
            if place is None or not may_read(place.standing):
                raise absent(ids.CONVERSATION, [conversation_id])
            demand_lead(place.standing)
            yield place

    async def _go(self, place: _Place, member: Member) -> None:
        if member.name == (ParticipantKind.USER, place.owner):
            raise Conflict(
                "The owner can't leave: hand the conversation over first.", code="owner_stays"
            )
        await self._shown(place.id, member)
        await self._write(sql.LEAVE, place.id, *member.name)

    async def _one(self, conversation_id: UUID, kind: str, identifier: str) -> _Found | None:
        row = await self._database.fetchrow(sql.ONE, conversation_id, kind, identifier)
        return None if row is None else _Found(row["body"], row["joined"])

    async def _shown(self, conversation_id: UUID, member: Member) -> Participant:
        """Raises NotFound for who is not there."""
        found = await self._one(conversation_id, *member.name)
        if found is None:
            raise NotFound(
                f"{member.identifier[:64]!r} is not in this conversation.",
                code="participant_not_found",
            )
        return _participant.decode(found.body)

    async def _write(self, statement: str, conversation_id: UUID, *parameters: object) -> None:
        row = await self._database.fetchrow(statement, conversation_id, *parameters)
        if row is not None:
            announce(self._database, self._announcer, conversation_id, row["version"])
