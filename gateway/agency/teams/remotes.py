"""Agents that live in another gateway: how their addresses look, and who may set them."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from msgspec import UNSET

from gateway.agency.teams.documents import AgencyDocument, AgentDocument
from gateway.agency.teams.team import AgencySpec
from gateway.errors import Forbidden, InvalidRequest

ADDRESS: Final = re.compile(
    r"https?://(?:(?P<name>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)|\[(?P<literal>[0-9A-Fa-f:.]+)\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/api/agents/[1-9][0-9]{0,17}",
    re.ASCII,
)
NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?", re.ASCII)
"""A host that ends so is meant to be an IPv4 address, as browsers have it."""


def check_address(address: str, param: str) -> None:
    """Raises InvalidRequest. Where it leads to is checked when it is connected to."""
    found = ADDRESS.fullmatch(address)
    if found is None:
        reason = (
            "looks like https://agents.example.com/api/agents/143: http or https, a host, perhaps "
            "a port, and no user name, query or fragment"
        )
    elif found["port"] is not None and not 0 < int(found["port"]) < 65536:
        reason = "has a port between 1 and 65535"
    elif not _is_host(found["name"], found["literal"]):
        reason = "has a host that is a name or an IP address in its usual spelling"
    else:
        return
    raise InvalidRequest(
        f"The address of a remote agent {reason}.", param=param, code="invalid_remote"
    )


def _is_host(name: str | None, literal: str | None) -> bool:
    if name is not None and not NUMERIC.fullmatch(name):
        return len(name) <= 253
    try:
        return ip_address(name or literal or "").version == (4 if name else 6)
    except ValueError:
        return False


def refuse_changes(wanted: AgencyDocument, spec: AgencySpec | None, *, alone: bool = False) -> None:
    """Raises Forbidden, for a caller who is no admin, unless every agent lives where it has lived.
    `wanted` names those that are in `spec` by id. `alone`: the caller has sent one agent."""
    for index, agent in enumerate(wanted.agents):
        if agent.remote != _known(agent, spec):
            raise Forbidden(
                f"Only an admin may set where the agent {agent.name!r} lives: this key lacks the "
                "scope 'admin'.",
                param="remote" if alone else f"agents[{index}].remote",
            )


def _known(agent: AgentDocument, spec: AgencySpec | None) -> str | None:
    old = None if spec is None or agent.id is UNSET else spec.agent(agent.id)
    return None if old is None else old.remote
