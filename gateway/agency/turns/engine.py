"""The turn engine: what its doors call.

`chat` accepts a request and starts its turn; a request that comes again is given the turn it began.
`post` accepts a message to a conversation that is named, whose turn waits for those before it.
Whoever follows the reply of a chat does so inside `listening`; when nobody does any more its turn
is suspended. A posted one goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from uuid import UUID

from gateway.agency.model import Model
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turns import lineage, replay
from gateway.agency.turns.accept import Asked, entries, inbound
from gateway.agency.turns.awaiting import ATTACHED, POLL, Awaiting
from gateway.agency.turns.inbox import Inbox, Letter, Posting
from gateway.agency.turns.ledger import Ended, Lease, Ledger, StoredTurn
from gateway.agency.turns.library import Library
from gateway.agency.turns.memory import Memory
from gateway.agency.turns.plain import PlainTurn
from gateway.agency.turns.reception import OPEN, Accepted, Queues, Reception, TakenBack
from gateway.agency.turns.reply import Reply
from gateway.agency.turns.request import ChatRequest, Posted, Public, Said, is_model
from gateway.agency.turns.responder import team_of
from gateway.agency.turns.running import Running
from gateway.agency.turns.step import Event, begin
from gateway.agency.turns.titles import Titles
from gateway.agency.turns.turn import Plan, Turn
from gateway.auth import Principal
from gateway.conversation.idempotency import Claim, Idempotency
from gateway.database import Row
from gateway.errors import GatewayError, NotFound, TurnCancelled, TurnFailed, Unavailable
from gateway.ids import TurnId
from gateway.streams.announcer import Announcer
from gateway.telemetry import causes

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How many processes may be lost over one turn."""
IDLE = "Nobody has answered the session for an hour."
AT_ONCE = 100
"""Turns that one look takes up at most."""


class Stale(Exception):
    """What a request rested on (key, agency, place in the conversation) has changed: look again."""


@dataclass(frozen=True, slots=True)
class _Entered:
    """A turn that was accepted into a queue, and the one that was started by that, if any."""

    turn_id: TurnId
    started: TurnId | None = None


class Engine:
    """The turns of one process."""

    def __init__(
        self,
        ledger: Ledger,
        reception: Reception,
        inbox: Inbox,
        idempotency: Idempotency,
        memory: Memory,
        catalog: Catalog,
        model: Model,
        announcer: Announcer,
        *,
        default_model: str,
        library: Library | None = None,
    ) -> None:
        self._ledger = ledger
        self._reception = reception
        self._inbox = inbox
        self._idempotency = idempotency
        self._catalog = catalog
        self._model = model
        self._announcer = announcer
        self._default_model = default_model
        self.library = library
        """None: it is closed."""
        self._titles = Titles(ledger, model, default_model)
        self._requests = Queues()
        self._awaiting = Awaiting(ledger, self._take_up)
        self._draining = False
        self.running = Running(ledger, memory, announcer, self._ended, self._parked)
        self.woken = asyncio.Event()
        """Set when there may be something to take up."""
        announcer.employ(self.running.stop, self.woken.set)

    @property
    def ledger(self) -> Ledger:
        return self._ledger

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
        whoever makes a `claim` that was made before.
        """
        if conversation_id is not None:
            digest = lineage.within(request.digest, conversation_id)
            request = replace(request, digest=digest)
        asked = Asked(request, agency, principal)
        # The queue is for a retry that overtakes its own first try.
        async with self._requests.of(request.digest):
            if claim is None:
                found = await self._enter(asked, conversation_id)
            else:
                found = await self._claim(asked, conversation_id, claim)
            if isinstance(found, Accepted):
                return self._begin(found)
        if found is None:
            raise Stale
        await self._go_on(found.started)
        return await self.attach(found.turn_id)

    async def _enter(
        self, asked: Asked, conversation_id: UUID | None
    ) -> Accepted | _Entered | None:
        if asked.request.retry and (seen := await self._reception.seen(asked, retry=True)):
            return _Entered(seen)
        if accepted := await self._accept(asked, conversation_id):
            return accepted
        again = await self._reception.seen(asked, retry=False)
        return None if again is None else _Entered(again)

    async def _claim(
        self, asked: Asked, conversation_id: UUID | None, claim: Claim
    ) -> Accepted | _Entered | None:
        """A turn that failed has not used its claim up."""
        try:
            async with self._inbox.transaction():
                seen = await self._idempotency.claim(claim)
                if seen and seen.turn_id and not await self._ledger.is_void(seen.turn_id):
                    return _Entered(TurnId(seen.turn_id))
                accepted = await self._accept(asked, conversation_id)
                if accepted is None:
                    raise TakenBack
                await self._idempotency.began(claim, accepted.turn_id)
                return accepted
        except TakenBack:
            return None

    async def _accept(
        self, asked: Asked, conversation_id: UUID | None
    ) -> Accepted | _Entered | None:
        if conversation_id is None:
            return await self._reception.rejoin(asked)
        async with self._inbox.transaction():
            posting = await self._inbox.accept(_letter(asked, conversation_id))
            if posting is None:
                return None
            return _Entered(posting.turn_id, await self._next(conversation_id))

    def _begin(self, accepted: Accepted) -> Reply:
        turn, begun, agency = accepted.turn, accepted.begun, accepted.asked.agency
        lease = begun.lease
        work = begin(agency, turn.ask.within(agency.limits), manual=begun.manual)
        work.apply(Event(lease.version, inbound(turn)))
        contexts = dict(accepted.contexts)
        contexts[turn.entry] = [*contexts.get(turn.entry, ()), *entries(turn, lease.version)]
        plan = Plan(
            lease=lease,
            agency=agency,
            ask=turn.ask,
            work=work,
            system=accepted.asked.request.dialogue.system,
            chain=turn.history_hash,
            contexts=contexts,
            fresh=accepted.fresh,
        )
        reply = Reply(lease.turn_id, lease.conversation_id, int(begun.created_at.timestamp()))
        return self._run(plan, reply, attended=accepted.attended)

    # ---- sessions --------------------------------------------------------------------------------

    async def open(self, asked: Asked, source: UUID | None = None) -> TurnId:
        """Begin a session, which is driven by hand. Raises `Stale`."""
        if self._draining:
            raise Unavailable("The gateway ends; ask again.", retry_after=1)
        accepted = await self._reception.open(asked, source)
        if accepted is None:
            raise Stale
        return self._begin(accepted).turn_id

    async def rest(self, turn_id: TurnId, seconds: float) -> bool:
        """Wait until a turn runs here no further, at most so long; if it runs elsewhere, for a
        moment. False if this process ends."""
        held = self.running.find(turn_id)
        if held is None:
            await asyncio.sleep(min(POLL, seconds))
        else:
            await asyncio.wait((held.task,), timeout=seconds)
        return not self._draining

    async def set_drive(self, conversation_id: UUID, drive: str) -> None:
        """`auto`: turns that wait for somebody outside go on at once. `manual`: those that run wait
        for somebody at the next question. Not for a caller to choose unless the conversation is
        the caller's."""
        self.go_on_with(await self._ledger.drive(conversation_id, drive))

    def go_on_with(self, turn_ids: Sequence[TurnId]) -> None:
        """Turns that wait for nobody any more, once that is committed."""
        if turn_ids:
            self._inbox.after_commit(lambda: self.running.see_to(self._resume(turn_ids)))

    async def _resume(self, turn_ids: Sequence[TurnId]) -> None:
        for turn_id in turn_ids:
            if await self._take_up(turn_id) is None:
                self._announcer.freed()

    def _parked(self, reply: Reply) -> None:
        """Whoever follows the reply of a turn that waits is told when it has ended."""
        if reply.followers:
            self._awaiting.wait(reply)
        else:
            reply.end(Unavailable("The turn waits for an answer from outside."))

    # ---- accepting a message ---------------------------------------------------------------------

    async def post(
        self, message: Posted, principal: Principal, claim: Claim | None = None
    ) -> Posting:
        """Accept a message to a conversation that is named. Its turn goes on whether or not anybody
        waits. Raises NotFound, InvalidRequest, IdempotencyMismatch."""
        async with self._inbox.transaction():
            seen = None if claim is None else await self._idempotency.claim(claim)
            if seen is not None and seen.turn_id is not None:
                return await self._inbox.posted(seen.turn_id, seen.response)
            posting = await self._inbox.post(message, principal)
            if claim is not None:
                await self._idempotency.began(claim, posting.turn_id)
            started = await self._next(message.conversation_id)
        await self._go_on(started)
        return posting

    async def say(self, message: Said, principal: Principal) -> UUID:
        """Accept a message to all who are in a conversation: its id. The bots' turns go on by
        themselves, once this is committed. Raises NotFound, InvalidRequest."""
        async with self._inbox.transaction():
            said = await self._inbox.say(message, principal)
            if (turn_id := await self._next(message.conversation_id)) is not None:
                self._inbox.after_commit(lambda: self.running.see_to(self._see_through(turn_id)))
        return said

    async def _see_through(self, turn_id: TurnId) -> None:
        await self._go_on(turn_id)

    async def finish(self, turn_id: TurnId) -> None:
        """Wait until a turn has ended, in whatever way: its rows say how. Raises Unavailable."""
        try:
            async with asyncio.timeout(ATTACHED):
                while await self._is_open(turn_id):
                    reply = await self.attach(turn_id)
                    with suppress(GatewayError):
                        await reply.outcome()
                    if self._draining:
                        raise Unavailable("The gateway ends; ask again.", retry_after=1)
        except TimeoutError:
            raise Unavailable("The turn is still running; ask again.") from None

    async def _is_open(self, turn_id: TurnId) -> bool:
        stored = await self._ledger.turn(turn_id)
        return stored is not None and stored.state in OPEN

    # ---- taking up -------------------------------------------------------------------------------

    async def attach(self, turn_id: TurnId) -> Reply:
        """The reply of a turn, wherever it runs. One that nobody runs is taken up."""
        if reply := self._known(turn_id):
            return reply
        stored = await self._ledger.turn(turn_id)
        if stored is None:
            raise NotFound("There is no such turn.", code="turn_not_found")
        reply = self._known(turn_id) or _reply(stored)
        if replay.into(reply, stored):
            return reply
        if stored.abandoned and (taken := await self._take_up(turn_id)):
            return taken
        return self._known(turn_id) or self._awaiting.wait(reply)

    def _known(self, turn_id: TurnId) -> Reply | None:
        held = self.running.find(turn_id)
        return held.reply if held else self._awaiting.find(turn_id)

    async def _take_up(self, turn_id: TurnId) -> Reply | None:
        """Go on with a turn that nobody runs. None if somebody was faster."""
        if self._draining or not await self._ledger.take(turn_id, ATTEMPTS):
            return None
        return await self._go_on(turn_id)

    async def _next(self, conversation_id: UUID) -> TurnId | None:
        """The conversation's next turn, if it is ours to run now."""
        return None if self._draining else await self._inbox.start(conversation_id)

    async def _start(self, conversation_id: UUID) -> bool:
        turn_id = await self._next(conversation_id)
        await self._go_on(turn_id)
        return turn_id is not None

    async def _start_next(self, conversation_id: UUID) -> None:
        if not await self._start(conversation_id):
            self._announcer.freed()  # another process has its client, or is to stay when we end

    async def _go_on(self, turn_id: TurnId | None) -> Reply | None:
        """Run a turn that has become ours, from what its rows say."""
        # Read now: till then another process could write.
        stored = None if turn_id is None else await self._ledger.turn(turn_id)
        if stored is None:
            return None
        reply = self._awaiting.hand_over(stored.id) or _reply(stored)
        if is_model(stored.responder):
            plain = PlainTurn(stored, self._ledger, self._model, reply)
            return self.running.start(plain, stored.lease, reply, attended=stored.attended)
        agency = await team_of(stored.responder, self._catalog)
        if agency is None:
            return await self._fail(stored, reply)
        work = begin(agency, stored.ask.within(agency.limits), manual=stored.manual)
        for event in await self._ledger.events(stored.id):
            work.apply(event)
        plan = Plan(
            lease=stored.lease,
            agency=agency,
            ask=stored.ask,
            work=work,
            system=stored.system,
            chain=stored.history_hash,
            usage=stored.usage,
        )
        return self._run(plan, reply, attended=stored.attended)

    async def _fail(self, stored: StoredTurn, reply: Reply) -> Reply:
        error = TurnFailed("The agency was deleted.", code="agency_deleted")
        ended = await self._ledger.fail(stored.lease, None, replay.describe(error), "")
        reply.end(error)
        self._ended(stored.lease, ended)
        return reply

    def _run(self, plan: Plan, reply: Reply, *, attended: bool) -> Reply:
        turn = Turn(
            plan,
            self._ledger,
            self._model,
            self.library,
            reply,
            default_model=self._default_model,
        )
        return self.running.start(turn, plan.lease, reply, attended=attended)

    def _ended(self, lease: Lease, ended: Ended) -> None:
        if ended.queued:
            self.running.see_to(self._start_next(lease.conversation_id))
        if ended.untitled and not self._draining:
            self.running.aside(self._titles.give(lease.conversation_id))

    # ---- listeners -------------------------------------------------------------------------------

    @asynccontextmanager
    async def listening(self, reply: Reply) -> AsyncIterator[Reply]:
        """Follow a reply. When the last listener leaves before the end, the turn is suspended."""
        reply.followers += 1
        try:
            yield reply
        finally:
            reply.followers -= 1
            if not reply.followers and not reply.ended:
                self.running.see_to(self._abandon(reply))

    async def _abandon(self, reply: Reply) -> None:
        # A listener who had been given the reply when the last one left may have come since.
        if reply.followers:
            return
        held = self.running.find(reply.turn_id)
        if held is not None and held.reply is reply and held.attended:
            self.running.let_go(reply)
            await self.running.suspend(held)
        elif self._awaiting.forget(reply):
            gone = replay.describe(TurnCancelled("Its client went away."))
            await self._ledger.end(reply.turn_id, "cancelled", gone, among=("queued",))

    # ---- from outside ----------------------------------------------------------------------------

    async def cancel(self, turn_id: TurnId) -> bool:
        """Store that a turn is cancelled, then stop it. False if it had ended before."""
        error = replay.describe(TurnCancelled("The turn was cancelled."))
        if not await self._ledger.end(turn_id, "cancelled", error, among=tuple(OPEN)):
            return False
        await self.stop([turn_id])
        return True

    async def stop(self, turn_ids: Sequence[UUID]) -> None:
        """Turns that have been ended in the rows: whoever runs them closes their model calls."""
        self.running.stop(turn_ids)
        self._announcer.stopped(turn_ids)
        self._announcer.freed()  # what waited for them may begin

    async def sweep(self) -> None:
        """Take up what a lost process left, start what waits for nothing, and end what waited too
        long."""
        if self._draining:
            return
        await self.running.release_dropped()
        for turn in await self._ledger.expired(AT_ONCE):
            await self._survive(self._sweep(turn), turn["id"])
        for conversation_id in await self._inbox.stranded(AT_ONCE):
            await self._survive(self._start(conversation_id), conversation_id)

    async def _survive(self, work: Coroutine[None, None, object], what: UUID) -> None:
        """One that can't be taken up must not keep the others back."""
        try:
            await work
        except GatewayError:
            raise
        except Exception as error:
            broken = {"id": what.hex, "causes": causes(error)}
            log.error("turn not swept", extra=broken)  # noqa: TRY400  a traceback has words

    async def _sweep(self, turn: Row) -> None:
        turn_id, state = turn["id"], turn["state"]
        if state == "suspended":
            await self._give_up(turn_id, "cancelled", "Its client went away.", state)
        elif state == "waiting":
            await self._give_up(turn_id, "cancelled", IDLE, state, "session_expired")
        elif self.running.find(turn_id):
            return  # its renewal is late
        elif turn["attempt"] >= ATTEMPTS and turn["lost"]:
            await self._give_up(turn_id, "failed", "Each process that ran it was lost.", state)
        else:
            await self._take_up(turn_id)

    async def _give_up(
        self, turn_id: TurnId, state: str, why: str, among: str, code: str | None = None
    ) -> None:
        error = replay.describe(TurnFailed(why, code=code or f"turn_{state}"))
        if await self._ledger.end(turn_id, state, error, among=(among,), expired=True):
            self._announcer.freed()

    async def hand_over(self) -> None:
        """This process ends: others go on with what nobody here waits for."""
        self._draining = True
        await self.running.hand_over()

    async def close(self) -> None:
        await self.hand_over()
        await self.running.close()
        await self._awaiting.close()
        await self.hand_over()  # again, for what was about to be run while the others were closed


def _letter(asked: Asked, conversation_id: UUID) -> Letter:
    """What the request sends of the history is ignored: the conversation knows it."""
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


def _reply(stored: StoredTurn) -> Reply:
    return Reply(stored.id, stored.conversation_id, int(stored.created_at))
