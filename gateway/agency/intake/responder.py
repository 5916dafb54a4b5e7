"""Who answers: the team behind a responder's name."""

from __future__ import annotations

from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import AgencySpec, plain_team
from gateway.agency.turn.request import agency_id, agent_id
from gateway.auth import Principal
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
