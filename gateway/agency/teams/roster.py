"""How an agency changes: edits of its document, and what they mean for its rows. All pure."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET
from msgspec.structs import replace

from gateway.agency.model import Json
from gateway.agency.teams.documents import (
    AgencyDocument,
    AgencyPatch,
    AgencySettings,
    AgentDocument,
    AgentPatch,
    Params,
    plain,
)
from gateway.agency.teams.rules import check_agent
from gateway.agency.teams.team import AgencySpec, AgentSpec, label
from gateway.errors import Conflict, InvalidRequest, NotFound


@dataclass(frozen=True, slots=True)
class RosterChanges:
    """What must be written to make an agency what its document says.

    `removed`, `changed` and `added` are agents; `renamed` are those of `changed` whose name is new.
    """

    agency: bool
    removed: tuple[AgentSpec, ...]
    changed: tuple[AgentDocument, ...]
    added: tuple[AgentDocument, ...]
    renamed: tuple[int, ...]
    told: tuple[str, ...]
    """For people, one line each: `#143 (programmer): instructions`."""

    def __bool__(self) -> bool:
        return self.agency or bool(self.removed or self.changed or self.added)


def changes(spec: AgencySpec, wanted: AgencyDocument) -> RosterChanges:
    """Agents of `wanted` with an id are those of `spec`; the others are new."""
    kept = {agent.id: agent for agent in wanted.agents if agent.id is not UNSET}
    removed = tuple(agent for agent in spec.agents if agent.id not in kept)
    added = tuple(agent for agent in wanted.agents if agent.id is UNSET)
    differing = [
        (old, new, names)
        for old in spec.agents
        if (new := kept.get(old.id)) and (names := _differing(_members(old), _wanted(new)))
    ]
    of_agency = _differing(_agency_members(spec), _agency_wanted(wanted))
    return RosterChanges(
        agency=bool(of_agency),
        removed=removed,
        changed=tuple(new for _, new, _ in differing),
        added=added,
        renamed=tuple(old.id for old, new, _ in differing if old.name != new.name),
        told=(
            *of_agency,
            *(f"{old.label}: {', '.join(names)}" for old, _, names in differing),
            *(f"{agent.name} added" for agent in added),
            *(f"{agent.label} removed" for agent in removed),
        ),
    )


def creation(wanted: AgencyDocument) -> RosterChanges:
    named = [agent.id for agent in wanted.agents if agent.id is not UNSET]
    if wanted.id is not UNSET or named:
        raise InvalidRequest(
            "Leave out the ids: the gateway gives a new agency and its agents theirs.", param="id"
        )
    return RosterChanges(True, (), (), added=tuple(wanted.agents), renamed=(), told=())


def matched(spec: AgencySpec, wanted: AgencyDocument) -> AgencyDocument:
    """`wanted` with the ids of the agents it means, given by id, else by name."""
    if wanted.id not in (UNSET, spec.id):
        raise InvalidRequest(f"This is agency {spec.id}, not {wanted.id}.", param="id")
    taken = _ids_of(spec, wanted)
    free = {agent.name: agent.id for agent in spec.agents if agent.id not in taken}
    agents = [
        agent if agent.id is not UNSET else replace(agent, id=free.get(agent.name, UNSET))
        for agent in wanted.agents
    ]
    return replace(wanted, agents=agents)


def _ids_of(spec: AgencySpec, wanted: AgencyDocument) -> set[int]:
    seen: set[int] = set()
    for index, agent in enumerate(wanted.agents):
        if agent.id is UNSET:
            continue
        if spec.agent(agent.id) is None or agent.id in seen:
            raise InvalidRequest(
                f"Agency {spec.id} has no agent {agent.id}, or it is named twice.",
                param=f"agents[{index}].id",
                code="unknown_agent",
            )
        seen.add(agent.id)
    return seen


def patched(wanted: AgencyDocument, patch: AgencyPatch) -> AgencyDocument:
    settings = AgencySettings() if patch.settings is None else patch.settings
    return replace(
        wanted,
        name=wanted.name if patch.name is UNSET else patch.name,
        manager=wanted.manager if patch.manager is UNSET else patch.manager,
        shared=wanted.shared if patch.shared is UNSET else patch.shared,
        settings=wanted.settings if settings is UNSET else settings,
    )


def with_agent(wanted: AgencyDocument, agent: AgentDocument) -> AgencyDocument:
    if agent.id is not UNSET:
        raise InvalidRequest("Leave out the id: the gateway gives a new agent its own.", param="id")
    check_agent(agent)
    _refuse_taken(wanted, agent.name)
    return replace(wanted, agents=[*wanted.agents, agent])


def with_patched_agent(wanted: AgencyDocument, agent_id: int, patch: AgentPatch) -> AgencyDocument:
    """A manager that is renamed stays the manager."""
    old = _agent(wanted, agent_id)
    new = _patched_agent(old, patch)
    check_agent(new)
    if new.name != old.name:
        _refuse_taken(wanted, new.name)
    return replace(
        wanted,
        manager=new.name if wanted.manager == old.name else wanted.manager,
        agents=[new if agent is old else agent for agent in wanted.agents],
    )


def _patched_agent(old: AgentDocument, patch: AgentPatch) -> AgentDocument:
    params = Params() if patch.params is None else patch.params
    collections = [] if patch.collections is None else patch.collections
    return replace(
        old,
        name=old.name if patch.name is UNSET else patch.name,
        instructions=old.instructions if patch.instructions is UNSET else patch.instructions,
        model=old.model if patch.model is UNSET else patch.model,
        collections=old.collections if collections is UNSET else collections,
        params=old.params if params is UNSET else params,
        remote=old.remote if patch.remote is UNSET else patch.remote,
    )


def without_agent(wanted: AgencyDocument, agent_id: int) -> AgencyDocument:
    old = _agent(wanted, agent_id)
    if old.name == wanted.manager:
        raise Conflict(
            f"{label(agent_id, old.name)} is the manager. Make another agent the manager first.",
            code="manager_required",
        )
    return replace(wanted, agents=[agent for agent in wanted.agents if agent is not old])


def no_agent(agent_id: int) -> NotFound:
    return NotFound(f"There is no agent {agent_id}.", code="agent_not_found")


def _agent(wanted: AgencyDocument, agent_id: int) -> AgentDocument:
    for agent in wanted.agents:
        if agent.id == agent_id:
            return agent
    raise no_agent(agent_id)


def _refuse_taken(wanted: AgencyDocument, name: str) -> None:
    if any(agent.name == name for agent in wanted.agents):
        raise Conflict(
            f"An agent of this agency is called {name!r} already.",
            param="name",
            code="agent_name_taken",
        )


def _differing(old: dict[str, Json], new: dict[str, Json]) -> list[str]:
    return [name for name in new if old[name] != new[name]]


def _members(agent: AgentSpec) -> dict[str, Json]:
    return {
        "name": agent.name,
        "instructions": agent.instructions,
        "model": agent.model,
        "collections": list(agent.collections),
        "params": agent.params,
        "remote": agent.remote,
    }


def _wanted(agent: AgentDocument) -> dict[str, Json]:
    return {
        "name": agent.name,
        "instructions": agent.instructions,
        "model": agent.model,
        "collections": agent.collections,
        "params": plain(agent.params),
        "remote": agent.remote,
    }


def _agency_members(spec: AgencySpec) -> dict[str, Json]:
    return {
        "name": spec.name,
        "shared": spec.shared,
        "settings": spec.settings,
        "manager": spec.manager_id,
    }


def _agency_wanted(wanted: AgencyDocument) -> dict[str, Json]:
    manager = next((agent.id for agent in wanted.agents if agent.name == wanted.manager), UNSET)
    return {
        "name": wanted.name,
        "shared": wanted.shared,
        "settings": plain(wanted.settings),
        "manager": None if manager is UNSET else manager,
    }
