"""The bots of a conversation, and what turns call them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from gateway.agency.teams.catalog import Catalog
from gateway.agency.turns.request import AGENCY, agency_id
from gateway.auth import Principal
from gateway.conversation.participants import Kind, Member
from gateway.database import Database
from gateway.errors import NotFound

# $1 agent.
_TEAM = "SELECT agency_id FROM agent WHERE id = $1 AND deleted_at IS NULL"


def responder_of(member: Member) -> str | None:
    """What a bot is called as a responder. None if it does not answer: only here that is decided.

    An agent is in a conversation, but answers only in sessions as yet.
    """
    match member.kind:
        case Kind.AGENCY:
            return f"{AGENCY}{member.identifier}"
        case Kind.MODEL:
            return member.identifier
        case Kind.AGENT | Kind.USER:
            return None
        case kind:
            assert_never(kind)


def member_of(responder: str) -> Member:
    """The reverse."""
    number = agency_id(responder)
    if number is not None:
        return Member(Kind.AGENCY, str(number))
    return Member(Kind.MODEL, responder)


class Members:
    """Who may bring which bots into a conversation."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog

    async def check(self, members: Sequence[Member], principal: Principal) -> None:
        """Raises NotFound for an agency that the caller may not use, and for an agent whose agency
        is not the caller's."""
        for member in members:
            match member.kind:
                case Kind.AGENCY:
                    await self._catalog.read(int(member.identifier), principal)
                case Kind.AGENT:
                    await self._check_agent(int(member.identifier), principal)
                case Kind.MODEL | Kind.USER:
                    pass

    async def _check_agent(self, agent_id: int, principal: Principal) -> None:
        row = await self._database.fetchrow(_TEAM, agent_id)
        try:
            await self._catalog.definition(0 if row is None else row["agency_id"], principal)
        except NotFound:
            raise NotFound(f"There is no agent {agent_id}.", code="agent_not_found") from None
