"""The bots of a conversation, and what turns call them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from gateway.agency.intake.responder import check
from gateway.agency.teams.catalog import Catalog
from gateway.agency.turn.request import AGENCY, AGENT, agency_id, agent_id
from gateway.auth import Principal
from gateway.conversation.rooms.participants import Member, ParticipantKind


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
