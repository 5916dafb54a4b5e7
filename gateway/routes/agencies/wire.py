"""What `/api/agencies` answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Struct

from gateway.agency.teams.documents import AgencySettings, Params
from gateway.agency.teams.team import AgencySpec, AgencySummary, AgentSpec, label


class AgentAnswer(Struct, kw_only=True):
    id: int
    label: Annotated[str, msgspec.Meta(examples=["#143 (programmer)"])]
    name: str
    instructions: str
    model: str | None
    collections: list[str]
    params: Params
    remote: str | None
    created_at: datetime
    updated_at: datetime


class AgencyAnswer(Struct, kw_only=True):
    """The document of the agency, with ids and times. `revision` rises with every change."""

    id: int
    name: str
    owner: str
    manager: str
    manager_id: int
    shared: bool
    agents: list[AgentAnswer]
    settings: AgencySettings
    revision: int
    created_at: datetime
    updated_at: datetime


class AgentEntry(Struct, kw_only=True):
    id: int
    label: str
    name: str


class AgencyEntry(Struct, kw_only=True):
    """An agency in a list, without its instructions."""

    id: int
    name: str
    owner: str
    manager: str
    manager_id: int
    shared: bool
    agents: list[AgentEntry]
    revision: int
    created_at: datetime
    updated_at: datetime


class AgencyList(Struct, kw_only=True):
    data: list[AgencyEntry]
    next_cursor: str | None


class AgentList(Struct, kw_only=True):
    data: list[AgentAnswer]
    next_cursor: str | None


def agency_answer(spec: AgencySpec) -> AgencyAnswer:
    return AgencyAnswer(
        id=spec.id,
        name=spec.name,
        owner=spec.owner,
        manager=spec.manager.name,
        manager_id=spec.manager_id,
        shared=spec.shared,
        agents=[agent_answer(agent) for agent in spec.agents],
        settings=msgspec.convert(spec.settings, AgencySettings),
        revision=spec.revision,
        created_at=spec.created_at,
        updated_at=spec.updated_at,
    )


def agent_answer(agent: AgentSpec) -> AgentAnswer:
    return AgentAnswer(
        id=agent.id,
        label=agent.label,
        name=agent.name,
        instructions=agent.instructions,
        model=agent.model,
        collections=list(agent.collections),
        params=msgspec.convert(agent.params, Params),
        remote=agent.remote,
        created_at=agent.created_at,
        updated_at=agent.updated_at,
    )


def agency_entry(agency: AgencySummary) -> AgencyEntry:
    return AgencyEntry(
        id=agency.id,
        name=agency.name,
        owner=agency.owner,
        manager=dict(agency.agents)[agency.manager_id],
        manager_id=agency.manager_id,
        shared=agency.shared,
        agents=[AgentEntry(id=n, label=label(n, name), name=name) for n, name in agency.agents],
        revision=agency.revision,
        created_at=agency.created_at,
        updated_at=agency.updated_at,
    )
