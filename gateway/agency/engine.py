"""Where turns come from and where they are kept while they run.

`chat` accepts a request: it finds the conversation that the client's history continues, writes the
turn and starts it. A request that comes again is given the turn it began. Whoever follows a reply
does so inside `listening`; a turn that nobody listens to any more is suspended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

from gateway import ids
from gateway.agency import lineage
from gateway.agency.accept import Place, draft, entries, inbound
from gateway.agency.catalog import Catalog
from gateway.agency.ledger import Fenced, Lease, Ledger, NewTurn, StoredTurn
from gateway.agency.lineage import PROBED_FIRST, Begin, Chain, Continue, Fork, Match
from gateway.agency.model import Model
from gateway.agency.prompt import Entry
from gateway.agency.reply import Outcome, Reply
from gateway.agency.request import Ask, ChatRequest, Public
from gateway.agency.step import Event, begin
from gateway.agency.team import AgencySpec, Limits
from gateway.agency.turn import Plan, Turn, describe
from gateway.auth import Principal
from gateway.errors import Conflict, GatewayError, NotFound, TurnCancelled, TurnFailed, Unavailable
from gateway.ids import TurnId

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a turn is taken up after the process that ran it was lost."""
CLIENT_WAIT = 60.0
"""Seconds that a turn waits for a client that went away."""
POLL = 0.1
"""Seconds between looks at a turn that another process runs."""


class Stale(Exception):
    """What a request rested on (key, agency, place in the conversation) has changed: look again."""


class _Running:
    """A turn of this process: its task, and how to lose it."""

    def __init__(self, lease: Lease, reply: Reply, task: asyncio.Task[None]) -> None:
        self.lease = lease
        self.reply = reply
        self.task = task


class Engine:
    """The turns of one process."""

    def __init__(
        self, ledger: Ledger, catalog: Catalog, model: Model, *, default_model: str
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._model = model
        self._default_model = default_model
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
        if request.retry and (turn_id := await self._ledger.seen(request.digest, retry=True)):
            return await self.attach(turn_id)
        accepted = await self._accept(request, agency, principal, conversation_id)
        if accepted is not None:
            return accepted
        if turn_id := await self._ledger.seen(request.digest, retry=False):
            return await self.attach(turn_id)
        raise Stale

    async def _accept(
        self,
        request: ChatRequest,
        agency: AgencySpec,
        principal: Principal,
        conversation_id: UUID | None,
    ) -> Reply | None:
        dialogue = request.dialogue
        chain = lineage.chain(request.scope, dialogue.history, dialogue.inputs)
        if conversation_id is not None:
            return await self._go_on_in(conversation_id, request, agency, principal)
        decision, known = await self._decide(chain)
        unknown = dialogue.history[known:]
        match decision:
            case Begin():
                place = Place(ids.new(), unknown)
                return await self._begin(
                    draft(request, agency, principal, place, chain.whole), agency
                )
            case Continue(match):
                turn = draft(request, agency, principal, _place(match, unknown), chain.whole)
                return await self._continue(turn, agency, match.version)
            case Fork(match):
                return await self._fork(request, agency, principal, match, known, chain)

    async def _decide(self, chain: Chain) -> tuple[lineage.Decision, int]:
        """What to do with a history, and how many of its messages are known."""
        probes = chain.prefixes[:PROBED_FIRST], chain.prefixes[PROBED_FIRST:]
        for prefixes in probes:
            if not prefixes:
                break
            found = await self._ledger.matches([digest for digest, _ in prefixes])
            for digest, count in prefixes:
                matches = [match for match in found if match.history_hash == digest]
                if matches:
                    return lineage.decide(matches), count
        return Begin(), 0

    async def _begin(self, turn: NewTurn, agency: AgencySpec) -> Reply | None:
        lease = await self._ledger.begin(turn)
        return None if lease is None else self._start_new(turn, agency, lease, [])

    async def _continue(self, turn: NewTurn, agency: AgencySpec, version: int) -> Reply | None:
        accepted = await self._ledger.continue_(turn, version)
        if accepted is None:
            return None
        lease, context = accepted
        return self._start_new(turn, agency, lease, context, fresh=False)

    async def _fork(
        self,
        request: ChatRequest,
        agency: AgencySpec,
        principal: Principal,
        match: Match,
        known: int,
        chain: Chain,
    ) -> Reply | None:
        copy = ids.new()
        async with self._ledger.transaction():
            head = await self._ledger.fork(match, copy)
            if head is None:
                return None
            place = _place(head, request.dialogue.history[known:])
            turn = draft(request, agency, principal, place, chain.whole)
            accepted = await self._ledger.continue_(turn, head.version)
            if accepted is None:
                # Leaving by an exception takes the copy back.
                raise Stale
        lease, context = accepted
        return self._start_new(turn, agency, lease, context, fresh=False)

    async def _go_on_in(
        self, conversation_id: UUID, request: ChatRequest, agency: AgencySpec, principal: Principal
    ) -> Reply | None:
        """The conversation that the request names; what it sends of the history is ignored."""
        head = await self._ledger.head(conversation_id, request.responder)
        if head is None or head.owner != principal.user:
            raise NotFound("There is no such conversation.", code="conversation_not_found")
        if head.running is not None:
            await self._wait_for(head.running)
            raise Stale
        digest = None
        if head.match.history_hash:
            digest = lineage.extend(head.match.history_hash, request.dialogue.inputs)
        turn = draft(request, agency, principal, _place(head.match, ()), digest)
        return await self._continue(turn, agency, head.match.version)

    async def _wait_for(self, turn_id: TurnId) -> None:
        """One turn at a time: wait until the one before has ended."""
        running = self._running.get(turn_id)
        if running is None:
            raise Conflict("Another turn of this conversation is running.", code="turn_running")
        await asyncio.wait((running.task,))

    def _start_new(
        self,
        turn: NewTurn,
        agency: AgencySpec,
        lease: Lease,
        context: list[Entry],
        *,
        fresh: bool = True,
    ) -> Reply:
        work = begin(agency, _limits(agency, turn.ask))
        work.apply(Event(lease.version, inbound(turn)))
        plan = Plan(
            lease=lease,
            agency=agency,
            ask=turn.ask,
            work=work,
            system=next((m.text for m in turn.messages if m.role == "system"), None),
            chain=turn.history_hash,
            contexts={turn.entry: context + entries(turn, lease.version)},
            fresh=fresh,
        )
        return self._start(plan, int(time.time()))

    # ---- taking up -------------------------------------------------------------------------------

    async def attach(self, turn_id: TurnId) -> Reply:
        """The reply of a turn: of one that runs here, one taken up now, or one that has ended."""
        while True:
            if running := self._running.get(turn_id):
                return running.reply
            stored = await self._ledger.turn(turn_id)
            if stored is None:
                raise NotFound("There is no such turn.", code="turn_not_found")
            if ended := _ended(stored):
                return ended
            if fence := await self._ledger.take(turn_id, ATTEMPTS):
                return await self._resume(replace(stored, fence=fence))
            await asyncio.sleep(POLL)

    async def _resume(self, stored: StoredTurn) -> Reply:
        events = await self._ledger.events(stored.id)
        agency = await self._catalog.working(int(stored.responder.removeprefix("agency/")))
        lease = Lease(stored.id, stored.conversation_id, stored.fence, stored.version)
        if agency is None:
            error = TurnFailed("The agency was deleted.", code="agency_deleted")
            await self._ledger.fail(lease, None, describe(error), "")
            return _failed(stored, error)
        work = begin(agency, _limits(agency, stored.ask))
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
        task = asyncio.create_task(self._run(turn, reply), name=f"turn {lease.turn_id}")
        self._running[lease.turn_id] = _Running(lease, reply, task)
        return reply

    async def _run(self, turn: Turn, reply: Reply) -> None:
        try:
            await turn.run()
        except Fenced:
            reply.end(await self._why_lost(reply.turn_id))
        except GatewayError as error:
            # The rows are as the last step left them; the lease runs out and the turn is taken up.
            reply.end(error)
        except Exception:
            log.exception("turn broke", extra={"turn": ids.show(ids.TURN, reply.turn_id)})
            reply.end(TurnFailed("The turn broke off because of a fault of the gateway."))
        finally:
            self._running.pop(reply.turn_id, None)

    async def _why_lost(self, turn_id: TurnId) -> GatewayError:
        stored = await self._ledger.turn(turn_id)
        if stored is not None and stored.state == "cancelled":
            return TurnCancelled("The turn was cancelled.")
        return Unavailable("Another process has taken this turn over; ask again.")

    @asynccontextmanager
    async def listening(self, reply: Reply) -> AsyncIterator[Reply]:
        """Follow a reply. When the last listener leaves before the end, the turn is suspended."""
        reply.followers += 1
        try:
            yield reply
        finally:
            reply.followers -= 1
            if not reply.followers and not reply.ended:
                self._abandon(reply.turn_id)

    def _abandon(self, turn_id: UUID) -> None:
        if running := self._running.pop(turn_id, None):
            task = asyncio.create_task(self._suspend(running), name=f"suspend {turn_id}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _suspend(self, running: _Running) -> None:
        """Close the model calls, keep the finished steps, and wait for the client."""
        running.task.cancel()
        await asyncio.wait((running.task,))
        lease = running.lease
        await self._ledger.suspend(lease.turn_id, lease.fence, CLIENT_WAIT)
        running.reply.end(Unavailable("The gateway is shutting down; ask again."))

    # ---- from outside ----------------------------------------------------------------------------

    async def cancel(self, turn_id: TurnId) -> bool:
        """Store that a turn is cancelled, then stop it. False if it had ended before."""
        error = TurnCancelled("The turn was cancelled.")
        open_states = ("queued", "running", "waiting", "suspended")
        stored = await self._ledger.end(turn_id, "cancelled", describe(error), among=open_states)
        if running := self._running.pop(turn_id, None):
            running.task.cancel()
            running.reply.end(error)
        return stored

    async def renew(self) -> None:
        """Renew the leases of this process, and let go of turns that are no longer ours."""
        held = list(self._running.values())
        if not held:
            return
        kept = await self._ledger.renew([running.lease for running in held])
        for running in held:
            lost = running.lease.turn_id not in kept
            if lost and self._running.get(running.lease.turn_id) is running:
                del self._running[running.lease.turn_id]
                running.task.cancel()
                running.reply.end(await self._why_lost(running.lease.turn_id))

    async def sweep(self) -> None:
        """Take up what a lost process left, and end what waited too long."""
        for turn_id, state, attempt in await self._ledger.expired(most=100):
            if state == "suspended":
                await self._give_up(turn_id, "cancelled", "Its client went away.", state)
            elif attempt >= ATTEMPTS:
                await self._give_up(turn_id, "failed", "Each process that ran it was lost.", state)
            elif turn_id not in self._running:
                await self.attach(turn_id)

    async def _give_up(self, turn_id: TurnId, state: str, why: str, among: str) -> None:
        error = describe(TurnFailed(why, code=f"turn_{state}"))
        await self._ledger.end(turn_id, state, error, among=(among,), expired=True)

    async def idle(self, seconds: float) -> None:
        """Wait until no turn runs, at most so long."""
        if tasks := [running.task for running in self._running.values()]:
            await asyncio.wait(tasks, timeout=seconds)

    async def close(self) -> None:
        """Suspend every turn, so that its client's next try finds it where it stopped."""
        for turn_id in list(self._running):
            self._abandon(turn_id)
        if self._closing:
            await asyncio.wait(self._closing)


def _place(match: Match, unknown: Sequence[Public]) -> Place:
    return Place(match.conversation_id, unknown, match.system, match.system_message_id)


def _limits(agency: AgencySpec, ask: Ask) -> Limits:
    """The agency's limits, which a request can only lower."""
    limits = agency.limits
    if ask.seconds is not None:
        limits = replace(limits, seconds=min(limits.seconds, ask.seconds))
    if ask.model_calls is not None:
        limits = replace(limits, model_calls=min(limits.model_calls, ask.model_calls))
    return limits


def _ended(stored: StoredTurn) -> Reply | None:
    """The reply of a turn that has ended, or None if it is open."""
    match stored.state:
        case "completed":
            reply = Reply(stored.id, stored.conversation_id, int(stored.created_at))
            reply.publish(stored.answer)
            reason = stored.finish_reason or "stop"
            reply.end(Outcome(stored.answer, reason, stored.usage))
            return reply
        case "cancelled":
            return _failed(stored, TurnCancelled("The turn was cancelled."))
        case "failed":
            why = (stored.error or {}).get("message")
            return _failed(stored, TurnFailed(str(why or "The turn failed.")))
        case _:
            return None


def _failed(stored: StoredTurn, error: GatewayError) -> Reply:
    reply = Reply(stored.id, stored.conversation_id, int(stored.created_at))
    reply.end(error)
    return reply
