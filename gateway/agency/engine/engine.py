"""The turn engine: what its doors call.

`chat` accepts a request and starts its turn; a request that comes again is given the turn it began.
`post` accepts a message to a conversation that is named, whose turn waits for those before it.
Whoever follows the reply of a chat does so inside `listening`; when nobody does any more its turn
is suspended. A posted one goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from uuid import UUID
from weakref import WeakValueDictionary

from gateway import ids
from gateway.agency.engine.runner import Runner
from gateway.agency.intake.draft import Submission, entries, inbound
from gateway.agency.intake.queue import Letter, Posting, Queue
from gateway.agency.intake.rejoin import Accepted, Reception, TakenBack
from gateway.agency.intake.start import Answering, Started
from gateway.agency.ledger import outcome
from gateway.agency.ledger.rows import Taken
from gateway.agency.run.plan import Plan
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turn import lineage
from gateway.agency.turn.events import Event
from gateway.agency.turn.reply import Reply
from gateway.agency.turn.request import ChatRequest, Posted, Public, RoomMessage
from gateway.agency.turn.rules import begin
from gateway.auth import Principal
from gateway.conversation.idempotency import Claim, Idempotency
from gateway.conversation.store import Conversation
from gateway.conversation.turn_states import OPEN, TurnState
from gateway.errors import TurnCancelled, Unavailable
from gateway.ids import TurnId


class Stale(Exception):
    """What a request rested on (key, agency, place in the conversation) has changed: the caller
    looks again."""


@dataclass(frozen=True, slots=True)
class _Entered:
    """A turn that was accepted into a queue, and the one that was started by that, if any."""

    turn_id: TurnId
    started: Started | None = None


class Engine:
    """Begins and ends the turns of one process. Its `runner` runs them."""

    def __init__(
        self, runner: Runner, reception: Reception, queue: Queue, idempotency: Idempotency
    ) -> None:
        self.runner = runner
        self.checks = runner.services.checks
        self.versions = runner.versions
        self.ledger = runner.services.ledger
        self._queue = queue
        self._reception = reception
        self._idempotency = idempotency
        self._requests: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    # ---- accepting a chat ------------------------------------------------------------------------

    async def chat(
        self,
        request: ChatRequest,
        agency: AgencySpec,
        principal: Principal,
        *,
        conversation_id: UUID | None = None,
        claim: Claim | None = None,
    ) -> Reply:
        """Accept a chat completion. Raises `Stale` if it must be asked again with fresh knowledge.

        A `retry` gets the turn that the same request began, also if it is still running; so does
        whoever makes a `claim` that was made before. Raises NotFound for a file that is not there.
        """
        if conversation_id is not None:
            digest = lineage.within(request.digest, conversation_id)
            request = replace(request, digest=digest)
        await self._queue.attachments.check_said(request.dialogue.said, principal)
        asked = Submission(request, agency, principal)
        # The queue is for a retry that overtakes its own first try.
        async with self._requests.setdefault(request.digest, asyncio.Lock()):
            if claim is None:
                found = await self._enter(asked, conversation_id)
            else:
                found = await self._claim(asked, conversation_id, claim)
            if isinstance(found, Accepted):
                return await self._run(found)
        if found is None:
            raise Stale
        await self.runner.begin(found.started)
        return await self.runner.attach(found.turn_id)

    async def _enter(
        self, asked: Submission, conversation_id: UUID | None
    ) -> Accepted | _Entered | None:
        if asked.request.retry and (seen := await self._reception.seen(asked, retry=True)):
            return _Entered(seen)
        if accepted := await self._accept(asked, conversation_id):
            return accepted
        again = await self._reception.seen(asked, retry=False)
        return None if again is None else _Entered(again)

    async def _claim(
        self, asked: Submission, conversation_id: UUID | None, claim: Claim
    ) -> Accepted | _Entered | None:
        """A turn that failed has not used its claim up."""
        try:
            async with self._queue.transaction():
                seen = await self._idempotency.claim(claim)
                if seen and seen.turn_id and not await self.ledger.is_void(seen.turn_id):
                    return _Entered(TurnId(seen.turn_id))
                accepted = await self._accept(asked, conversation_id)
                if accepted is None:
                    raise TakenBack
                await self._idempotency.began(claim, accepted.turn_id)
                return accepted
        except TakenBack:
            return None

    async def _accept(
        self, asked: Submission, conversation_id: UUID | None
    ) -> Accepted | _Entered | None:
        if conversation_id is None:
            return await self._reception.rejoin(asked)
        async with self._queue.transaction():
            posting = await self._queue.accept(_letter(asked, conversation_id))
            if posting is None:
                return None
            answering = Answering(asked.request.responder, asked.agency)
            started = await self.runner.next(conversation_id, answering)
            return _Entered(posting.turn_id, started)

    async def _run(self, accepted: Accepted) -> Reply:
        """Run what was accepted; by what its rows say if this process was held up on the way."""
        lease = accepted.begun.lease
        if not self.ledger.is_late(accepted.begun.asked_at):
            return self._begin(accepted)
        reply = await self.runner.go_on(Taken(lease.turn_id, lease.fence))
        return reply or await self.runner.attach(lease.turn_id)

    def _begin(self, accepted: Accepted) -> Reply:
        turn, begun, agency = accepted.turn, accepted.begun, accepted.asked.agency
        lease = begun.lease
        limits, silence = turn.ask.within(agency.limits), turn.ask.silence
        work = begin(agency, limits, manual=begun.manual, silence=silence)
        work.apply(Event(lease.version, inbound(turn)))
        contexts = dict(accepted.contexts)
        heard = [*contexts.pop(turn.entry, ()), *entries(turn, lease.version)]
        if not turn.has_files:  # else it is read from the rows, with what the files say
            contexts[turn.entry] = heard
        plan = Plan(
            lease=lease,
            agency=agency,
            ask=turn.ask,
            work=work,
            system=accepted.asked.request.dialogue.system,
            chain=turn.history_hash,
            contexts=contexts,
            fresh=accepted.fresh and not turn.has_files,
        )
        reply = Reply(lease.turn_id, lease.conversation_id, int(begun.created_at.timestamp()))
        return self.runner.run(plan, reply, attended=accepted.attended)

    # ---- sessions --------------------------------------------------------------------------------

    async def open(self, asked: Submission, drive: str, source: UUID | None = None) -> TurnId:
        """Begin a session: who answers in it is said by `drive`. Raises `Stale`."""
        if self.runner.draining:
            raise Unavailable("The gateway is shutting down; try again.", retry_after=1)
        await self._queue.attachments.check_said(asked.request.dialogue.said, asked.principal)
        accepted = await self._reception.open(asked, drive, source)
        if accepted is None:
            raise Stale
        return (await self._run(accepted)).turn_id

    async def set_drive(self, conversation_id: UUID, drive: str) -> None:
        """`auto`: turns that wait for somebody outside go on at once. `manual`: those that run wait
        for somebody at the next question. Not for a caller to choose unless the conversation is
        the caller's."""
        self.go_on_with(await self.ledger.drive(conversation_id, drive))

    async def free(self, conversation_id: UUID, responder: str) -> None:
        """Have the turns of a bot that is driven by hand no more go on."""
        self.go_on_with(await self.ledger.free(conversation_id, responder))

    def go_on_with(self, turn_ids: Sequence[TurnId]) -> None:
        """Take up turns that wait for nobody any more, once that is committed."""
        if turn_ids:
            self._queue.after_commit(lambda: self.runner.running.see_to(self._resume(turn_ids)))

    async def _resume(self, turn_ids: Sequence[TurnId]) -> None:
        for turn_id in turn_ids:
            if await self.runner.take_up(turn_id) is None:
                self.runner.control.freed()

    # ---- accepting a message ---------------------------------------------------------------------

    async def post(
        self, message: Posted, principal: Principal, claim: Claim | None = None
    ) -> tuple[Posting, Conversation]:
        """Accept a message to a conversation that is named. Its turn goes on whether or not anybody
        waits. Raises NotFound, InvalidRequest, IdempotencyMismatch."""
        turn_id = TurnId(ids.new())
        async with self._queue.transaction():
            found = await self._queue.lock(message.conversation_id, principal)
            seen = None if claim is None else await self._idempotency.claim(claim, turn_id)
            if seen is not None and seen.turn_id is not None:
                posting = await self._queue.posted(seen.turn_id, seen.response)
                return posting, found.conversation
            posting = await self._queue.post(message, found, principal, turn_id)
            started = await self.runner.next(message.conversation_id, posting.answering)
        await self.runner.begin(started)
        return posting, found.conversation

    async def say(self, message: RoomMessage, principal: Principal) -> UUID:
        """Accept a message to all who are in a conversation: its id. The bots' turns go on by
        themselves, once this is committed. Raises NotFound, InvalidRequest."""
        async with self._queue.transaction():
            said = await self._queue.say(message, principal)
            self.begin_next(message.conversation_id)
        return said

    def begin_next(self, conversation_id: UUID) -> None:
        """Have the turns that are next in a conversation begin once this is committed, if nobody
        works there. Nobody waits for that: to read a long conversation takes a while."""
        begin = self._begin_next
        self._queue.after_commit(lambda: self.runner.running.see_to(begin(conversation_id)))

    async def _begin_next(self, conversation_id: UUID) -> None:
        await self.runner.start(conversation_id)

    # ---- following -------------------------------------------------------------------------------

    def listening(self, reply: Reply) -> AbstractAsyncContextManager[Reply]:
        """Follow a reply. When the last listener leaves before the end, the turn is suspended."""
        return self.runner.listening(reply)

    async def finish(self, turn_id: TurnId) -> None:
        """Wait until a turn has ended, in whatever way: its rows say how. Raises Unavailable."""
        await self.runner.finish(turn_id)

    @property
    def draining(self) -> bool:
        """True once this process ends and begins nothing more."""
        return self.runner.draining

    # ---- from outside ----------------------------------------------------------------------------

    async def cancel(self, turn_id: TurnId) -> bool:
        """Store that a turn is cancelled, then stop it. False if it had ended before."""
        if not await self.end(turn_id, "The turn was cancelled."):
            return False
        await self.stop([turn_id])
        return True

    async def end(self, turn_id: TurnId, why: str) -> bool:
        """Store that a turn is cancelled. False if it had ended before. The caller stops it, once
        that is committed."""
        error = outcome.describe(TurnCancelled(why))
        return await self.ledger.end(turn_id, TurnState.CANCELLED, error, among=OPEN)

    async def stop(self, turn_ids: Sequence[UUID]) -> None:
        """Have whoever runs these turns close their model calls. They have ended in the rows."""
        self.runner.running.stop(turn_ids)
        self.runner.control.stopped(turn_ids)
        self.runner.control.freed()  # what waited for them may begin


def _letter(asked: Submission, conversation_id: UUID) -> Letter:
    """Takes what the request says. The history that it sends is ignored: the conversation knows
    it."""
    request = asked.request
    return Letter(
        conversation_id=conversation_id,
        asked={request.responder: request.ask},
        principal=asked.principal,
        # A history that ends with an answer asks for another one: the input is then empty.
        inputs=request.dialogue.inputs or (Public("user", ""),),
        request_hash=request.digest,
        attended=True,
        agency=asked.agency,
        system=request.dialogue.system,
        metadata=request.metadata,
    )
