"""What the routes of turns answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from gateway import ids
from gateway.agency.model import Json
from gateway.agency.records.proceedings import Inside, StepView, TurnRecord
from gateway.agency.records.talk import Kind, Saying
from gateway.agency.teams.team import label
from gateway.routes.shapes.usage import CompletionUsage, usage


class Failure(msgspec.Struct):
    """Why a turn or a step ended without a result. `status` is what a caller was answered."""

    code: str | None = None
    message: str = ""
    type: str = "server_error"
    status: int = 500


class TurnEntry(msgspec.Struct, kw_only=True):
    """`usage` sums all model calls; `attempt` rises when a process that ran the turn was lost."""

    id: str
    conversation_id: str
    responder: str
    state: str
    attempt: int
    usage: CompletionUsage
    finish_reason: str | None
    error: Failure | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


class Told(msgspec.Struct):
    """`from` is null for the end user, -1 for the library and -2 for a note of the gateway; `to` is
    null for the end user. `kind` tells whether it asks somebody, answers who asked, or is a
    note."""

    from_id: int | None = msgspec.field(name="from")
    to: int | None
    kind: Kind
    text: str


class StepAgent(msgspec.Struct):
    id: int
    name: str
    label: str


class Step(msgspec.Struct, kw_only=True):
    """One model call. `output` is its raw text where `messages` don't tell all of it."""

    id: str
    agent: StepAgent
    model: str
    attempt: int
    started_at: datetime
    completed_at: datetime
    seconds: float
    usage: CompletionUsage
    output: str | None
    error: Failure | None
    messages: list[Told]


class Turn(TurnEntry, kw_only=True):
    """`steps` in order, each with what it said to whom; `messages` are those that no step said: the
    input, answers of the library, and notes of the gateway. Both are null to who may not see the
    inside of the agency."""

    steps: list[Step] | None
    messages: list[Told] | None


class TurnList(msgspec.Struct):
    data: list[TurnEntry]
    next_cursor: str | None


def turn_entry(turn: TurnRecord) -> TurnEntry:
    return TurnEntry(
        id=ids.show(ids.TURN, turn.id),
        conversation_id=ids.show(ids.CONVERSATION, turn.conversation_id),
        responder=turn.responder,
        state=turn.state,
        attempt=turn.attempt,
        usage=usage(turn.usage),
        finish_reason=turn.finish_reason,
        error=_failure(turn.error),
        created_at=turn.created_at,
        updated_at=turn.updated_at,
        completed_at=turn.completed_at,
    )


def turn_answer(turn: TurnRecord, inside: Inside | None) -> Turn:
    steps = None if inside is None else [_step(step) for step in inside.steps]
    messages = None if inside is None else _told(inside.sayings)
    return Turn(**msgspec.structs.asdict(turn_entry(turn)), steps=steps, messages=messages)


def _step(step: StepView) -> Step:
    agent = StepAgent(step.agent_id, step.agent_name, label(step.agent_id, step.agent_name))
    return Step(
        id=ids.show(ids.STEP, step.id),
        agent=agent,
        model=step.model,
        attempt=step.attempt,
        started_at=step.started_at,
        completed_at=step.completed_at,
        seconds=(step.completed_at - step.started_at).total_seconds(),
        usage=usage(step.usage),
        output=step.output,
        error=_failure(step.error),
        messages=_told(step.sayings),
    )


def _told(sayings: Iterable[Saying]) -> list[Told]:
    return [Told(said.from_id, said.to_id, said.kind, said.text) for said in sayings]


def _failure(error: Mapping[str, Json] | None) -> Failure | None:
    return None if error is None else msgspec.convert(error, Failure)
