"""Where turns are kept while they run.

`chat` accepts a request and starts its turn; a request that comes again is given the turn it began.
Whoever follows a reply does so inside `listening`; a turn that nobody listens to any more is
suspended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID

from gateway import ids
from gateway.agency.model import Model
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turns import lineage, replay
from gateway.agency.turns.accept import Asked, entries, inbound
from gateway.agency.turns.ledger import Fenced, Lease, Ledger, StoredTurn
from gateway.agency.turns.memory import Memory
from gateway.agency.turns.reception import OPEN, POLL, Accepted, Queues, Reception
from gateway.agency.turns.reply import Reply
from gateway.agency.turns.request import ChatRequest
from gateway.agency.turns.step import Event, begin
from gateway.agency.turns.turn import Plan, Turn, describe
from gateway.auth import Principal
from gateway.database import Row
from gateway.errors import GatewayError, NotFound, TurnCancelled, TurnFailed, Unavailable
from gateway.ids import TurnId
from gateway.streams.announcer import Announcer, Voice
from gateway.telemetry import causes

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How many processes may be lost over one turn."""
CLIENT_WAIT = 60.0
"""Seconds that a turn waits for a client that went away."""
ATTACHED = 900.0
"""Seconds that a request waits for a turn that runs in another process."""
LETTING_GO = 5.0
"""Seconds that the model calls of a turn have to be closed."""


class Stale(Exception):
    """What a request rested on (key, agency, place in the conversation) has changed: look again."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A turn of this process: its task, and how to lose it."""

    lease: Lease
    reply: Reply
    task: asyncio.Task[None]


class Engine:
    """The turns of one process."""

    def __init__(
        self,
        ledger: Ledger,
        reception: Reception,
        memory: Memory,
        catalog: Catalog,
        model: Model,
        announcer: Announcer,
        *,
        default_model: str,
    ) -> None:
        self._memory = memory
        self._ledger = ledger
        self._reception = reception
        self._catalog = catalog
        self._model = model
        self._announcer = announcer
        self._default_model = default_model
        self._requests = Queues()
        self._running: dict[UUID, _Running] = {}
        self._closing: set[asyncio.Task[None]] = set()

    # ---- accepting -------------------------------------------------------------------------------

    async def chat(
        self,
        request: ChatRequest,
        agency: AgencySpec,
        principal: Principal,
        *,
        conversation_id: UUID | None = None,
    ) -> Reply:
        """Accept a chat completion. Raises `Stale` if it must be asked again with fresh knowledge.

        A `retry` gets the turn that the same request began, also if it is still running.
        """
        if conversation_id is not None:
            digest = lineage.within(request.digest, conversation_id)
            request = replace(request, digest=digest)
        asked = Asked(request, agency, principal)
        # The queue is for a retry that overtakes its own first try.
        async with self._requests.of(request.digest):
            turn_id = await self._reception.seen(asked, retry=True) if request.retry else None
            if turn_id is None:
                if accepted := await self._accept(asked, conversation_id):
                    return self._begin(accepted)
                turn_id = await self._reception.seen(asked, retry=False)
        if turn_id is None:
            raise Stale
        return await self.attach(turn_id)

    async def _accept(self, asked: Asked, conversation_id: UUID | None) -> Accepted | None:
        if conversation_id is not None:
            return await self._reception.go_on_in(conversation_id, asked)
        return await self._reception.rejoin(asked)

    def _begin(self, accepted: Accepted) -> Reply:
        turn, begun, agency = accepted.turn, accepted.begun, accepted.asked.agency
        lease = begun.lease
        work = begin(agency, turn.ask.within(agency.limits))
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
        return self._start(plan, int(begun.created_at.timestamp()))

    # ---- taking up -------------------------------------------------------------------------------

    async def attach(self, turn_id: TurnId) -> Reply:
        """The reply of a turn that runs here, is taken up now, or has ended. Waits for the end of
        one that runs elsewhere."""
        try:
            async with asyncio.timeout(ATTACHED):
                while True:
                    if reply := await self._find(turn_id):
                        return reply
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise Unavailable("The turn is still running; ask again.") from None

    async def _find(self, turn_id: TurnId) -> Reply | None:
        if running := self._running.get(turn_id):
            return running.reply
        stored = await self._ledger.turn(turn_id)
        if stored is None:
            raise NotFound("There is no such turn.", code="turn_not_found")
        if ended := replay.ended(stored):
            return ended
        if stored.state == "suspended" or stored.expired:
            return await self._take_up(turn_id)
        return None

    async def _take_up(self, turn_id: TurnId) -> Reply | None:
        """Go on with a turn that nobody runs. None if somebody was faster."""
        if await self._ledger.take(turn_id, ATTEMPTS) is None:
            return None
        # Read now: till then another process could write.
        stored = await self._ledger.turn(turn_id)
        return None if stored is None else await self._resume(stored)

    async def _resume(self, stored: StoredTurn) -> Reply:
        events = await self._ledger.events(stored.id)
        agency = await self._catalog.working(int(stored.responder.removeprefix("agency/")))
        lease = stored.lease
        if agency is None:
            error = TurnFailed("The agency was deleted.", code="agency_deleted")
            await self._ledger.fail(lease, None, describe(error), "")
            return replay.failed(stored, error)
        work = begin(agency, stored.ask.within(agency.limits))
        for event in events:
            work.apply(event)
        plan = Plan(
            lease=replace(lease, version=max(event.version for event in events)),
            agency=agency,
            ask=stored.ask,
            work=work,
            system=stored.system,
            chain=stored.history_hash,
            usage=stored.usage,
        )
        return self._start(plan, int(stored.created_at))

    # ---- running ---------------------------------------------------------------------------------

    def _start(self, plan: Plan, created: int) -> Reply:
        lease = plan.lease
        reply = Reply(lease.turn_id, lease.conversation_id, created)
        turn = Turn(plan, self._ledger, self._model, reply, default_model=self._default_model)
        task = asyncio.create_task(self._run(turn, reply, lease), name=f"turn {lease.turn_id}")
        self._running[lease.turn_id] = _Running(lease, reply, task)
        place = lease.conversation_id, lease.reply_id, lease.fence
        self._announcer.speak(Voice(*place, said=lambda: reply.said, wanted=reply.stream))
        return reply

    async def _run(self, turn: Turn, reply: Reply, lease: Lease) -> None:
        try:
            await turn.run()
            if (remembered := turn.remembered) is not None:
                self._memory.keep(reply.conversation_id, remembered)
        except Fenced:
            await self._tell_why_lost(reply)
        except GatewayError as error:
            # The rows are as the last step left them; the lease runs out and the turn is taken up.
            reply.end(error)
        except Exception as error:
            broken = {"turn": ids.show(ids.TURN, reply.turn_id), "causes": causes(error)}
            log.error("turn broke", extra=broken)  # noqa: TRY400  a traceback has words
            reply.end(TurnFailed("The turn broke off because of a fault of the gateway."))
        finally:
            self._announcer.fall_silent(lease.conversation_id, lease.reply_id, lease.fence)
            self._let_go(reply)

    def _let_go(self, reply: Reply) -> _Running | None:
        """Forget a turn, unless it has been taken up again since: then it has another reply."""
        running = self._running.get(reply.turn_id)
        return self._running.pop(reply.turn_id) if running and running.reply is reply else None

    async def _tell_why_lost(self, reply: Reply) -> None:
        try:
            stored = await self._ledger.turn(reply.turn_id)
        except GatewayError as error:
            reply.end(error)
            return
        why = replay.failure(stored) if stored is not None else None
        reply.end(why or Unavailable("Another process has taken this turn over; ask again."))

    @asynccontextmanager
    async def listening(self, reply: Reply) -> AsyncIterator[Reply]:
        """Follow a reply. When the last listener leaves before the end, the turn is suspended."""
        reply.followers += 1
        try:
            yield reply
        finally:
            reply.followers -= 1
            if not reply.followers and not reply.ended:
                self._see_to(self._abandon(reply))

    async def _abandon(self, reply: Reply) -> None:
        # A listener who had been given the reply when the last one left may have come since.
        if not reply.followers and (running := self._let_go(reply)):
            await self._suspend(running)

    async def _suspend(self, running: _Running) -> None:
        """Close the model calls, keep the finished steps, and wait for the client."""
        lease = running.lease
        running.task.cancel()
        await asyncio.wait((running.task,), timeout=LETTING_GO)
        try:
            await self._ledger.suspend(lease.turn_id, lease.fence, CLIENT_WAIT)
        finally:  # if the rows are out of reach the lease runs out
            running.reply.end(Unavailable("The turn was suspended; ask again."))

    def _see_to(self, work: Coroutine[None, None, None]) -> None:
        """Do what nobody waits for."""
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._seen_to)

    def _seen_to(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("a turn was not suspended", extra={"causes": causes(error)})

    # ---- from outside ----------------------------------------------------------------------------

    async def cancel(self, turn_id: TurnId) -> bool:
        """Store that a turn is cancelled, then stop it. False if it had ended before."""
        error = TurnCancelled("The turn was cancelled.")
        if not await self._ledger.end(turn_id, "cancelled", describe(error), among=tuple(OPEN)):
            return False
        if running := self._running.pop(turn_id, None):
            running.task.cancel()
            running.reply.end(error)
        return True

    async def renew(self) -> None:
        """Renew the leases of this process, and let go of turns that are no longer ours."""
        held = list(self._running.values())
        if not held:
            return
        lost = await self._ledger.renew([running.lease for running in held])
        for running in held:
            if running.lease.turn_id in lost and self._let_go(running.reply):
                running.task.cancel()
                await self._tell_why_lost(running.reply)

    async def save(self) -> None:
        """Keep what growing replies say so far, for whoever reads the rows meanwhile."""
        growing = [
            (running.lease, running.reply.said)
            for running in self._running.values()
            if running.reply.spoken and not running.reply.ended
        ]
        if growing:
            await self._ledger.save(growing)

    async def sweep(self) -> None:
        """Take up what a lost process left, and end what waited too long."""
        for turn in await self._ledger.expired(most=100):
            try:
                await self._sweep(turn)
            except GatewayError:
                raise
            except Exception as error:  # one that can't be taken up must not keep the others back
                broken = {"turn": ids.show(ids.TURN, turn["id"]), "causes": causes(error)}
                log.error("turn not swept", extra=broken)  # noqa: TRY400

    async def _sweep(self, turn: Row) -> None:
        turn_id, state = turn["id"], turn["state"]
        if state == "suspended":
            await self._give_up(turn_id, "cancelled", "Its client went away.", state)
        elif turn_id in self._running:
            return  # its renewal is late
        elif turn["attempt"] >= ATTEMPTS:
            await self._give_up(turn_id, "failed", "Each process that ran it was lost.", state)
        else:
            await self._take_up(turn_id)

    async def _give_up(self, turn_id: TurnId, state: str, why: str, among: str) -> None:
        error = describe(TurnFailed(why, code=f"turn_{state}"))
        await self._ledger.end(turn_id, state, error, among=(among,), expired=True)

    async def idle(self, seconds: float) -> None:
        """Wait until no turn runs, at most so long."""
        if tasks := [running.task for running in self._running.values()]:
            await asyncio.wait(tasks, timeout=seconds)

    async def close(self) -> None:
        """Suspend every turn, so that its client's next try finds it where it stopped."""
        for running in list(self._running.values()):
            self._let_go(running.reply)
            self._see_to(self._suspend(running))
        if self._closing:
            await asyncio.wait(self._closing)
