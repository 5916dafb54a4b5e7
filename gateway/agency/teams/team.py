"""What an agency is: frozen values, read once and shared by every turn that uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from gateway.agency.model import Json
from gateway.ids import AgencyId, AgentId

PLAIN_MODEL: Final = AgentId(-5)
"""The one agent of a plain model's team. It has no row, and no message is addressed to it."""


def label(agent_id: int, name: str) -> str:
    """Returns how agents and people see an agent: `#143 (programmer)`."""
    return f"#{agent_id} ({name})"


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """One agent. `model` None means the gateway's default; `remote` is the address of one that
    lives in another gateway."""

    id: AgentId
    name: str
    instructions: str
    model: str | None
    collections: tuple[str, ...]
    params: Mapping[str, Json]
    remote: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def label(self) -> str:
        return label(self.id, self.name)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one turn may use: `seconds` of work, `tokens` of all its model calls (None: no
    ceiling), and how often the same (from, to, text) may be said."""

    model_calls: int = 24
    seconds: float = 300.0
    tokens: int | None = 1_000_000
    repeats: int = 2


@dataclass(frozen=True, slots=True)
class AgencySpec:
    """An agency as it was at one revision. `agents` are ordered by id and hold the manager."""

    id: AgencyId
    name: str
    owner: str
    shared: bool
    manager_id: AgentId
    agents: tuple[AgentSpec, ...]
    settings: Mapping[str, Json]
    limits: Limits
    revision: int
    created_at: datetime
    updated_at: datetime

    @property
    def plain(self) -> bool:
        """True for the team of a plain model: one agent, which speaks once a turn, to the end user,
        and without envelopes."""
        return self.manager_id == PLAIN_MODEL

    @property
    def manager(self) -> AgentSpec:
        return next(agent for agent in self.agents if agent.id == self.manager_id)

    def agent(self, agent_id: int) -> AgentSpec | None:
        return next((agent for agent in self.agents if agent.id == agent_id), None)

    def entered_by(self, agent_id: int) -> AgencySpec | None:
        """The same team, in which this agent is the one that is spoken to. None if it is not in
        it."""
        agent = self.agent(agent_id)
        return None if agent is None else replace(self, manager_id=agent.id)


@lru_cache(maxsize=256)
def plain_team(model: str) -> AgencySpec:
    """The team of a plain model, which no row tells of."""
    never = datetime.min.replace(tzinfo=UTC)
    agent = AgentSpec(
        id=PLAIN_MODEL,
        name=model,
        instructions="",
        model=model,
        collections=(),
        params={},
        remote=None,
        created_at=never,
        updated_at=never,
    )
    return AgencySpec(
        id=AgencyId(0),
        name=model,
        owner="",
        shared=False,
        manager_id=PLAIN_MODEL,
        agents=(agent,),
        settings={},
        limits=Limits(),
        revision=0,
        created_at=never,
        updated_at=never,
    )


@dataclass(frozen=True, slots=True)
class AgencySummary:
    """An agency in a list. `agents` are (id, name), ordered by id."""

    id: AgencyId
    name: str
    owner: str
    shared: bool
    manager_id: AgentId
    agents: tuple[tuple[AgentId, str], ...]
    revision: int
    created_at: datetime
    updated_at: datetime
