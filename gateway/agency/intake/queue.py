"""Conversations that are named: what is said to one is accepted at once, and waits there until the
turns before it have ended."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import cast
from uuid import UUID

import msgspec

from gateway import ids
from gateway.agency.intake import sql_queue as sql
from gateway.agency.intake.accept import NewInteraction
from gateway.agency.intake.attachments import Attachments
from gateway.agency.intake.members import member_of, responder_of
from gateway.agency.intake.responder import check, remembered, team_of
from gateway.agency.ledger.context_cache import ContextCache
from gateway.agency.ledger.ledger import CONTEXT_ROWS, Ledger
from gateway.agency.ledger.outcome import describe
from gateway.agency.ledger.rows import StoredTurn, encoded, entries_of, stored, uuids
from gateway.agency.speech.parts import Parts, speaker
from gateway.agency.speech.parts import role as role_of_result
from gateway.agency.speech.prompt import END_USER, Entry
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turn import lineage
from gateway.agency.turn.request import Ask, Posted, Public, RoomMessage, is_model
from gateway.agency.turn.rules import Delivery
from gateway.auth import Principal
from gateway.conversation.absence import absent
from gateway.conversation.assets.skill_sets import SkillSet, SkillSets
from gateway.conversation.raising import announce
from gateway.conversation.rooms.participants import Member, Participants, Status
from gateway.conversation.rooms.rights import Right, demand, standing
from gateway.conversation.store import Conversation
from gateway.conversation.turn_states import TurnState
from gateway.errors import InvalidRequest, NotFound, TurnCancelled, Unauthenticated
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.streams.announcer import Announcer

_CONVERSATION_AT = 7
"""Where the columns of a conversation begin in a row of `sql_queue.LOCK`."""


class NoResponder(InvalidRequest):
    """A message names nobody who is to answer, and its conversation has no model of its own."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is said to a conversation, by whom, and whom it is put to. If it is `attended`, its
    client waits for the reply, and it is nobody's wish once the client has gone. `agency` is what
    is believed of the responder; None where it need not be checked. If `silently`, replies are not
    shown before they begin to speak."""

    conversation_id: UUID
    asked: Mapping[str, Ask]
    principal: Principal
    inputs: Sequence[Public]
    request_hash: bytes
    attended: bool
    agency: AgencySpec | None = None
    system: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    file_ids: Sequence[UUID] = ()
    skill_set_ids: Sequence[UUID] = ()
    silently: bool = False


@dataclass(frozen=True, slots=True)
class Locked:
    """A conversation in which nobody else says something, and the client's system message that is
    in force there."""

    conversation: Conversation
    system_message_id: UUID | None
    system: str | None


@dataclass(frozen=True, slots=True)
class Answering:
    """Who is asked to answer, and the team behind that; None for a model."""

    responder: str
    team: AgencySpec | None


@dataclass(frozen=True, slots=True)
class Posting:
    """A message that was accepted. `answering` is None if the same request was accepted before;
    `response` is its first answer, if it had one."""

    turn_id: TurnId
    conversation_id: UUID
    input_id: UUID
    reply_id: UUID
    response: bytes | None = None
    answering: Answering | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A queued turn that has become ours, as its rows are now. `team` is None for a model, and if
    it must be read again; so must what happened in the turn then. `inbound` is what its entry agent
    is asked. `contexts` holds what is known already, by agent; if the conversation is `fresh`, the
    others have said and heard nothing. `said` is what a plain model is told. `asked_at` is when its
    lease was asked for: see `Ledger.is_late`."""

    asked_at: float
    turn: StoredTurn
    team: AgencySpec | None = None
    inbound: Sequence[Delivery] = ()
    contexts: dict[int, list[Entry]] = field(default_factory=dict)
    fresh: bool = False
    said: Sequence[Entry] = ()


class _Unheard(msgspec.Struct, frozen=True):
    """What the entry agent has not heard: see `sql_queue`."""

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
        """Whether it is the end user's text of this turn, as it stands."""
        return self.asked and not (self.own or self.odd)


_unheard = msgspec.json.Decoder(list[_Unheard])


@dataclass(frozen=True, slots=True)
class _Queued:
    """A message that was written, the turns that wait, and their replies."""

    input_id: UUID
    turns: Sequence[TurnId]
    replies: Sequence[UUID]


class Queue:
    """For one process, whose name is `node`. `lease` is in seconds."""

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
        self.attachments = Attachments(database)
        self._skill_sets = SkillSets(database)
        self._participants = Participants(database, announcer)
        self._database = database
        self._ledger = ledger
        self._catalog = catalog
        self._announcer = announcer
        self._cache = cache
        self._node = node
        self._lease = lease

    def transaction(self) -> AbstractAsyncContextManager[None]:
        return self._database.joined()

    def after_commit(self, act: Callable[[], None]) -> None:
        self._database.after_commit(act)

    # ---- accepting -------------------------------------------------------------------------------

    async def lock(self, conversation_id: UUID, principal: Principal) -> Locked:
        """Keep others from saying something in a conversation that the caller may write in, until
        the end of the transaction. Raises NotFound, Forbidden, and Unauthenticated for a key that
        was believed."""
        key, user = principal.key_id, principal.user
        found = await self._database.fetchrow(sql.LOCK, conversation_id, key, user)
        lives = await self._lives(principal) if found is None else found["key_lives"]
        if not lives:
            raise Unauthenticated("This API key is not valid, or no longer.")
        demand(standing(found, conversation_id, principal), Right.ADD_MESSAGE)
        if found is None:
            raise absent(ids.CONVERSATION, [conversation_id])
        conversation = Conversation(*found[_CONVERSATION_AT:])
        return Locked(conversation, found["system_message_id"], found["system"])

    async def _lives(self, principal: Principal) -> bool:
        return await self._database.fetchrow(sql.KEY_LIVES, principal.key_id) is not None

    async def post(
        self, message: Posted, found: Locked, principal: Principal, turn_id: TurnId
    ) -> Posting:
        """Accept a message that nobody needs to wait for; this turn answers it. Raises NotFound,
        InvalidRequest, of which NoResponder is one."""
        async with self.transaction():
            responder = message.responder or found.conversation.model_id
            if not responder:
                raise NoResponder("The message names no model, and its conversation has none.")
            await self.attachments.check(message.file_ids, principal)
            skills = await self._skill_sets.get(message.skill_set_ids, principal.user)
            letter = Letter(
                conversation_id=message.conversation_id,
                asked={responder: Ask(responder, skills=_prompts(skills))},
                principal=principal,
                inputs=(Public("user", message.content),),
                request_hash=secrets.token_bytes(32),  # it comes again by its claim alone
                attended=False,
                agency=await remembered(responder, self._catalog, principal),
                file_ids=message.file_ids,
                skill_set_ids=message.skill_set_ids,
            )
            team, queued = letter.agency, await self._queue(letter, found, [turn_id])
            if queued is None or team is None:
                team = await check(responder, self._catalog, principal)
            if queued is None:
                queued = await self._queue(replace(letter, agency=None), found, [turn_id])
            if queued is None:
                raise LookupError("a message that rests on nothing was refused")
            place = message.conversation_id, queued.input_id, queued.replies[0]
            return Posting(turn_id, *place, answering=Answering(responder, team))

    async def accept(self, letter: Letter) -> Posting | None:
        """Write a message and its turn, which is queued. Raises NotFound. None: what it rested on
        has changed, or the same request is suspended already."""
        async with self.transaction():
            found = await self.lock(letter.conversation_id, letter.principal)
            queued = await self._queue(letter, found, [TurnId(ids.new())])
            if queued is None:
                return None
            (turn_id,), (reply_id,) = queued.turns, queued.replies
            return Posting(turn_id, letter.conversation_id, queued.input_id, reply_id)

    async def say(self, message: RoomMessage, principal: Principal) -> UUID:
        """Accept a message that all bots of a conversation answer. Its id. Raises NotFound,
        InvalidRequest."""
        await self.attachments.check(message.file_ids, principal)
        async with self.transaction():
            found = await self.lock(message.conversation_id, principal)
            letter = Letter(
                conversation_id=message.conversation_id,
                asked={
                    responder: Ask(responder, silence=True)
                    for member in await self._participants.bots(message.conversation_id)
                    if (responder := await self._answering(member, principal))
                },
                principal=principal,
                inputs=(Public("user", message.content),),
                request_hash=secrets.token_bytes(32),
                attended=False,
                file_ids=message.file_ids,
                silently=True,
            )
            queued = await self._queue(letter, found, [TurnId(ids.new()) for _ in letter.asked])
            if queued is None:
                raise LookupError("a message that rests on nothing was refused")
            return queued.input_id

    async def _answering(self, member: Member, principal: Principal) -> str | None:
        """Who answers for a participant. An agency that may be used no more stays silent."""
        if (responder := responder_of(member)) is not None:
            try:
                await check(responder, self._catalog, principal)
            except NotFound:
                return None
        return responder

    async def _queue(
        self, letter: Letter, found: Locked, turns: Sequence[TurnId]
    ) -> _Queued | None:
        """None if what is believed is no longer true, or the same request is suspended."""
        agency = letter.agency
        believed: tuple[object, ...] = (None, None, None)
        if agency is not None:
            believed = letter.principal.key_id, int(agency.id), agency.revision
        inputs = [_interaction(letter, one) for one in letter.inputs]
        inputs[-1] = msgspec.structs.replace(
            inputs[-1], file_ids=[*inputs[-1].file_ids, *letter.file_ids]
        )
        replies = [_reply(responder, letter) for responder in letter.asked]
        said = [*inputs, *replies]
        row = await self._database.fetchrow(
            sql.QUEUE,
            letter.conversation_id,
            [i.id for i in said],
            [i.owner[0] for i in said],
            [i.owner[1] for i in said],
            [i.content for i in said],
            [None if i.parts is None else encoded(i.parts) for i in said],
            [i.model_id for i in said],
            [i.done for i in said],
            [uuids(i.file_ids) for i in said],
            list(letter.skill_set_ids) or None,
            list(turns),
            list(letter.asked),
            [encoded(ask) for ask in letter.asked.values()],
            letter.attended,
            self._node,
            letter.request_hash,
            encoded(letter.metadata) if letter.metadata else None,
            letter.principal.user,
            letter.principal.key_id,
            *_system(letter, found),
            letter.silently,
            *believed,
        )
        if row is None:
            return None
        announce(self._database, self._announcer, letter.conversation_id, row["version"])
        return _Queued(inputs[-1].id, turns, [reply.id for reply in replies])

    async def posted(self, turn_id: UUID, response: bytes | None) -> Posting:
        """What was accepted before."""
        row = await self._database.fetchrow(sql.POSTED, turn_id)
        if row is None:
            raise LookupError("a claim for a turn that is not there")
        conversation_id, input_id, reply_id = row
        return Posting(TurnId(turn_id), conversation_id, input_id, reply_id, response)

    # ---- starting --------------------------------------------------------------------------------

    async def start(
        self, conversation_id: UUID, answering: Answering | None = None
    ) -> Started | None:
        """Make the next turn ours, if one is queued and none is running. A suspended one is not
        waited for: its client has gone. `answering` is who is likely to have that turn, from a
        message that was accepted in this same transaction; so the conversation is locked."""
        async with self.transaction():
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
        return await self._database.fetchrow(sql.FOUND, conversation_id) is not None

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
        if plain:
            said = entries_of([row for row in rows if row["role"] is not None])
            return Started(asked_at, turn, said=said)
        team = await self._team(turn.responder, answering)
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


def _interaction(letter: Letter, said: Public) -> NewInteraction:
    """At the doors where one replies, a message is kept with whom it was put to."""
    if letter.silently:
        return NewInteraction(ids.new(), _user(letter), said.content, None, said.parts)
    (responder,) = letter.asked
    owner = ("bot", responder) if said.role == "assistant" else _user(letter)
    return NewInteraction(
        ids.new(), owner, said.content, responder, said.parts, file_ids=said.file_ids
    )


def _user(letter: Letter) -> tuple[str, str]:
    return "user", letter.principal.user


def _reply(responder: str, letter: Letter) -> NewInteraction:
    owner = member_of(responder).name if letter.silently else ("bot", responder)
    return NewInteraction(ids.new(), owner, "", responder, done=False)


def _prompts(skills: Sequence[SkillSet]) -> tuple[str, ...]:
    return tuple(skill.prompt for skill in skills)


def _system(letter: Letter, found: Locked) -> tuple[UUID | None, str | None, int | None]:
    """The client's system message: its id, its text if it is a new one, and whom it is for."""
    if letter.system is None or letter.agency is None or letter.system == found.system:
        return found.system_message_id, None, None
    return ids.new(), letter.system, int(letter.agency.manager_id)


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
