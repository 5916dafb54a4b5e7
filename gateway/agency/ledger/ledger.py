"""The rows of turns that were accepted: each thing that they write, and how they are taken up.

Times of leases are the database's. Every write of a running turn goes through a `Lease` and raises
`Fenced` if another process has taken the turn, or somebody ended it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from time import monotonic
from typing import Protocol
from uuid import UUID

from gateway import ids
from gateway.agency.ledger import sql_read, sql_write
from gateway.agency.ledger.observer import Observer
from gateway.agency.ledger.rows import (
    MANUAL,
    Ended,
    Lease,
    Past,
    StepRecord,
    StoredTurn,
    Taken,
    Written,
    encoded,
    entries_of,
    message_columns,
    past_of,
    step_columns,
    stored,
)
from gateway.agency.model import Json, Usage
from gateway.agency.speech.prompt import Entry
from gateway.agency.turn.events import Delivery, Question
from gateway.conversation.raising import LOCK, announce
from gateway.conversation.rooms.participants import Status
from gateway.conversation.turn_states import TurnState
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.streams.announcer import Announcer

CONTEXT_ROWS = 1000
"""The newest messages of a context that a prompt is made from. What bounds a prompt is the agent's
budget; this bounds what is read for it: see `docs/decisions/0005`."""
SESSION_WAIT = 3600.0
"""Seconds that a session waits for an answer."""


OUTSIDE = "outside"
"""In the place of a model and of its provider, where somebody outside has answered."""


class Fenced(Exception):
    """The turn is no longer this runner's: whatever it was about to write must not be."""


class Rounds(Protocol):
    """What comes after several have answered the same: see `intake.rounds`."""

    async def turn_ended(self, turn_id: UUID) -> bool:
        """A turn of a room ends, in this transaction. Returns True if others are to answer now."""
        ...


class Ledger:
    """Reads and writes turns for one process, whose name is `node`. `lease` is in seconds. What it
    has committed it announces, and tells the observer."""

    def __init__(
        self,
        database: Database,
        node: str,
        lease: float,
        announcer: Announcer,
        observer: Observer,
        rounds: Rounds,
    ) -> None:
        self._database = database
        self._node = node
        self._lease = lease
        self._announcer = announcer
        self.observer = observer
        self._rounds = rounds
        self._dropped: list[Taken] = []

    def is_late(self, asked_at: float) -> bool:
        """Returns True if this process was held up after it asked for a lease, so that another may
        have the turn by now. The caller then reads the rows. `asked_at` is of the monotonic clock,
        in seconds."""
        return monotonic() - asked_at > self._lease / 2

    # ---- during a turn ---------------------------------------------------------------------------

    async def context(self, conversation_id: UUID, agent: int) -> list[Entry]:
        """An agent's context, oldest first."""
        return entries_of(
            await self._database.fetch(sql_read.CONTEXT, conversation_id, agent, CONTEXT_ROWS)
        )

    async def chain(self, conversation_id: UUID, turn_id: TurnId) -> list[Entry]:
        """Returns all that was said before a plain model's reply, oldest first."""
        return entries_of(
            await self._database.fetch(
                sql_read.CHAIN_OF_TURN, conversation_id, turn_id, CONTEXT_ROWS
            )
        )

    async def advance(
        self, lease: Lease, step: StepRecord | None, deliveries: Sequence[Delivery]
    ) -> Written:
        """Write a step and what it caused, or what no step said."""
        row = await self._written(
            lease, sql_write.ADVANCE, *step_columns(lease, step), *message_columns(deliveries)
        )
        if step is not None:
            self.observer.step_ended(lease, step)
        return Written(row["version"], row["drive"] == MANUAL)

    async def park(self, lease: Lease, question: Question) -> bool:
        """Leave the turn to whoever answers this. False if the engine is to go on itself."""
        head = lease.conversation_id, lease.turn_id, lease.fence
        row = await self._written(lease, sql_write.PARK, *head, encoded(question), SESSION_WAIT)
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
        statement = sql_write.COMPLETE if lease.shown is None else sql_write.COMPLETE_IN_ROOM
        columns = *step_columns(lease, step), ids.new(), text, finish_reason, history_hash
        async with self._among_others(lease):
            row = await self._written(lease, statement, *columns)
            followed = await self._is_followed(lease, row)
        tell = self._database.after_commit
        tell(partial(self.observer.step_ended, lease, step))
        tell(partial(self.observer.turn_ended, lease.turn_id, TurnState.COMPLETED, None))
        return Ended(row["version"], followed, row["untitled"])

    async def fail(
        self, lease: Lease, step: StepRecord | None, error: Mapping[str, Json], text: str
    ) -> Ended:
        """End the turn without an answer; `text` is what had been said of it."""
        statement = sql_write.FAIL if lease.shown is None else sql_write.FAIL_IN_ROOM
        columns = *step_columns(lease, step), encoded(error), text
        async with self._among_others(lease):
            row = await self._written(lease, statement, *columns)
            followed = await self._is_followed(lease, row)
        if step is not None:
            self.observer.step_ended(lease, step)
        self.observer.turn_ended(lease.turn_id, TurnState.FAILED, error)
        return Ended(row["version"], followed, row["untitled"])

    @asynccontextmanager
    async def _among_others(self, lease: Lease) -> AsyncIterator[None]:
        """Have a reply take its place among those to the same message, as it is shown."""
        if not lease.in_room:
            yield
            return
        async with self._database.joined():
            await self._database.execute(LOCK, lease.conversation_id)
            await self._database.execute(sql_write.TAKE_PLACE, lease.turn_id)
            yield

    async def _is_followed(self, lease: Lease, row: Row) -> bool:
        return bool(row["followed"]) | (
            lease.in_room and await self._rounds.turn_ended(lease.turn_id)
        )

    async def show(self, lease: Lease, status: Status) -> None:
        """Show what the responder, a participant, does. Its reply is shown once it writes."""
        place = lease.conversation_id, lease.turn_id, lease.fence
        speaks = status is Status.WRITING
        async with self._among_others(lease) if speaks else nullcontext():
            row = await self._written(lease, sql_write.SHOW, *place, status)
        if not row["shown"]:
            raise Fenced

    async def suspend(self, lease: Lease, seconds: float) -> None:
        """Keep a turn that nobody listens to for a client that comes back."""
        row = await self._database.fetchrow(sql_write.SUSPEND, lease.turn_id, lease.fence, seconds)
        if row is not None:
            announce(self._database, self._announcer, row["id"], row["version"])

    def drop(self, turn: Taken) -> None:
        """A turn that is ours in the rows, as far as we know, and that nobody here runs."""
        self._dropped.append(turn)

    async def release_dropped(self) -> bool:
        """Give up the leases of turns that were dropped. True if there were any."""
        released = bool(self._dropped)
        while self._dropped:
            dropped = tuple(self._dropped)
            turns, fences = [one.turn_id for one in dropped], [one.fence for one in dropped]
            await self._database.execute(sql_write.RELEASE, turns, fences)
            self._dropped = self._dropped[len(dropped) :]
        return released

    async def release_all(self) -> None:
        """Give up every turn of this process that nobody needs to wait for, those too that it was
        about to run."""
        await self._database.execute(sql_write.RELEASE_ALL, self._node)

    async def renew(self, leases: Sequence[Lease]) -> set[UUID]:
        """Renew leases; the turns that are no longer ours."""
        turns, fences = [lease.turn_id for lease in leases], [lease.fence for lease in leases]
        rows = await self._database.fetch(sql_write.RENEW, turns, fences, self._lease)
        return {row["id"] for row in rows}

    async def save(self, texts: Sequence[tuple[Lease, str]]) -> None:
        """Keep what replies say so far. It makes no version: those who follow are told the words
        themselves."""
        leases = [lease for lease, _ in texts]
        await self._database.execute(
            sql_write.SAVE,
            [lease.turn_id for lease in leases],
            [lease.fence for lease in leases],
            [text for _, text in texts],
        )

    async def _written(self, lease: Lease, statement: str, *parameters: object) -> Row:
        row = await self._database.fetchrow(statement, *parameters)
        if row is None:
            raise Fenced
        announce(self._database, self._announcer, lease.conversation_id, row["version"])
        return row

    # ---- taking up a turn ------------------------------------------------------------------------

    async def turn(self, turn_id: TurnId) -> StoredTurn | None:
        row = await self._database.fetchrow(sql_read.TURN, turn_id)
        return stored(row) if row else None

    async def is_void(self, turn_id: UUID) -> bool:
        """Returns True if a turn ended without an answer, or is gone."""
        row = await self._database.fetchrow(sql_read.VOID, turn_id)
        return row is None or bool(row["void"])

    async def take(self, turn_id: TurnId, attempts: int) -> Taken | None:
        """Make a turn that nobody runs ours. None if somebody was faster."""
        row = await self._database.fetchrow(
            sql_write.TAKE, turn_id, self._node, self._lease, attempts
        )
        if row is None:
            return None
        announce(self._database, self._announcer, row["id"], row["version"])
        return None if row["fence"] is None else Taken(turn_id, row["fence"])

    async def past(self, turn_id: TurnId) -> Past:
        """Returns what happened in a turn so far."""
        steps = await self._database.fetch(sql_read.STEPS, turn_id)
        delivered = await self._database.fetch(sql_read.DELIVERIES, turn_id)
        return past_of(steps, delivered)

    async def expired(self, most: int) -> list[Row]:
        """Open turns whose lease or whose wait has run out: (id, state, attempts
        since the last finished step, whether a process was lost over it)."""
        return await self._database.fetch(sql_write.EXPIRED, most)

    async def end(
        self,
        turn_id: TurnId,
        state: TurnState,
        error: Mapping[str, Json],
        *,
        among: Sequence[TurnState],
        expired: bool = False,
    ) -> bool:
        """End a turn from outside if it is in one of the states `among`. Whether it was."""
        ending = turn_id, encoded(error), list(among), state, expired
        async with self._database.joined():
            found = await self._database.fetchrow(sql_write.LOCK_OF_TURN, turn_id)
            in_room = found is not None and found["in_room"]
            if in_room:
                await self._database.execute(sql_write.TAKE_PLACE, turn_id)
            row = await self._database.fetchrow(sql_write.END, *ending)
            if row is None:
                return False
            announce(self._database, self._announcer, row["conversation_id"], row["version"])
            self._database.after_commit(partial(self.observer.turn_ended, turn_id, state, error))
            if in_room:
                await self._rounds.turn_ended(turn_id)
            return True

    async def drive(self, conversation_id: UUID, drive: str) -> list[TurnId]:
        """Say who answers in a conversation. The turns that nobody needs to wait for any more."""
        async with self._database.joined():
            await self._database.execute(LOCK, conversation_id)
            row = await self._database.fetchrow(sql_write.DRIVE, conversation_id, drive)
        if row is None:
            return []
        announce(self._database, self._announcer, conversation_id, row["version"])
        return [TurnId(turn_id) for turn_id in row["freed"]]

    async def answered_outside(self, turn: StoredTurn, agent: int, text: str) -> Ended:
        """Write the answer that somebody outside gives in a responder's place. The conversation is
        locked, and the turn waits."""
        row = await self._database.fetchrow(sql_write.RESUME, turn.id, self._node, self._lease)
        if row is None:
            raise Fenced
        place = turn.id, turn.conversation_id, row["fence"], turn.version, turn.reply_id
        step = StepRecord(ids.new(), agent, OUTSIDE, OUTSIDE, turn.version, Usage(), 0.0)
        return await self.complete(
            Lease(*place, turn.shown, turn.in_room), step, text, "stop", None
        )

    async def free(self, conversation_id: UUID, responder: str) -> list[TurnId]:
        """A bot is driven by hand no more. Its turns that nobody needs to wait for any more."""
        async with self._database.joined():
            await self._database.execute(LOCK, conversation_id)
            row = await self._database.fetchrow(sql_write.FREE, conversation_id, responder)
        if row is None:
            return []
        announce(self._database, self._announcer, conversation_id, row["version"])
        return [TurnId(turn_id) for turn_id in row["freed"]]

    # ---- titles ----------------------------------------------------------------------------------

    async def untitled(self, conversation_id: UUID) -> tuple[str, str | None] | None:
        """The first words of a conversation that has no title, and who replies in it."""
        row = await self._database.fetchrow(sql_read.UNTITLED, conversation_id)
        return (row["text"], row["model_id"]) if row else None

    async def entitle(self, conversation_id: UUID, title: str) -> None:
        if row := await self._database.fetchrow(sql_write.ENTITLE, conversation_id, title):
            announce(self._database, self._announcer, conversation_id, row["version"])
