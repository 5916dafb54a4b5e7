"""Conversations that are named: what is said to one is accepted at once, and waits there until the
turns before it have ended."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from uuid import UUID

import msgspec

from gateway import ids
from gateway.agency.intake import sql_queue as sql
from gateway.agency.intake.accept import NewInteraction
from gateway.agency.intake.attachments import Attachments
from gateway.agency.intake.responder import Bots, check, member_of, remembered, responder_of
from gateway.agency.intake.start import Answering
from gateway.agency.ledger.rows import encoded, uuids
from gateway.agency.speech.mentions import addressed
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turn.request import Ask, Posted, Public, RoomMessage
from gateway.auth import Principal
from gateway.conversation.absence import absent
from gateway.conversation.assets.skill_sets import SkillSet, SkillSets
from gateway.conversation.raising import announce
from gateway.conversation.rooms.participants import Member, Participants
from gateway.conversation.rooms.rights import Right, demand, standing_of
from gateway.conversation.store import Conversation
from gateway.errors import InvalidRequest, Unauthenticated
from gateway.ids import TurnId
from gateway.postgres.database import Database
from gateway.streams.announcer import Announcer

_CONVERSATION_AT = 7
"""Where the columns of a conversation begin in a row of `sql_queue.LOCK`."""


class NoResponder(InvalidRequest):
    """A message names nobody who is to answer, and its conversation has no model of its own."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is said to a conversation, by whom, and whom it is put to. Without `inputs` it asks for
    answers to what was said before, `answers`. If it is `attended`, its
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
    speaker: tuple[str, str] | None = None
    """Who says it, if not the caller: a kind and an identifier."""
    answers: UUID | None = None


@dataclass(frozen=True, slots=True)
class Locked:
    """A conversation in which nobody else says something, and the client's system message that is
    in force there."""

    conversation: Conversation
    system_message_id: UUID | None
    system: str | None


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
class _Queued:
    """A message that was written, the turns that wait, and their replies."""

    input_id: UUID
    turns: Sequence[TurnId]
    replies: Sequence[UUID]


_System = tuple[UUID | None, str | None, int | None]
"""A client's system message: its id, its text if it is a new one, and whom it is for."""


class Queue:
    """The queue of named conversations, for one process, whose name is `node`."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        announcer: Announcer,
        node: str,
    ) -> None:
        self.attachments = Attachments(database)
        self._skill_sets = SkillSets(database)
        self._participants = Participants(database, announcer)
        self.bots = Bots(self._participants, catalog)
        self._database = database
        self._catalog = catalog
        self._announcer = announcer
        self._node = node

    def transaction(self) -> AbstractAsyncContextManager[None]:
        return self._database.joined()

    def after_commit(self, act: Callable[[], None]) -> None:
        self._database.after_commit(act)

    async def lock(
        self, conversation_id: UUID, principal: Principal, place: Member | None = None
    ) -> Locked:
        """Keep others from saying something in a conversation that the caller may write in, until
        the end of the transaction; `place` is the bot in whose place. Raises NotFound, Forbidden,
        and Unauthenticated for a key that was believed."""
        key, user = principal.key_id, principal.user
        found = await self._database.fetchrow(sql.LOCK, conversation_id, key, user)
        lives = await self._lives(principal) if found is None else found["key_lives"]
        if not lives:
            raise Unauthenticated("The API key is not valid, or was revoked.")
        if found is None:
            raise absent(ids.CONVERSATION, [conversation_id])
        caller = standing_of(found, principal)
        actor = await self._participants.actor(conversation_id, caller, principal, place)
        demand(actor.standing, Right.ADD_MESSAGE)
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
            believed = await remembered(responder, self._catalog, principal)
            team = believed or await check(responder, self._catalog, principal)
            letter = Letter(
                conversation_id=message.conversation_id,
                asked={
                    responder: Ask(
                        responder,
                        skills=_prompts(skills),
                        provider=message.provider or found.conversation.provider_id,
                    )
                },
                principal=principal,
                inputs=(Public("user", message.content),),
                request_hash=secrets.token_bytes(32),  # it comes again by its claim alone
                attended=False,
                agency=believed,
                file_ids=message.file_ids,
                skill_set_ids=message.skill_set_ids,
            )
            queued = await self._queue(letter, _system(letter, found), [turn_id])
            if queued is None:  # the agency has changed since it was remembered
                team = await check(responder, self._catalog, principal)
                letter = replace(letter, agency=None)
                queued = await self._put(letter, _system(letter, found), [turn_id])
            place = message.conversation_id, queued.input_id, queued.replies[0]
            return Posting(turn_id, *place, answering=Answering(responder, team))

    async def accept(self, letter: Letter) -> Posting | None:
        """Write a message and its turn, which is queued. Raises NotFound. None: what it rested on
        has changed, or the same request is suspended already."""
        async with self.transaction():
            found = await self.lock(letter.conversation_id, letter.principal)
            queued = await self._queue(letter, _system(letter, found), [TurnId(ids.new())])
            if queued is None:
                return None
            (turn_id,), (reply_id,) = queued.turns, queued.replies
            return Posting(turn_id, letter.conversation_id, queued.input_id, reply_id)

    async def say(self, message: RoomMessage, principal: Principal) -> UUID:
        """Accept a message that all bots of a conversation answer. Its id. Raises NotFound,
        InvalidRequest."""
        await self.attachments.check(message.file_ids, principal)
        async with self.transaction():
            found = await self.lock(message.conversation_id, principal, message.place)
            letter = Letter(
                conversation_id=message.conversation_id,
                asked=await self._asked(message, principal),
                speaker=None if message.place is None else message.place.name,
                principal=principal,
                inputs=(Public("user", message.content),),
                request_hash=secrets.token_bytes(32),
                attended=False,
                file_ids=message.file_ids,
                silently=True,
            )
            turns = [TurnId(ids.new()) for _ in letter.asked]
            system = _system(letter, found)
            return (await self._put(letter, system, turns)).input_id

    async def _asked(self, message: RoomMessage, principal: Principal) -> dict[str, Ask]:
        """Returns who is to answer: those whom the message addresses, or else all bots a person,
        and nobody a bot. None answers itself."""
        bots = await self.bots.addressable(message.conversation_id, principal)
        if message.place is not None:
            bots.pop(responder_of(message.place) or "", None)
        asked = addressed(message.content, bots)
        if not asked and message.place is None:
            asked = frozenset(bots)
        return {one: Ask(one, silence=True) for one in bots if one in asked}

    async def ask(self, letter: Letter, system_message_id: UUID | None) -> None:
        """Have bots answer what was said before. The conversation is locked."""
        turns = [TurnId(ids.new()) for _ in letter.asked]
        await self._put(letter, (system_message_id, None, None), turns)

    async def _queue(
        self, letter: Letter, system: _System, turns: Sequence[TurnId]
    ) -> _Queued | None:
        """Returns None if the key or the agency has changed, or the same request is suspended."""
        agency = letter.agency
        believed: tuple[object, ...] = (None, None, None)
        if agency is not None:
            believed = letter.principal.key_id, int(agency.id), agency.revision
        inputs = [_interaction(letter, one) for one in letter.inputs]
        if inputs:
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
            *system,
            letter.silently,
            *believed,
            [i.provider for i in said],
            letter.answers,
        )
        if row is None:
            return None
        announce(self._database, self._announcer, letter.conversation_id, row["version"])
        input_id = letter.answers or inputs[-1].id
        return _Queued(input_id, turns, [reply.id for reply in replies])

    async def _put(self, letter: Letter, system: _System, turns: Sequence[TurnId]) -> _Queued:
        """The same for a message that rests on no belief, and so is always queued."""
        queued = await self._queue(letter, system, turns)
        if queued is None:
            raise LookupError("a message that rests on nothing was refused")
        return queued

    async def posted(self, turn_id: UUID, response: bytes | None) -> Posting:
        """Returns the posting of a message that was accepted before."""
        row = await self._database.fetchrow(sql.POSTED, turn_id)
        if row is None:
            raise LookupError("a claim for a turn that is not there")
        conversation_id, input_id, reply_id = row
        return Posting(TurnId(turn_id), conversation_id, input_id, reply_id, response)


def _interaction(letter: Letter, said: Public) -> NewInteraction:
    """Where one responder replies, a message is kept with the name of the one that it is put to."""
    if letter.silently:
        return NewInteraction(ids.new(), _user(letter), said.content, None, said.parts)
    ((responder, ask),) = letter.asked.items()
    owner = ("bot", responder) if said.role == "assistant" else _user(letter)
    return NewInteraction(
        ids.new(),
        owner,
        said.content,
        responder,
        said.parts,
        file_ids=said.file_ids,
        provider=ask.provider,
    )


def _user(letter: Letter) -> tuple[str, str]:
    return letter.speaker or ("user", letter.principal.user)


def _reply(responder: str, letter: Letter) -> NewInteraction:
    owner = member_of(responder).name if letter.silently else ("bot", responder)
    provider = letter.asked[responder].provider
    return NewInteraction(ids.new(), owner, "", responder, done=False, provider=provider)


def _prompts(skills: Sequence[SkillSet]) -> tuple[str, ...]:
    return tuple(skill.prompt for skill in skills)


def _system(letter: Letter, found: Locked) -> _System:
    if letter.system is None or letter.agency is None or letter.system == found.system:
        return found.system_message_id, None, None
    return ids.new(), letter.system, int(letter.agency.manager_id)
