"""Who answers: the team behind a responder's name, and the bots of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import assert_never
from uuid import UUID

from gateway.agency.speech.mentions import Addressable
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import AgencySpec, plain_team
from gateway.agency.turn.request import AGENCY, AGENT, agency_id, agent_id
from gateway.auth import ROOT, Principal, Scope
from gateway.conversation.rooms.participants import Member, ParticipantKind, Participants
from gateway.errors import NotFound


async def team_of(responder: str, catalog: Catalog) -> AgencySpec | None:
    """Returns the team of a turn that was accepted already, or None if it was deleted. Its manager
    is the one who is spoken to."""
    if (number := agency_id(responder)) is not None:
        return await catalog.working(number)
    if (number := agent_id(responder)) is not None:
        return await catalog.entered_by(number)
    return plain_team(responder)


async def check(responder: str, catalog: Catalog, principal: Principal) -> AgencySpec | None:
    """The team behind a responder. Raises NotFound unless the caller may have it answer:
    an agent answers only those who may define it."""
    if (number := agency_id(responder)) is not None:
        return await catalog.read(number, principal)
    if (number := agent_id(responder)) is not None:
        return (await catalog.around(number, principal)).entered_by(number)
    return plain_team(responder)


async def remembered(responder: str, catalog: Catalog, principal: Principal) -> AgencySpec | None:
    """The same for an agency whose copy is believed; None for any other. Whoever relies on it
    checks its revision."""
    number = agency_id(responder)
    if number is None:
        return None
    try:
        return await catalog.recall(number, principal)
    except NotFound:  # it may have been shared since
        return await catalog.read(number, principal)


def responder_of(member: Member) -> str | None:
    """Returns a participant's name as a responder, or None if it does not answer. This is decided
    here alone."""
    match member.kind:
        case ParticipantKind.AGENCY:
            return f"{AGENCY}{member.identifier}"
        case ParticipantKind.AGENT:
            return f"{AGENT}{member.identifier}"
        case ParticipantKind.MODEL:
            return member.identifier
        case ParticipantKind.USER:
            return None
        case kind:
            assert_never(kind)


def member_of(responder: str) -> Member:
    """The reverse."""
    if (number := agency_id(responder)) is not None:
        return Member(ParticipantKind.AGENCY, str(number))
    if (number := agent_id(responder)) is not None:
        return Member(ParticipantKind.AGENT, str(number))
    return Member(ParticipantKind.MODEL, responder)


async def admit(members: Sequence[Member], catalog: Catalog, principal: Principal) -> None:
    """Raises NotFound for a bot that the caller may not have answer."""
    for member in members:
        if (responder := responder_of(member)) is not None:
            await check(responder, catalog, principal)


class Bots:
    """Who may answer in a conversation, by the name that turns give them."""

    def __init__(self, participants: Participants, catalog: Catalog) -> None:
        self._participants = participants
        self._catalog = catalog

    async def addressable(
        self, conversation_id: UUID, principal: Principal
    ) -> dict[str, Addressable]:
        """Returns what each is called, in order. The conversation is locked. One that neither the
        caller nor the conversation's owner may use stays silent."""
        owner = await self._participants.owner(conversation_id)
        leading = Principal(owner, frozenset(Scope if owner == ROOT else [Scope.CHAT]), "")
        named: dict[str, Addressable] = {}
        for member in await self._participants.bots(conversation_id):
            responder = responder_of(member)
            if responder is None:
                continue
            team = await self._usable(responder, principal, leading)
            if team is None:
                continue
            match member.kind:
                case ParticipantKind.AGENCY:
                    named[responder] = Addressable(team.name, member.identifier)
                case ParticipantKind.AGENT:
                    named[responder] = Addressable(team.manager.name, member.identifier)
                case _:
                    named[responder] = Addressable(member.identifier)
        return named

    async def _usable(self, responder: str, *callers: Principal) -> AgencySpec | None:
        for caller in callers:
            with suppress(NotFound):
                return await check(responder, self._catalog, caller)
        return None
