"""Who is in a conversation and what they do at the moment. A bot is a kind and an identifier."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import msgspec

from gateway import ids
from gateway.auth import USER, Principal
from gateway.conversation.absence import absent
from gateway.conversation.raising import LOCK, announce
from gateway.conversation.rooms import sql_participants as sql
from gateway.conversation.rooms.presence import OFFLINE_S
from gateway.conversation.rooms.rights import (
    Actor,
    Right,
    Standing,
    may_read,
    standing,
    standing_of,
)
from gateway.errors import Forbidden, InvalidRequest, NotFound
from gateway.names import is_line
from gateway.postgres.database import Database
from gateway.streams.announcer import Announcer
from gateway.streams.events import Participant

LASTS_S = 60.0
"""What somebody says to be doing must be said again within this time, or it is over."""
WRITES_S = 10.0
"""The same for `writing`."""

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_NUMBERED = re.compile(r"(agency|agent)/.*")
_participant = msgspec.json.Decoder(Participant)


class ParticipantKind(StrEnum):
    USER = "user"
    AGENT = "agent"
    AGENCY = "agency"
    MODEL = "model"


class Status(StrEnum):
    IDLE = "idle"
    THINKING = "thinking"
    SEARCHING = "searching"
    WAITING = "waiting"
    WRITING = "writing"
    OFFLINE = "offline"


def lasts(status: Status) -> float | None:
    """Returns for how many seconds a status stands, or None if until something else is said."""
    match status:
        case Status.IDLE | Status.OFFLINE:
            return None
        case Status.WRITING:
            return WRITES_S
        case _:
            return LASTS_S


@dataclass(frozen=True, slots=True)
class Member:
    """Someone who is to be in a conversation. A user is invited, a bot joins at once."""

    kind: ParticipantKind
    identifier: str
    rights: tuple[Right, ...] = ()

    @property
    def name(self) -> tuple[ParticipantKind, str]:
        return self.kind, self.identifier


def checked(members: Sequence[Member]) -> Sequence[Member]:
    """Raises InvalidRequest if one can't be, or is named twice."""
    for member in members:
        if not _is_identifier(member):
            raise _refused(f"{member.identifier[:64]!r} is no identifier of {_a(member.kind)}.")
        if member.rights and member.kind is not ParticipantKind.USER:
            raise _refused(f"Only users hold rights, not {_a(member.kind)}.")
    if len({member.name for member in members}) < len(members):
        raise _refused("A participant is named twice.")
    return members


def _is_identifier(member: Member) -> bool:
    match member.kind:
        case ParticipantKind.USER:
            return USER.fullmatch(member.identifier) is not None
        case ParticipantKind.AGENT | ParticipantKind.AGENCY:
            return _NUMBER.fullmatch(member.identifier) is not None
        case ParticipantKind.MODEL:
            return is_line(member.identifier) and not _NUMBERED.match(member.identifier)


def _a(kind: ParticipantKind) -> str:
    return f"an {kind}" if kind in (ParticipantKind.AGENT, ParticipantKind.AGENCY) else f"a {kind}"


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(why, param="participants")


class Participants:
    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer

    async def standing(self, conversation_id: UUID, principal: Principal) -> Standing:
        """Raises NotFound for who may not read it."""
        row = await self._database.fetchrow(sql.STANDING, conversation_id, principal.user)
        return standing(row, conversation_id, principal)

    async def owner(self, conversation_id: UUID) -> str:
        """Returns who owns a conversation, which is locked."""
        row = await self._database.fetchrow(sql.OWNER, conversation_id)
        if row is None:
            raise LookupError("a conversation that is locked is not there")
        return str(row["owner_identifier"])

    async def bots(self, conversation_id: UUID) -> Sequence[Member]:
        """Returns those who may answer, in order. The conversation is locked: one of another door
        gets its rows now."""
        await self.enrol(conversation_id)
        rows = await self._database.fetch(sql.BOTS, conversation_id)
        return [Member(ParticipantKind(row["kind"]), row["identifier"]) for row in rows]

    async def actor(
        self, conversation_id: UUID, found: Standing, principal: Principal, place: Member | None
    ) -> Actor:
        """Returns who acts: the caller, or the bot in whose `place` the owner of its agency does.
        The conversation is locked. Raises NotFound, Forbidden, InvalidRequest."""
        if place is None:
            if not may_read(found):
                raise absent(ids.CONVERSATION, [conversation_id])
            return Actor(ParticipantKind.USER, principal.user, found)
        if place.kind not in (ParticipantKind.AGENT, ParticipantKind.AGENCY):
            raise InvalidRequest("Only an agent or an agency has somebody act for it.", param="as")
        await self.enrol(conversation_id)
        row = await self._database.fetchrow(sql.OWNED, conversation_id, *place.name, principal.user)
        if row is not None and (row["owned"] or found.acts):
            return Actor(*place.name, Standing(joined=True, rights=frozenset([Right.ADD_MESSAGE])))
        if not may_read(found):
            raise absent(ids.CONVERSATION, [conversation_id])
        if row is None:
            raise NotFound(
                f"{place.kind} {place.identifier} is not in this conversation.",
                param="as",
                code="participant_not_found",
            )
        raise Forbidden("Only the owner of its agency may act for it.", code="right_missing")

    async def set_status(
        self,
        conversation_id: UUID,
        principal: Principal,
        status: Status,
        place: Member | None = None,
    ) -> Participant:
        """Set what the caller does at the moment, or the bot in whose `place` the caller is. Raises
        NotFound, Forbidden."""
        async with self._database.transaction():
            if await self._database.fetchrow(LOCK, conversation_id) is None:
                raise absent(ids.CONVERSATION, [conversation_id])
            row = await self._database.fetchrow(sql.STANDING, conversation_id, principal.user)
            found = Standing() if row is None else standing_of(row, principal)
            actor = await self.actor(conversation_id, found, principal, place)
            await self.enrol(conversation_id)
            row = await self._database.fetchrow(
                sql.SET_STATUS, conversation_id, *actor.name, status, lasts(status), OFFLINE_S
            )
            if row is None:
                raise absent(ids.CONVERSATION, [conversation_id])
            self._announce(conversation_id, row["version"])
            return _participant.decode(row["body"])

    async def enrol(self, conversation_id: UUID) -> None:
        """Give a conversation of another door rows for its participants. It is locked."""
        row = await self._database.fetchrow(sql.ENROL, conversation_id)
        self._announce(conversation_id, row["version"] if row else None)

    def _announce(self, conversation_id: UUID, version: int | None) -> None:
        if version is not None:
            announce(self._database, self._announcer, conversation_id, version)
