"""What comes after the bots of a conversation have answered the same: those whom their answers
address are asked next, all at the same time."""

from __future__ import annotations

import secrets
from uuid import UUID

import msgspec

from gateway.agency.intake import sql_queue as sql
from gateway.agency.intake.queue import Letter, Queue
from gateway.agency.speech.mentions import addressed
from gateway.agency.turn.request import Ask
from gateway.auth import Principal, Scope
from gateway.postgres.database import Database

MOST_AMONG_BOTS = 6
"""Messages that bots may say one after the other before a person says something."""


class _Answer(msgspec.Struct, frozen=True):
    id: UUID
    responder: str
    content: str


_answers = msgspec.json.Decoder(list[_Answer])


class RoomRounds:
    """The rounds of one process. Its methods are called in the transaction in which a turn ends, so
    that whoever is addressed is asked once, whatever becomes of the process."""

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue

    async def turn_ended(self, turn_id: UUID) -> bool:
        """Queue who is addressed, if this was the last answer. Returns True if anybody is."""
        found = await self._database.fetchrow(sql.ROUND, turn_id)
        if found is None or found["replies"] is None:
            return False
        answers = _answers.decode(found["replies"])
        if not any(sign in answer.content for answer in answers for sign in "@#"):
            return False
        principal = Principal(found["principal"], frozenset([Scope.CHAT]), found["key_id"])
        bots = await self._queue.bots.addressable(found["conversation_id"], principal)
        asked: set[str] = set()
        last: UUID | None = None
        for answer in answers:
            others = {one: name for one, name in bots.items() if one != answer.responder}
            if named := addressed(answer.content, others):
                asked |= named
                last = answer.id
        may = max(0, MOST_AMONG_BOTS - found["said"])
        responders = [one for one in bots if one in asked][:may]
        if not responders:
            return False
        letter = Letter(
            conversation_id=found["conversation_id"],
            asked={one: Ask(one, silence=True) for one in responders},
            principal=principal,
            inputs=(),
            request_hash=secrets.token_bytes(32),
            attended=False,
            silently=True,
            answers=last,
        )
        await self._queue.ask(letter, found["system_message_id"])
        return True
