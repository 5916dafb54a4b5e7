"""What the shape of an agency's document can't say."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from gateway.agency.model import Json
from gateway.agency.teams.documents import MAX_AGENTS, NAME_MARKS, AgencyDocument, AgentDocument
from gateway.agency.teams.remotes import check_address
from gateway.errors import InvalidRequest
from gateway.names import line

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""Postgres stores no NUL, and half of a surrogate pair can't be sent."""


def checked(wanted: AgencyDocument) -> AgencyDocument:
    """`wanted` itself. Raises InvalidRequest naming the member that breaks a rule."""
    if line(wanted.name, "name") != wanted.name.strip():
        raise InvalidRequest("A name neither starts nor ends with a blank.", param="name")
    _check_agents(wanted.agents)
    if all(agent.name != wanted.manager for agent in wanted.agents):
        raise InvalidRequest(
            "The manager must be the name of one of the agents.",
            param="manager",
            code="unknown_manager",
        )
    return wanted


def _check_agents(agents: Sequence[AgentDocument]) -> None:
    # The Struct says so too, but agents are also added one by one.
    if len(agents) > MAX_AGENTS:
        raise InvalidRequest(
            f"An agency has at most {MAX_AGENTS} agents.", param="agents", code="too_many_agents"
        )
    names: set[str] = set()
    for index, agent in enumerate(agents):
        check_agent(agent, f"agents[{index}].")
        if agent.name in names:
            raise InvalidRequest(
                f"Two agents are called {agent.name!r}.",
                param=f"agents[{index}].name",
                code="duplicate_agent_name",
            )
        names.add(agent.name)


def check_agent(agent: AgentDocument, path: str = "") -> None:
    """`path` is where the agent stands in its document: `agents[0].`."""
    if not _is_name(agent.name):
        raise InvalidRequest(
            "An agent's name is made of letters, digits and single spaces or any of "
            f"'{NAME_MARKS.strip()}', and neither starts nor ends with a space.",
            param=f"{path}name",
            code="invalid_agent_name",
        )
    if agent.model is not None:
        line(agent.model, f"{path}model")
    if agent.remote is not None:
        check_address(agent.remote, f"{path}remote")
    for member, text in _texts(msgspec.to_builtins(agent), ""):
        if UNSTORABLE.search(text):
            raise InvalidRequest(
                "A text holds NUL or half a surrogate pair.", param=f"{path}{member}"
            )


def _is_name(name: str) -> bool:
    known = all(c in NAME_MARKS or unicodedata.category(c)[0] in "LMN" for c in name)
    return known and name == name.strip(" ") and "  " not in name


def _texts(value: Json, path: str) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield path, value
        case Mapping():
            for key, member in value.items():
                yield from _texts(member, f"{path}.{key}" if path else key)
        case Sequence():
            for index, item in enumerate(value):
                yield from _texts(item, f"{path}[{index}]")
        case _:
            pass
