"""What a door asks of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast
from uuid import UUID

import msgspec

from gateway import ids
from gateway.agency.model import Json
from gateway.agency.speech.parts import file_ids
from gateway.agency.teams.team import Limits
from gateway.conversation.rooms.participants import Member
from gateway.names import DEFAULT_PROVIDER


@dataclass(frozen=True, slots=True)
class Public:
    """One message that the end user sees: the unit of a client's history.

    `parts` are those of `speech.parts` where a message is more than text; `content` is their text.
    """

    role: str
    content: str
    parts: Sequence[Mapping[str, Json]] | None = None

    @property
    def file_ids(self) -> tuple[UUID, ...]:
        """The files of this gateway that it names. Raises NotFound for what is no id of a file."""
        named = () if self.parts is None else file_ids(self.parts)
        return tuple(ids.read(ids.FILE, one) for one in named)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A client's `messages`, taken apart.

    `history` ends with the last assistant message, `inputs` is all that follows it, `system` the
    client's own system and developer messages in one text.
    """

    history: tuple[Public, ...] = ()
    inputs: tuple[Public, ...] = ()
    system: str | None = None

    @property
    def said(self) -> tuple[Public, ...]:
        return (*self.history, *self.inputs)


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the answer is wanted. Kept with the turn, so whoever takes it up goes on the same way.

    `max_tokens` and `stop` bound the final answer, not the envelopes; `seconds` and `model_calls`
    lower the agency's limits. `skills` are prompts that the one who answers is given for this turn.
    `hops` is how many gateways have handed the question on. `silence` is set where an empty answer
    means that there is nothing to say: in rooms and sessions. `provider` serves the models that are
    called.
    """

    model: str
    params: dict[str, object] = {}
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    response_format: dict[str, object] | None = None
    seconds: float | None = None
    model_calls: int | None = None
    store: bool = True
    skills: tuple[str, ...] = ()
    hops: int = 0
    silence: bool = False
    provider: str = DEFAULT_PROVIDER

    @property
    def sampling(self) -> Mapping[str, Json]:
        """`params` as what they are: msgspec knows no recursive type."""
        return cast("Mapping[str, Json]", self.params)

    @property
    def wanted(self) -> Mapping[str, Json] | None:
        """`response_format`, if the client wants something other than text."""
        return cast("Mapping[str, Json] | None", self.response_format)

    def within(self, limits: Limits) -> Limits:
        """An agency's limits, which a request can only lower."""
        if self.seconds is not None:
            limits = replace(limits, seconds=min(limits.seconds, self.seconds))
        if self.model_calls is not None:
            limits = replace(limits, model_calls=min(limits.model_calls, self.model_calls))
        return limits


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion: who says what, and whether it was said before.

    `scope` names whose histories these are; `digest` tells the same request when it comes again;
    `retry` is set when the caller says that it does.
    """

    responder: str
    scope: bytes
    dialogue: Dialogue
    ask: Ask
    digest: bytes
    retry: bool = False
    metadata: dict[str, str] = field(default_factory=dict)


AGENCY, AGENT = "agency/", "agent/"
"""What the name of a responder begins with that is an agency, or one agent with its team behind
it; any other is a model."""


def agency_id(responder: str) -> int | None:
    """The agency that a responder's name stands for, or None if it is something else."""
    return _number(AGENCY, responder)


def agent_id(responder: str) -> int | None:
    """The agent that a responder's name stands for, or None if it is something else."""
    return _number(AGENT, responder)


def is_model(responder: str) -> bool:
    return agency_id(responder) is None and agent_id(responder) is None


def _number(kind: str, responder: str) -> int | None:
    number = responder.removeprefix(kind)
    known = number != responder and number.isascii() and number.isdigit() and len(number) <= 18
    return int(number) if known else None


@dataclass(frozen=True, slots=True)
class Posted:
    """A message to a conversation that is named, from a caller who need not wait for the reply.

    `responder` is whom it is put to: `agency/<id>`, `agent/<id>` or a model of the provider's. None
    stands for the conversation's.
    """

    conversation_id: UUID
    responder: str | None
    content: str
    provider: str | None = None
    file_ids: tuple[UUID, ...] = ()
    skill_set_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class RoomMessage:
    """A message to all who are in a conversation: every bot answers what a person says. `place` is
    the bot in whose place the caller speaks."""

    conversation_id: UUID
    content: str
    file_ids: tuple[UUID, ...] = ()
    place: Member | None = None
