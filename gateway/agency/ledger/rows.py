"""What the rows of turns say, as values, and values as the columns that are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from gateway import ids
from gateway.agency.model import Json, Usage
from gateway.agency.speech.parts import Parts, Speaker, speaker
from gateway.agency.speech.prompt import GATEWAY, LIBRARY, Entry, FileText
from gateway.agency.turn.events import Delivery, Event
from gateway.agency.turn.request import Ask
from gateway.conversation.rooms.participants import Status
from gateway.conversation.turn_states import TurnState
from gateway.ids import TurnId
from gateway.postgres.database import Row

MANUAL = "manual"
"""The drive of a conversation in which somebody outside answers what agents ask; else it is auto,
and the engine does."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a turn's rows. `version` is the one the turn was accepted or taken at,
    `reply_id` the interaction that its answer is. `shown` is what the responder was seen to do
    then; None if it is no participant of the conversation, or that is of no interest. In a room
    others may answer the same."""

    turn_id: TurnId
    conversation_id: UUID
    fence: int
    version: int
    reply_id: UUID
    shown: Status | None = None
    in_room: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A turn that has become ours, by this fence. Who finds another one in the rows has lost it
    again."""

    turn_id: TurnId
    fence: int


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A model call that ended. `provider` served the model, `seconds` is how long it took. `output`
    is kept only if no message tells it. A plain model is no agent."""

    id: UUID
    agent: int | None
    model: str
    provider: str
    read: int
    usage: Usage
    seconds: float
    output: str | None = None
    error: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What happened in a turn so far, in order, and in how many seconds: those in which an agent
    was being called. What it waited for a person, or for a process to take it up, is not its."""

    events: Sequence[Event]
    seconds: float


@dataclass(frozen=True, slots=True)
class Written:
    """The version that was made, and whether the conversation is driven by hand now."""

    version: int
    manual: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The version that the end of a turn made, whether another turn may wait for it, and whether
    the conversation has no title yet."""

    version: int
    followed: bool
    untitled: bool


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as it stands in the rows. `seq` is the ordinal of its reply. It is `served` if
    somebody outside answers in its responder's place."""

    id: TurnId
    conversation_id: UUID
    reply_id: UUID
    responder: str
    seq: int
    state: TurnState
    attended: bool
    fence: int
    expired: bool
    version: int
    ask: Ask
    principal: str
    system: str | None
    history_hash: bytes | None
    usage: Usage
    answer: str
    finish_reason: str | None
    error: Mapping[str, Json] | None
    created_at: float
    manual: bool
    served: bool
    shown: Status | None
    in_room: bool

    @property
    def abandoned(self) -> bool:
        """True if the turn should run and nobody runs it."""
        return self.state == TurnState.SUSPENDED or (
            self.state == TurnState.RUNNING and self.expired
        )

    @property
    def taken(self) -> Taken:
        return Taken(self.id, self.fence)

    @property
    def lease(self) -> Lease:
        """The lease of whoever has just taken the turn."""
        place = self.id, self.conversation_id, self.fence, self.version, self.reply_id
        return Lease(*place, self.shown, self.in_room)


def encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def uuids(of: Sequence[UUID]) -> str | None:
    """A value of `uuid[]` as text, since a column of arrays can't be a parameter; null if empty."""
    return f"{{{','.join(map(str, of))}}}" if of else None


def step_columns(lease: Lease, step: StepRecord | None) -> tuple[object, ...]:
    """The parameters $1 to $13 of a statement that may write a step."""
    head = (lease.conversation_id, lease.turn_id, lease.fence)
    if step is None:
        return (*head, None, None, None, None, None, 0, 0, None, 0.0, None)
    error = None if step.error is None else encoded(step.error)
    return (
        *head,
        step.id,
        step.agent,
        step.model,
        step.read,
        step.output,
        step.usage.prompt_tokens,
        step.usage.completion_tokens,
        error,
        step.seconds,
        step.provider,
    )


_MessageRow = tuple[UUID, UUID | None, int, str, int, int, str]


def message_columns(deliveries: Sequence[Delivery]) -> list[list[object]]:
    """The columns of the rows of `_delivered`."""
    rows = _delivered(deliveries)
    return [[row[column] for row in rows] for column in range(7)]


def _delivered(deliveries: Sequence[Delivery]) -> list[_MessageRow]:
    """Rows (id, linked, agent, role, from, to, text): twins in both contexts. Notes stand in one,
    and so does what is said to the library and what it answers, which has no context."""
    rows: list[_MessageRow] = []
    for delivery in deliveries:
        said, heard = ids.new(), ids.new()
        sender, to, text = delivery.sender, delivery.recipient, delivery.text
        if sender in (GATEWAY, LIBRARY):
            rows.append((heard, None, to, "user", sender, to, text))
        elif to == LIBRARY:
            rows.append((said, None, sender, "assistant", sender, to, text))
        else:
            rows.append((said, heard, sender, "assistant", sender, to, text))
            rows.append((heard, said, to, "user", sender, to, text))
    return rows


_files = msgspec.json.Decoder(tuple[FileText, ...])


def entries_of(rows: Sequence[Row]) -> list[Entry]:
    """Turns rows, newest first, into entries, oldest first."""
    return [_entry(row) for row in reversed(rows)]


def _entry(row: Row) -> Entry:
    parts: Parts = None if row["parts"] is None else msgspec.json.decode(row["parts"])
    by = speaker(parts)
    if by is None and row["speaker"] is not None and row["role"] == "user":
        by = Speaker(row["speaker"], row["speaker_identifier"])
    return Entry(
        role=row["role"],
        from_id=row["from_id"],
        to_id=row["to_id"],
        text=row["text"],
        version=row["version"],
        turn_id=row["turn_id"],
        step_id=row["step_id"],
        parts=parts,
        files=() if row["files"] is None else _files.decode(row["files"]),
        by=by,
    )


def stored(row: Row) -> StoredTurn:
    return StoredTurn(
        id=row["id"],
        conversation_id=row["conversation_id"],
        reply_id=row["reply_interaction_id"],
        responder=row["responder"],
        seq=row["seq"],
        state=TurnState(row["state"]),
        attended=row["attended"],
        fence=row["fence"],
        expired=bool(row["expired"]),
        version=row["version"],
        ask=msgspec.json.decode(row["request"], type=Ask),
        principal=row["principal"],
        system=row["system"],
        history_hash=row["history_hash"],
        usage=Usage(row["prompt_tokens"], row["completion_tokens"]),
        answer=row["answer"],
        finish_reason=row["finish_reason"],
        error=None if row["error"] is None else msgspec.json.decode(row["error"]),
        created_at=row["created_at"].timestamp(),
        manual=row["drive"] == MANUAL,
        served=row["driven"] == MANUAL,
        shown=None if row["shown"] is None else Status(row["shown"]),
        in_room=row["in_room"],
    )


def past_of(steps: Sequence[Row], delivered: Sequence[Row]) -> Past:
    calls = [(row["started_at"], row["completed_at"]) for row in steps]
    return Past(_events(steps, delivered), covered(calls))


def covered(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """The seconds that lie in one of these at least, however many overlap."""
    seconds, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for start, end in sorted(spans):
        seconds += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return seconds


def _events(steps: Sequence[Row], delivered: Sequence[Row]) -> list[Event]:
    """Deliveries of one version were written together, by the step of that version if any."""
    caused: dict[int, list[Delivery]] = {}
    for row in delivered:
        delivery = Delivery(row["from_id"] or 0, row["to_id"], row["text"])
        caused.setdefault(row["version"], []).append(delivery)
    events = {version: Event(version, told) for version, told in caused.items()}
    for row in steps:
        version = row["version"]
        events[version] = Event(
            version, caused.get(version, []), row["agent_id"], row["read_version"], row["failed"]
        )
    return [events[version] for version in sorted(events)]
