"""The rows of turns that were accepted: each thing that they write, and how they are taken up.

Times of leases are the database's. Every write of a running turn goes through a `Lease` and raises
`Fenced` if another process has taken the turn, or somebody ended it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import msgspec

from gateway import ids
from gateway.agency.model import Json, Usage
from gateway.agency.speech.prompt import GATEWAY, LIBRARY, Entry, FileText
from gateway.agency.turns import sql
from gateway.agency.turns.request import Ask
from gateway.agency.turns.step import Delivery, Event, Question
from gateway.conversation.participants import Status
from gateway.database import Database, Row
from gateway.ids import TurnId
from gateway.streams.announcer import Announcer

CONTEXT_ROWS = 1000
"""The newest messages of a context that a prompt is made from. What bounds a prompt is the agent's
budget; this bounds what is read for it: see `docs/decisions/0005`."""


MANUAL = "manual"
"""The drive of a conversation in which somebody outside answers what agents ask; else it is auto,
and the engine does."""
SESSION_WAIT = 3600.0
"""Seconds that a session waits for an answer."""


class Fenced(Exception):
    """The turn is no longer this runner's: whatever it was about to write must not be."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a turn's rows. `version` is the one the turn was accepted or taken at,
    `reply_id` the interaction that its answer is. `shown` is what the responder was seen to do
    then; None if it is no participant of the conversation, or that is of no interest."""

    turn_id: TurnId
    conversation_id: UUID
    fence: int
    version: int
    reply_id: UUID
    shown: Status | None = None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A model call that ended. `seconds` is how long it took; `output` only if no message tells. A
    plain model is no agent."""

    id: UUID
    agent: int | None
    model: str
    read: int
    usage: Usage
    seconds: float
    output: str | None = None
    error: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The version that was made, and whether the conversation is driven by hand now."""

    version: int
    manual: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The version that the end of a turn made, whether another turn waits for it, and whether the
    conversation has no title yet."""

    version: int
    queued: bool
    untitled: bool


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as it stands in the rows. `seq` is the ordinal of its reply."""

    id: TurnId
    conversation_id: UUID
    reply_id: UUID
    responder: str
    seq: int
    state: str
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
    shown: Status | None

    @property
    def abandoned(self) -> bool:
        """Whether nobody runs it who should."""
        return self.state == "suspended" or (self.state == "running" and self.expired)

    @property
    def lease(self) -> Lease:
        """For whoever has just taken it."""
        place = self.id, self.conversation_id, self.fence, self.version, self.reply_id
        return Lease(*place, self.shown)


class Ledger:
    """Reads and writes turns for one process, whose name is `node`. `lease` is in seconds. What it
    has committed it announces."""

    def __init__(self, database: Database, node: str, lease: float, announcer: Announcer) -> None:
        self._database = database
        self._node = node
        self._lease = lease
        self._announcer = announcer

    # ---- during a turn ---------------------------------------------------------------------------

    async def context(self, conversation_id: UUID, agent: int) -> list[Entry]:
        """An agent's context, oldest first."""
        return entries_of(
            await self._database.fetch(sql.CONTEXT, conversation_id, agent, CONTEXT_ROWS)
        )

    async def chain(self, conversation_id: UUID, seq: int) -> list[Entry]:
        """All that was said before a plain model's reply, oldest first."""
        return entries_of(await self._database.fetch(sql.CHAIN, conversation_id, seq, CONTEXT_ROWS))

    async def advance(
        self, lease: Lease, step: StepRecord | None, deliveries: Sequence[Delivery]
    ) -> Written:
        """Write a step and what it caused, or what no step said."""
        row = await self._written(
            lease, sql.ADVANCE, *_step(lease, step), *message_columns(deliveries)
        )
        return Written(row["version"], row["drive"] == MANUAL)

    async def park(self, lease: Lease, question: Question) -> bool:
        """Leave the turn to whoever answers this. False if the engine is to go on itself."""
        head = lease.conversation_id, lease.turn_id, lease.fence
        row = await self._written(lease, sql.PARK, *head, encoded(question), SESSION_WAIT)
        return bool(row["drive"] == MANUAL)

    async def complete(
        self,
        lease: Lease,
        step: StepRecord,
        text: str,
        finish_reason: str,
        history_hash: bytes | None,
    ) -> Ended:
        """Write the answer and end the turn."""
        statement = sql.COMPLETE if lease.shown is None else sql.COMPLETE_IN_ROOM
        row = await self._written(
            lease, statement, *_step(lease, step), ids.new(), text, finish_reason, history_hash
        )
        return Ended(row["version"], row["queued"], row["untitled"])

    async def fail(
        self, lease: Lease, step: StepRecord | None, error: Mapping[str, Json], text: str
    ) -> Ended:
        """End the turn without an answer; `text` is what had been said of it."""
        statement = sql.FAIL if lease.shown is None else sql.FAIL_IN_ROOM
        row = await self._written(lease, statement, *_step(lease, step), encoded(error), text)
        return Ended(row["version"], row["queued"], row["untitled"])

    async def show(self, lease: Lease, status: Status) -> None:
        """What the responder, a participant, is seen to do. Its reply is seen once it writes."""
        place = lease.conversation_id, lease.turn_id, lease.fence
        row = await self._written(lease, sql.SHOW, *place, status)
        if not row["shown"]:
            raise Fenced

    async def suspend(self, lease: Lease, seconds: float) -> None:
        """Nobody listens any more: keep the turn for a client that comes back."""
        row = await self._database.fetchrow(sql.SUSPEND, lease.turn_id, lease.fence, seconds)
        if row is not None:
            self._announcer.changed(row["id"], row["version"])

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give turns up, for whoever takes them first."""
        turns, fences = [lease.turn_id for lease in leases], [lease.fence for lease in leases]
        await self._database.execute(sql.RELEASE, turns, fences)

    async def release_all(self) -> None:
        """Give up every turn of this process that nobody needs to wait for, those too that it was
        about to run."""
        await self._database.execute(sql.RELEASE_ALL, self._node)

    async def renew(self, leases: Sequence[Lease]) -> set[UUID]:
        """Renew leases; the turns that are no longer ours."""
        turns, fences = [lease.turn_id for lease in leases], [lease.fence for lease in leases]
        rows = await self._database.fetch(sql.RENEW, turns, fences, self._lease)
        return {row["id"] for row in rows}

    async def save(self, texts: Sequence[tuple[Lease, str]]) -> None:
        """Keep what replies say so far. It makes no version: those who follow are told the words
        themselves."""
        leases = [lease for lease, _ in texts]
        await self._database.execute(
            sql.SAVE,
            [lease.turn_id for lease in leases],
            [lease.fence for lease in leases],
            [text for _, text in texts],
        )

    async def _written(self, lease: Lease, statement: str, *parameters: object) -> Row:
        row = await self._database.fetchrow(statement, *parameters)
        if row is None:
            raise Fenced
        self._announcer.changed(lease.conversation_id, row["version"])
        return row

    # ---- taking up a turn ------------------------------------------------------------------------

    async def turn(self, turn_id: TurnId) -> StoredTurn | None:
        row = await self._database.fetchrow(sql.TURN, turn_id)
        return _stored(row) if row else None

    async def is_void(self, turn_id: UUID) -> bool:
        """Whether a turn ended without an answer, or is gone."""
        row = await self._database.fetchrow(sql.VOID, turn_id)
        return row is None or bool(row["void"])

    async def take(self, turn_id: TurnId, attempts: int) -> bool:
        """Make a turn that nobody runs ours. False if somebody was faster."""
        row = await self._database.fetchrow(sql.TAKE, turn_id, self._node, self._lease, attempts)
        if row is None:
            return False
        self._announcer.changed(row["id"], row["version"])
        return bool(row["taken"])

    async def events(self, turn_id: TurnId) -> list[Event]:
        """What happened in a turn so far, in order."""
        steps = await self._database.fetch(sql.STEPS, turn_id)
        delivered = await self._database.fetch(sql.DELIVERIES, turn_id)
        return _events(steps, delivered)

    async def expired(self, most: int) -> list[Row]:
        """Open turns whose lease or whose wait has run out: (id, state, attempt,
        whether a process was lost over it)."""
        return await self._database.fetch(sql.EXPIRED, most)

    async def end(
        self,
        turn_id: TurnId,
        state: str,
        error: Mapping[str, Json],
        *,
        among: Sequence[str],
        expired: bool = False,
    ) -> bool:
        """End a turn from outside if it is in one of the states `among`. Whether it was."""
        row = await self._database.fetchrow(
            sql.END, turn_id, encoded(error), list(among), state, expired
        )
        if row is None:
            return False
        changed = partial(self._announcer.changed, row["conversation_id"], row["version"])
        self._database.after_commit(changed)
        return True

    async def drive(self, conversation_id: UUID, drive: str) -> list[TurnId]:
        """Say who answers in a conversation. The turns that nobody needs to wait for any more."""
        async with self._database.joined():
            await self._database.execute(sql.LOCK, conversation_id)
            row = await self._database.fetchrow(sql.DRIVE, conversation_id, drive)
        if row is None:
            return []
        changed = partial(self._announcer.changed, conversation_id, row["version"])
        self._database.after_commit(changed)
        return [TurnId(turn_id) for turn_id in row["freed"]]

    # ---- titles ----------------------------------------------------------------------------------

    async def untitled(self, conversation_id: UUID) -> tuple[str, str | None] | None:
        """The first words of a conversation that has no title, and who replies in it."""
        row = await self._database.fetchrow(sql.UNTITLED, conversation_id)
        return (row["text"], row["model_id"]) if row else None

    async def entitle(self, conversation_id: UUID, title: str) -> None:
        if row := await self._database.fetchrow(sql.ENTITLE, conversation_id, title):
            self._announcer.changed(conversation_id, row["version"])


def encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _step(lease: Lease, step: StepRecord | None) -> tuple[object, ...]:
    """The parameters $1 to $12 of a statement that may write a step."""
    head = (lease.conversation_id, lease.turn_id, lease.fence)
    if step is None:
        return (*head, None, None, None, None, None, 0, 0, None, 0.0)
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
    """From newest first to oldest first."""
    return [
        Entry(
            role=row["role"],
            from_id=row["from_id"],
            to_id=row["to_id"],
            text=row["text"],
            version=row["version"],
            turn_id=row["turn_id"],
            step_id=row["step_id"],
            parts=None if row["parts"] is None else msgspec.json.decode(row["parts"]),
            files=() if row["files"] is None else _files.decode(row["files"]),
        )
        for row in reversed(rows)
    ]


def _stored(row: Row) -> StoredTurn:
    return StoredTurn(
        id=row["id"],
        conversation_id=row["conversation_id"],
        reply_id=row["reply_interaction_id"],
        responder=row["responder"],
        seq=row["seq"],
        state=row["state"],
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
        shown=None if row["shown"] is None else Status(row["shown"]),
    )


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
