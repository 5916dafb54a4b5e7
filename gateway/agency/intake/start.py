"""How a turn that waits in a conversation is begun: from one read of all that this rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import cast
from uuid import UUID

import msgspec

from gateway import ids
from gateway.agency.intake import sql_queue as sql
from gateway.agency.intake.responder import team_of
from gateway.agency.ledger.context_cache import ContextCache
from gateway.agency.ledger.ledger import CONTEXT_ROWS, Ledger
from gateway.agency.ledger.outcome import describe
from gateway.agency.ledger.rows import StoredTurn, entries_of, stored
from gateway.agency.speech.parts import Parts, speaker
from gateway.agency.speech.parts import role as role_of_result
from gateway.agency.speech.prompt import END_USER, Entry
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import PLAIN_MODEL, AgencySpec
from gateway.agency.turn import lineage
from gateway.agency.turn.events import ASKED, Delivery
from gateway.agency.turn.request import Public, is_model
from gateway.conversation.raising import LOCK, announce
from gateway.conversation.rooms.participants import Status
from gateway.conversation.turn_states import TurnState
from gateway.errors import TurnCancelled
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.streams.announcer import Announcer


@dataclass(frozen=True, slots=True)
class Answering:
    """The responder that a message names, and its team; None if that was deleted."""

    responder: str
    team: AgencySpec | None


@dataclass(frozen=True, slots=True)
class Started:
    """A queued turn that has become ours, as its rows are now. `team` is None if it must be read
    again; so must what happened in the turn then. `inbound` is what its entry agent is asked.
    `contexts` holds what is known already, by agent; if the conversation is `fresh`, the others
    have said and heard nothing. `asked_at` is when its lease was asked for: see
    `Ledger.is_late`."""

    asked_at: float
    turn: StoredTurn
    team: AgencySpec | None = None
    inbound: Sequence[Delivery] = ()
    contexts: dict[int, list[Entry]] = field(default_factory=dict)
    fresh: bool = False


class _Unheard(msgspec.Struct, frozen=True):
    """An interaction that the entry agent has not heard: see `sql_queue`."""

    id: UUID
    owner_type: str
    content: str
    parts: object
    own: bool
    asked: bool
    odd: bool

    @property
    def public(self) -> Public:
        parts = cast("Parts", self.parts)
        role = "user" if self.owner_type == "user" else "assistant"
        return Public(role_of_result(parts) or role, self.content, parts)

    @property
    def told(self) -> bool:
        """True for plain text that the end user says in this turn."""
        return self.asked and not (self.own or self.odd)


_unheard = msgspec.json.Decoder(list[_Unheard])


class Starter:
    """Starts queued turns, for one process, whose name is `node`. `lease` is in seconds."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        catalog: Catalog,
        announcer: Announcer,
        cache: ContextCache,
        *,
        node: str,
        lease: float,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._catalog = catalog
        self._announcer = announcer
        self._cache = cache
        self._node = node
        self._lease = lease

    async def start(
        self, conversation_id: UUID, answering: Answering | None = None
    ) -> Started | None:
        """Make the next turn ours, if one is queued and none is running. A suspended one is not
        waited for: its client has gone. `answering` is who is likely to have that turn, from a
        message that was accepted in this same transaction; so the conversation is locked."""
        async with self._database.joined():
            if answering is None and not await self._lock(conversation_id):
                return None
            found = await self._next(conversation_id)
            if found is None or found["busy"] or not found["ours"]:
                return None
            if found["suspended"]:
                for turn_id in found["suspended"]:
                    await self._give_up(turn_id)
                found = await self._next(conversation_id)
            return None if found is None else await self._start(found, answering)

    async def _lock(self, conversation_id: UUID) -> bool:
        return await self._database.fetchrow(LOCK, conversation_id) is not None

    async def _next(self, conversation_id: UUID) -> Row | None:
        return await self._database.fetchrow(sql.NEXT, conversation_id, self._node, self._lease)

    async def _give_up(self, turn_id: TurnId) -> None:
        error = describe(TurnCancelled("Its client went on without it."))
        await self._ledger.end(turn_id, TurnState.CANCELLED, error, among=[TurnState.SUSPENDED])

    async def _start(self, found: Row, answering: Answering | None) -> Started:
        conversation_id, entry = found["conversation_id"], found["entry"]
        unheard = [] if found["unheard"] is None else _unheard.decode(found["unheard"])
        history_hash = _history_hash(found, unheard)
        asked_at = monotonic()
        started = (
            conversation_id,
            found["id"],
            self._node,
            self._lease,
            history_hash,
            entry,
            [ids.new() for _ in unheard],
            [said.id for said in unheard],
            [said.own for said in unheard],
            [said.asked for said in unheard],
        )
        plain = is_model(found["responder"])
        statement = sql.START_READING if plain else sql.START
        place = (found["seq"], CONTEXT_ROWS) if plain else ()
        rows = await self._database.fetch(statement, *started, *place)
        row = rows[0]
        announce(self._database, self._announcer, conversation_id, row["started_at"])
        turn = replace(
            stored(found),
            state=TurnState.RUNNING,
            fence=row["fence"],
            version=row["started_at"],
            history_hash=history_hash,
            shown=None if found["shown"] is None else Status.THINKING,
        )
        self._database.in_doubt(partial(self._ledger.drop, turn.taken))
        team = await self._team(turn.responder, answering)
        if plain and team is not None:
            said = entries_of([row for row in rows if row["role"] is not None])
            return Started(asked_at, turn, team, ASKED, {PLAIN_MODEL: said})
        if team is None or team.manager_id != entry:
            return Started(asked_at, turn)
        inbound = [Delivery(END_USER, entry, one.content) for one in unheard if one.told]
        if len(inbound) < len(unheard):
            return Started(asked_at, turn)
        known = self._known(found, turn, unheard, just_queued=answering is not None)
        return Started(asked_at, turn, team, inbound, *known)

    async def _team(self, responder: str, answering: Answering | None) -> AgencySpec | None:
        if answering is not None and answering.responder == responder:
            return answering.team
        return await team_of(responder, self._catalog)

    def _known(
        self, found: Row, turn: StoredTurn, unheard: Sequence[_Unheard], *, just_queued: bool
    ) -> tuple[dict[int, list[Entry]], bool]:
        """The contexts that need not be read, and whether the others are empty. What this process
        remembers is good if nothing but the message has come since: if that was queued by this
        transaction, and is the only version more."""
        entry = found["entry"]
        new = [_entry(said, entry, turn) for said in unheard]
        if found["fresh"]:
            return {entry: new}, True
        before = found["found_at"] - 1
        remembered = self._cache.recall(turn.conversation_id, before) if just_queued else None
        if remembered is None:
            return {}, False
        contexts = dict(remembered.contexts)
        if remembered.all or entry in contexts:
            contexts[entry] = [*contexts.get(entry, ()), *new]
        return contexts, remembered.all

    async def stranded(self, most: int) -> list[UUID]:
        """Conversations in which the next turn is ours to start."""
        rows = await self._database.fetch(sql.STRANDED, self._node, self._lease, most)
        return [row["conversation_id"] for row in rows]


def _history_hash(found: Row, unheard: Sequence[_Unheard]) -> bytes | None:
    """The hash of the public history up to the input. None unless all of it is in turns that an
    OpenAI client may have behind it."""
    if found["before_hash"] is None or found["before_state"] != TurnState.COMPLETED:
        return None
    if found["before_responder"] != found["responder"]:
        return None
    return lineage.extend(found["before_hash"], [said.public for said in unheard])


def _entry(said: _Unheard, entry: int, turn: StoredTurn) -> Entry:
    parts = said.public.parts
    return Entry(
        role="user",
        from_id=None,
        to_id=entry,
        text=said.content,
        version=turn.version,
        turn_id=turn.id,
        parts=parts,
        by=speaker(parts),
    )
