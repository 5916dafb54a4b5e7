"""An agency in one document: the same for POST, PUT, the YAML file and the export.

The Structs hold the shape; `rules` holds what a shape can't say.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.agency.model import Json
from gateway.agency.teams.team import AgencySpec, AgentSpec

MAX_AGENTS = 100
"""Every agent's prompt lists all the others."""
MAX_INSTRUCTIONS = 100_000
MAX_TOKENS = 1_000_000_000
NAME_MARKS = " ._-&+'/"
"""What a name may hold besides letters, marks and digits. It stands in every agent's prompt as
`#143 (programmer)`: a parenthesis or a line break would forge the roster."""

AgentName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description=f"Letters, digits and any of '{NAME_MARKS}'; unique in the agency.",
        examples=["programmer"],
    ),
]
AgencyName = Annotated[str, Meta(min_length=1, max_length=200, examples=["Studio"])]
Instructions = Annotated[
    str,
    Meta(
        max_length=MAX_INSTRUCTIONS,
        description="Principles and instructions; they stand in the agent's system message.",
    ),
]
ModelName = Annotated[
    str, Meta(min_length=1, max_length=200, description="null: the gateway's default model.")
]
CollectionNames = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=128)]],
    Meta(max_length=100, description="What the agent may search: collections of the owner."),
]
RemoteAddress = Annotated[
    str,
    Meta(
        max_length=500,
        description="Where the agent lives, if that is another gateway: there its sessions are "
        "made. For admins alone to set.",
        examples=["https://agents.example.com/api/agents/143"],
    ),
]
Tokens = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class Params(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`context_tokens` is the budget of the agent's context; the rest goes to the model."""

    context_tokens: Annotated[int, Meta(ge=256, le=MAX_TOKENS)] | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType = UNSET
    top_p: Share | UnsetType = UNSET
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    min_p: Share | UnsetType = UNSET
    presence_penalty: Penalty | UnsetType = UNSET
    frequency_penalty: Penalty | UnsetType = UNSET
    max_tokens: Tokens | UnsetType = UNSET
    max_completion_tokens: Tokens | UnsetType = UNSET
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | UnsetType = UNSET
    reasoning_effort: Annotated[str, Meta(pattern="^[a-z]{1,16}$")] | UnsetType = UNSET
    verbosity: Literal["low", "medium", "high"] | UnsetType = UNSET


class LimitsDocument(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What one turn may use. What is left out has the gateway's default."""

    model_calls: Annotated[int, Meta(ge=1, le=1_000)] | UnsetType = UNSET
    seconds: Annotated[float, Meta(ge=1, le=86_400)] | UnsetType = UNSET
    tokens: Tokens | UnsetType | None = UNSET
    repeats: Annotated[int, Meta(ge=1, le=1_000)] | UnsetType = UNSET


class AgencySettings(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    limits: LimitsDocument | UnsetType = UNSET


class AgentDocument(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One agent. `id` names an agent that exists; without it the name does."""

    id: int | UnsetType = UNSET
    name: AgentName
    instructions: Instructions
    model: ModelName | None = None
    collections: CollectionNames = []
    params: Params = msgspec.field(default_factory=Params)
    remote: RemoteAddress | None = None


class AgencyDocument(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A whole agency. `manager` is the name of one of its agents."""

    id: int | UnsetType = UNSET
    name: AgencyName
    manager: AgentName
    shared: bool = False
    agents: Annotated[list[AgentDocument], Meta(min_length=1, max_length=MAX_AGENTS)]
    settings: AgencySettings = msgspec.field(default_factory=AgencySettings)


class AgencyPatch(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is absent stays. `settings` is replaced as a whole; null empties it."""

    name: AgencyName | UnsetType = UNSET
    manager: AgentName | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    settings: AgencySettings | UnsetType | None = UNSET


class AgentPatch(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is absent stays. `collections` and `params` are replaced as a whole; null empties
    them, gives the agent the default model, and has it live here."""

    name: AgentName | UnsetType = UNSET
    instructions: Instructions | UnsetType = UNSET
    model: ModelName | UnsetType | None = UNSET
    collections: CollectionNames | UnsetType | None = UNSET
    params: Params | UnsetType | None = UNSET
    remote: RemoteAddress | UnsetType | None = UNSET


def plain(value: Struct) -> dict[str, Json]:
    """A Struct as it is stored: what is unset or default is left out."""
    members: dict[str, Json] = msgspec.to_builtins(value)
    return members


def document(spec: AgencySpec, *, ids: bool) -> AgencyDocument:
    """The document that `spec` would come from. Without `ids` it suits any gateway."""
    return AgencyDocument(
        id=spec.id if ids else UNSET,
        name=spec.name,
        manager=spec.manager.name,
        shared=spec.shared,
        agents=[agent_document(agent, ids=ids) for agent in spec.agents],
        settings=msgspec.convert(spec.settings, AgencySettings),
    )


def agent_document(agent: AgentSpec, *, ids: bool) -> AgentDocument:
    return AgentDocument(
        id=agent.id if ids else UNSET,
        name=agent.name,
        instructions=agent.instructions,
        model=agent.model,
        collections=list(agent.collections),
        params=msgspec.convert(agent.params, Params),
        remote=agent.remote,
    )
