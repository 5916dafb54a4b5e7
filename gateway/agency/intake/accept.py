"""The rows of a turn that begins: what is read before, and what accepting it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import monotonic
from uuid import UUID

import msgspec

from gateway.agency.intake import sql_accept as sql
from gateway.agency.ledger.ledger import CONTEXT_ROWS, Ledger
from gateway.agency.ledger.rows import MANUAL, Lease, Taken, encoded, entries_of, uuids
from gateway.agency.model import Json
from gateway.agency.speech.prompt import Entry
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turn.lineage import BUSY, Fork, Match
from gateway.agency.turn.request import Ask
from gateway.auth import Principal, Scope
from gateway.conversation.raising import announce
from gateway.errors import Unavailable
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.streams.announcer import Announcer

FIRST = 1
"""The fence of a turn that is run as it is accepted."""


class NewInteraction(msgspec.Struct, frozen=True):
    """`owner` is (type, identifier); `done` when its text is complete. `provider` is None where the
    conversation's holds."""

    id: UUID
    owner: tuple[str, str]
    content: str
    model_id: str | None
    parts: Sequence[Mapping[str, Json]] | None = None
    done: bool = True
    file_ids: Sequence[UUID] = ()
    provider: str | None = None


class EntryMessage(msgspec.Struct, frozen=True):
    """A message of the entry agent's context that comes from the API or belongs to its answers."""

    id: UUID
    role: str
    from_id: int | None
    to_id: int | None
    interaction_id: UUID | None = None
    text: str | None = None
    imported: bool = False


class NewTurn(msgspec.Struct, frozen=True):
    """All rows that accepting a turn writes."""

    turn_id: TurnId
    conversation_id: UUID
    responder: str
    agency_id: int
    revision: int
    entry: int
    key_id: str
    principal: str
    title: str
    interactions: Sequence[NewInteraction]
    messages: Sequence[EntryMessage]
    system_message_id: UUID | None
    history_hash: bytes | None
    request_hash: bytes
    ask: Ask
    metadata: Mapping[str, str]

    @property
    def has_files(self) -> bool:
        """True if the texts of files must be read from the rows."""
        return any(said.file_ids for said in self.interactions)


@dataclass(frozen=True, slots=True)
class Begun:
    """A turn that was accepted. `context` is what the entry agent had before it, `manual` whether
    its conversation is driven by hand. `asked_at` is when its lease was asked for: see
    `Ledger.is_late`."""

    asked_at: float
    lease: Lease
    created_at: datetime
    context: list[Entry]
    manual: bool


class Intake:
    """Accepts turns for one process, whose name is `node`. `lease` is in seconds. What it has
    committed it announces."""

    def __init__(
        self, database: Database, ledger: Ledger, node: str, lease: float, announcer: Announcer
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._node = node
        self._lease = lease
        self._announcer = announcer

    async def matches(self, hashes: Sequence[bytes], principal: Principal) -> list[Match]:
        """Returns at most `BUSY` matches for each hash, in conversations of the caller's."""
        whose = principal.user, principal.may(Scope.ACT_AS)
        rows = await self._database.fetch(sql.MATCHES, list(hashes), BUSY, *whose)
        return [_match(row) for row in rows]

    async def seen(
        self, request_hash: bytes, agency: AgencySpec, principal: Principal, *, retry: bool
    ) -> TurnId | None:
        """The turn that the same request began, if it is open to this caller. A `retry` is given
        turns that run or have been answered, too."""
        believed = principal.key_id, int(agency.id), agency.revision
        row = await self._database.fetchrow(sql.SEEN, request_hash, retry, *believed)
        return TurnId(row["id"]) if row else None

    async def begin(self, turn: NewTurn) -> Begun | None:
        """The first turn of a new conversation. None if what it rests on is no longer true."""
        asked_at = monotonic()
        accepted = *self._accepted(turn), turn.principal, turn.ask.provider
        rows = await self._write(turn, sql.BEGIN, turn.title, *accepted)
        return self._begun(turn, asked_at, rows[0], []) if rows else None

    async def open(self, turn: NewTurn, drive: str, source: UUID | None) -> Begun | None:
        """A session's turn, in a conversation of its own. None if what it rests on is no longer
        true."""
        accepted = *self._accepted(turn), turn.principal, turn.ask.provider, source, drive
        asked_at = monotonic()
        rows = await self._write(turn, sql.OPEN, turn.title, *accepted)
        return self._begun(turn, asked_at, rows[0], []) if rows else None

    async def continue_(self, turn: NewTurn, version: int, *, read: bool) -> Begun | None:
        """The next turn of a conversation found at `version`; the context is empty unless it is to
        be `read`. None if the conversation has moved on, or what the turn rests on is no longer
        true."""
        accepted = version, *self._accepted(turn)
        asked_at = monotonic()
        if not read:
            rows = await self._write(turn, sql.CONTINUE, *accepted)
            return self._begun(turn, asked_at, rows[0], []) if rows else None
        rows = await self._write(turn, sql.CONTINUE_READING, *accepted, CONTEXT_ROWS)
        if not rows:
            return None
        context = entries_of([row for row in rows if row["role"] is not None])
        return self._begun(turn, asked_at, rows[0], context)

    async def _write(self, turn: NewTurn, statement: str, *parameters: object) -> list[Row]:
        """Run an accepting statement. If its answer is lost but its rows stand, the turn is
        dropped, so that somebody takes it up."""
        drop = partial(self._ledger.drop, Taken(turn.turn_id, FIRST))
        self._database.in_doubt(drop)
        try:
            return await self._database.fetch(statement, turn.conversation_id, *parameters)
        except Unavailable:
            drop()
            raise

    async def fork(self, fork: Fork, copy: UUID) -> Match | None:
        """Copy a conversation up to a turn. The same place in the copy; None if it is gone."""
        match = fork.match
        root = match.root_id if fork.related else copy
        row = await self._database.fetchrow(
            sql.FORK, match.conversation_id, copy, match.seq, match.turn_id, root
        )
        if row is None:
            return None
        return replace(
            match,
            conversation_id=copy,
            root_id=root,
            version=row["version"],
            system_message_id=row["system_message_id"],
        )

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """A transaction for a fork, which takes more than one statement."""
        return self._database.joined()

    def _begun(self, turn: NewTurn, asked_at: float, row: Row, context: list[Entry]) -> Begun:
        version = row["begun_at_version"]
        announce(self._database, self._announcer, turn.conversation_id, version)
        reply_id = turn.interactions[-1].id
        lease = Lease(turn.turn_id, turn.conversation_id, FIRST, version, reply_id)
        return Begun(asked_at, lease, row["begun_at"], context, row["drive"] == MANUAL)

    def _accepted(self, turn: NewTurn) -> tuple[object, ...]:
        """The parameters $3 to $33 of an accepting statement."""
        said = turn.interactions
        return (
            turn.key_id,
            turn.agency_id,
            turn.revision,
            [i.id for i in said],
            [i.owner[0] for i in said],
            [i.owner[1] for i in said],
            [i.content for i in said],
            [None if i.parts is None else encoded(i.parts) for i in said],
            [i.model_id for i in said],
            [i.done for i in said],
            [uuids(i.file_ids) for i in said],
            turn.turn_id,
            turn.responder,
            said[-2].id,
            said[-1].id,
            turn.system_message_id,
            self._node,
            self._lease,
            turn.history_hash,
            turn.request_hash,
            encoded(turn.ask),
            encoded(turn.metadata) if turn.metadata else None,
            turn.principal,
            turn.entry,
            *_told(turn),
        )


def _told(turn: NewTurn) -> tuple[Sequence[object], ...]:
    """The columns of a turn's first messages."""
    told = turn.messages
    return (
        [m.id for m in told],
        [None if m.imported else turn.turn_id for m in told],
        [m.interaction_id for m in told],
        [m.role for m in told],
        [m.from_id for m in told],
        [m.to_id for m in told],
        [m.text for m in told],
    )


def _match(row: Row) -> Match:
    return Match(
        turn_id=row["id"],
        conversation_id=row["conversation_id"],
        root_id=row["root_id"],
        seq=row["seq"],
        history_hash=row["history_hash"],
        followed=row["followed"],
        deleted=row["deleted"],
        version=row["version"],
        system_message_id=row["system_message_id"],
        system=row["system"],
    )
