"""Who may use an agency, and who may see and change what it is."""

from __future__ import annotations

from gateway.agency.teams.team import AgencySpec
from gateway.auth import Principal, Scope
from gateway.errors import NotFound


def missing(agency_id: int) -> NotFound:
    """Returns the same error for an agency that is not there and for one that may not be seen."""
    return NotFound(f"There is no agency {agency_id}.", code="agency_not_found")


def usable(spec: AgencySpec, principal: Principal) -> AgencySpec:
    shared = spec.shared and principal.may(Scope.CHAT)
    if spec.owner == principal.user or shared or principal.may(Scope.ADMIN):
        return spec
    raise missing(spec.id)


def may_define(spec: AgencySpec, principal: Principal) -> bool:
    return spec.owner == principal.user or principal.may(Scope.ADMIN)


def may_answer(spec: AgencySpec, principal: Principal) -> bool:
    """Returns True for who may have the agents of an agency work, and answer in their place."""
    return may_define(spec, principal) or principal.may(Scope.ACT_AS)


def owned(agency_id: int, spec: AgencySpec | None, principal: Principal) -> AgencySpec:
    if spec and may_define(spec, principal):
        return spec
    raise missing(agency_id)
