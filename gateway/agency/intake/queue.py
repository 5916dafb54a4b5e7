"""Conversations that are named: what is said to one is accepted at once, and waits there until the
turns before it have ended."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import msgspec

from gateway import ids
from gateway.agency.intake import sql_queue as sql
from gateway.agency.intake.accept import NewInteraction
from gateway.agency.intake.attachments import Attachments
from gateway.agency.intake.members import member_of, responder_of
from gateway.agency.intake.responder import check, team_of
from gateway.agency.ledger.ledger import Ledger
from gateway.agency.ledger.outcome import describe
from gateway.agency.ledger.rows import Taken, encoded, uuids
from gateway.agency.speech.parts import Parts
from gateway.agency.speech.parts import role as role_of_result
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turn import lineage
from gateway.agency.turn.request import Ask, Posted, Public, Said
from gateway.auth import Principal
from gateway.conversation.assets.skill_sets import SkillSet, SkillSets
from gateway.conversation.rooms.participants import Member, Participants
from gateway.errors import NotFound, TurnCancelled
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.streams.announcer import Announcer


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
class Posting:
    """A message that was accepted. `response` is the first answer to the same request, if it had
    one before."""

    turn_id: TurnId
    conversation_id: UUID
    input_id: UUID
    reply_id: UUID
    response: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Queued:
    """A message that was written, the turns that wait, and their replies."""

    input_id: UUID
    turns: Sequence[TurnId]
    replies: Sequence[UUID]


class Inbox:
    """For one process, whose name is `node`. `lease` is in seconds."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        catalog: Catalog,
        announcer: Announcer,
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
        self._node = node
        self._lease = lease

    def transaction(self) -> AbstractAsyncContextManager[None]:
        return self._database.joined()

    def after_commit(self, act: Callable[[], None]) -> None:
        self._database.after_commit(act)

    # ---- accepting -------------------------------------------------------------------------------

    async def post(self, message: Posted, principal: Principal) -> Posting:
        """Accept a message that nobody needs to wait for. Raises NotFound, InvalidRequest."""
        await check(message.responder, self._catalog, principal)
        await self.attachments.check(message.file_ids, principal)
        skills = await self._skill_sets.get(message.skill_set_ids, principal.user)
        letter = Letter(
            conversation_id=message.conversation_id,
            asked={message.responder: Ask(message.responder, skills=_prompts(skills))},
            principal=principal,
            inputs=(Public("user", message.content),),
            request_hash=secrets.token_bytes(32),  # it comes again by its claim alone
            attended=False,
            file_ids=message.file_ids,
            skill_set_ids=message.skill_set_ids,
        )
        posting = await self.accept(letter)
        if posting is None:
            raise LookupError("a message that rests on nothing was refused")
        return posting

    async def accept(self, letter: Letter) -> Posting | None:
        """Write a message and its turn, which is queued. Raises NotFound. None: what it rested on
        has changed, or the same request is suspended already."""
        async with self.transaction():
            found = await self._locked(letter.conversation_id, letter.principal)
            if not await self._stands(letter):
                return None
            queued = await self._queue(letter, found)
            (turn_id,), (reply_id,) = queued.turns, queued.replies
            return Posting(turn_id, letter.conversation_id, queued.input_id, reply_id)

    async def say(self, message: Said, principal: Principal) -> UUID:
        """Accept a message that all bots of a conversation answer. Its id. Raises NotFound,
        InvalidRequest."""
        await self.attachments.check(message.file_ids, principal)
        async with self.transaction():
            found = await self._locked(message.conversation_id, principal)
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
            return (await self._queue(letter, found)).input_id

    async def _answering(self, member: Member, principal: Principal) -> str | None:
        """Who answers for a participant. An agency that may be used no more stays silent."""
        if (responder := responder_of(member)) is not None:
            try:
                await check(responder, self._catalog, principal)
            except NotFound:
                return None
        return responder

    async def _locked(self, conversation_id: UUID, principal: Principal) -> Row:
        """A conversation of the caller's. Raises NotFound."""
        found = await self._database.fetchrow(sql.LOCK, conversation_id)
        user = "user", principal.user
        if found is None or (found["owner_type"], found["owner_identifier"]) != user:
            raise NotFound("There is no such conversation.", code="conversation_not_found")
        return found

    async def _stands(self, letter: Letter) -> bool:
        """Whether what is believed of the key and the agency is still so."""
        if letter.agency is None:
            return True
        key, agency = letter.principal.key_id, letter.agency
        believed = key, int(agency.id), agency.revision
        return await self._database.fetchrow(sql.STANDS, letter.request_hash, *believed) is not None

    async def _queue(self, letter: Letter, found: Row) -> _Queued:
        inputs = [_interaction(letter, one) for one in letter.inputs]
        inputs[-1] = msgspec.structs.replace(
            inputs[-1], file_ids=[*inputs[-1].file_ids, *letter.file_ids]
        )
        replies = [_reply(responder, letter) for responder in letter.asked]
        said = [*inputs, *replies]
        turns = [TurnId(ids.new()) for _ in replies]
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
            turns,
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
        )
        self._announce(letter.conversation_id, row)
        return _Queued(inputs[-1].id, turns, [reply.id for reply in replies])

    async def posted(self, turn_id: UUID, response: bytes | None) -> Posting:
        """What was accepted before."""
        row = await self._database.fetchrow(sql.POSTED, turn_id)
        if row is None:
            raise LookupError("a claim for a turn that is not there")
        conversation_id, input_id, reply_id = row
        return Posting(TurnId(turn_id), conversation_id, input_id, reply_id, response)

    # ---- starting --------------------------------------------------------------------------------

    async def start(self, conversation_id: UUID) -> Taken | None:
        """Make the next turn ours, if one is queued and none is running. A suspended one is not
        waited for: its client has gone."""
        async with self.transaction():
            if await self._database.fetchrow(sql.LOCK, conversation_id) is None:
                return None
            turns = await self._database.fetch(sql.OPEN, conversation_id, self._node, self._lease)
            following = next((turn for turn in turns if turn["state"] == "queued"), None)
            busy = any(turn["state"] in ("running", "waiting") for turn in turns)
            if following is None or busy or not following["ours"]:
                return None
            for turn in turns:
                if turn["state"] == "suspended":
                    await self._give_up(turn["id"])
            fence = await self._start(conversation_id, following)
            taken = Taken(TurnId(following["id"]), fence)
            self._database.in_doubt(partial(self._ledger.drop, taken))
            return taken

    async def _give_up(self, turn_id: TurnId) -> None:
        error = describe(TurnCancelled("Its client went on without it."))
        await self._ledger.end(turn_id, "cancelled", error, among=("suspended",))

    async def _start(self, conversation_id: UUID, turn: Row) -> int:
        unheard: Sequence[Row] = ()
        entry = await self._entry(turn["responder"])
        if entry is not None:
            unheard = await self._database.fetch(sql.UNHEARD, conversation_id, turn["seq"], entry)
        row = await self._database.fetchrow(
            sql.START,
            conversation_id,
            turn["id"],
            self._node,
            self._lease,
            await self._history_hash(conversation_id, turn, unheard),
            entry,
            [ids.new() for _ in unheard],
            [said["id"] for said in unheard],
            [said["own"] for said in unheard],
            [said["asked"] for said in unheard],
        )
        row = self._announce(conversation_id, row)
        fence: int = row["fence"]
        return fence

    async def _entry(self, responder: str) -> int | None:
        """The agent that is spoken to, if the responder is a team that is there."""
        agency = await team_of(responder, self._catalog)
        return None if agency is None else int(agency.manager_id)

    async def _history_hash(
        self, conversation_id: UUID, turn: Row, unheard: Sequence[Row]
    ) -> bytes | None:
        """The hash of the public history up to the input. None unless all of it is in turns that
        an OpenAI client may have behind it."""
        before = await self._database.fetchrow(sql.BEFORE, conversation_id, turn["seq"])
        if before is None or before["history_hash"] is None or before["state"] != "completed":
            return None
        if before["responder"] != turn["responder"]:
            return None
        return lineage.extend(before["history_hash"], map(_public, unheard))

    async def stranded(self, most: int) -> list[UUID]:
        """Conversations in which the next turn is ours to start."""
        rows = await self._database.fetch(sql.STRANDED, self._node, self._lease, most)
        return [row["conversation_id"] for row in rows]

    def _announce(self, conversation_id: UUID, row: Row | None) -> Row:
        if row is None:
            raise LookupError("a locked conversation is gone")
        changed = partial(self._announcer.changed, conversation_id, row["version"])
        self._database.after_commit(changed)
        return row


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


def _system(letter: Letter, found: Row) -> tuple[UUID | None, str | None, int | None]:
    """The client's system message: its id, its text if it is a new one, and whom it is for."""
    if letter.system is None or letter.agency is None or letter.system == found["system"]:
        return found["system_message_id"], None, None
    return ids.new(), letter.system, int(letter.agency.manager_id)


def _public(row: Row) -> Public:
    parts: Parts = None if row["parts"] is None else msgspec.json.decode(row["parts"])
    role = "user" if row["owner_type"] == "user" else "assistant"
    return Public(role_of_result(parts) or role, row["content"], parts)
