"""The side of the engine that runs turns: finds them wherever they are, takes them up from what
their rows say, and looks after those who follow their replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from gateway.agency.engine.active import ActiveTurns
from gateway.agency.engine.control import Control
from gateway.agency.engine.titles import Titles
from gateway.agency.engine.waiting import ATTACHED, WaitingReplies
from gateway.agency.intake.responder import team_of
from gateway.agency.intake.start import Answering, Started, Starter
from gateway.agency.ledger import outcome
from gateway.agency.ledger.context_cache import ContextCache
from gateway.agency.ledger.rows import Ended, Lease, Past, StoredTurn, Taken
from gateway.agency.run.plan import Plan
from gateway.agency.run.services import Services
from gateway.agency.run.turn import TeamTurn
from gateway.agency.speech.prompt import Entry
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import PLAIN_MODEL, AgencySpec
from gateway.agency.turn.events import ASKED, Event
from gateway.agency.turn.reply import Reply
from gateway.agency.turn.rules import begin
from gateway.conversation.turn_states import OPEN, TurnState
from gateway.errors import GatewayError, NotFound, TurnCancelled, TurnFailed, Unavailable
from gateway.ids import TurnId
from gateway.settings import Polls
from gateway.streams.announcer import Announcer
from gateway.streams.versions import Versions

ATTEMPTS = 3
"""How many processes may be lost over one turn."""


class Runner:
    """The turns of one process."""

    def __init__(
        self,
        services: Services,
        starter: Starter,
        cache: ContextCache,
        catalog: Catalog,
        announcer: Announcer,
        versions: Versions,
        control: Control,
        polls: Polls,
    ) -> None:
        self.services = services
        self.ledger = services.ledger
        self.starter = starter
        self.control = control
        self.versions = versions
        self._catalog = catalog
        self._titles = Titles(services)
        self.polls = polls
        self._waiting = WaitingReplies(self.ledger, versions, self.take_up, polls.replies)
        self.draining = False
        """Set once this process ends: it begins nothing more."""
        self.running = ActiveTurns(self.ledger, cache, announcer, self._ended, self._parked)
        self.woken = asyncio.Event()
        """Set when there may be something to take up."""

    # ---- taking up -------------------------------------------------------------------------------

    async def attach(self, turn_id: TurnId) -> Reply:
        """The reply of a turn, wherever it runs. One that nobody runs is taken up."""
        if reply := self._known(turn_id):
            return reply
        stored = await self.ledger.turn(turn_id)
        if stored is None:
            raise NotFound("There is no such turn.", code="turn_not_found")
        reply = self._known(turn_id) or _reply(stored)
        if outcome.into(reply, stored):
            return reply
        if stored.abandoned and (taken := await self.take_up(turn_id)):
            return taken
        return self._known(turn_id) or self._waiting.wait(reply)

    def _known(self, turn_id: TurnId) -> Reply | None:
        held = self.running.find(turn_id)
        return held.reply if held else self._waiting.find(turn_id)

    async def take_up(self, turn_id: TurnId) -> Reply | None:
        """Go on with a turn that nobody runs. None if somebody was faster."""
        return (
            None if self.draining else await self.go_on(await self.ledger.take(turn_id, ATTEMPTS))
        )

    async def next(
        self, conversation_id: UUID, answering: Answering | None = None
    ) -> Started | None:
        """The conversation's next turn, if it is ours to run now; see `Starter.start`."""
        return None if self.draining else await self.starter.start(conversation_id, answering)

    async def start(self, conversation_id: UUID) -> bool:
        """Run what is next in a conversation: all who answer the same. False if nothing is."""
        began = False
        while (started := await self.next(conversation_id)) is not None:
            began = True
            self.see_through(started)
        return began

    async def _start_next(self, conversation_id: UUID) -> None:
        if not await self.start(conversation_id):
            self.control.freed()  # another process has its client, or is to stay when we end

    async def begin(self, started: Started | None) -> None:
        """Run a turn that was queued."""
        if started is None:
            return
        turn = started.turn
        if self.ledger.is_late(started.asked_at) or started.team is None:
            await self.go_on(turn.taken)
        else:
            past = Past([Event(turn.version, started.inbound)], 0.0)
            self._run(turn, started.team, past, started.contexts, fresh=started.fresh)

    def see_through(self, started: Started) -> None:
        """Run a turn that was queued, and wait for nothing."""
        self.running.see_to(self.begin(started))

    async def go_on(self, taken: Taken | None) -> Reply | None:
        """Run a turn that has become ours."""
        if taken is None:
            return None
        try:
            return await self._read_and_run(taken)
        except GatewayError:  # else nobody would run it till its lease is over
            self.ledger.drop(taken)
            raise

    async def _read_and_run(self, taken: Taken) -> Reply | None:
        """Runs a turn from what its rows say."""
        # Read now: till then another process could write.
        stored = await self.ledger.turn(taken.turn_id)
        if stored is None or stored.fence != taken.fence:
            return None  # who was held up on the way may have lost it again
        team = await team_of(stored.responder, self._catalog)
        if team is None:
            return await self._fail(stored)
        if team.plain:
            said = await self.ledger.chain(stored.conversation_id, stored.id)
            past, contexts = Past([Event(stored.version, ASKED)], 0.0), {int(PLAIN_MODEL): said}
        else:
            past, contexts = await self.ledger.past(stored.id), {}
        return self._run(stored, team, past, contexts, fresh=False)

    def _run(
        self,
        stored: StoredTurn,
        agency: AgencySpec,
        past: Past,
        contexts: dict[int, list[Entry]],
        *,
        fresh: bool,
    ) -> Reply:
        limits, silence = stored.ask.within(agency.limits), stored.ask.silence
        work = begin(agency, limits, manual=stored.manual, silence=silence, served=stored.served)
        for event in past.events:
            work.apply(event)
        plan = Plan(
            lease=stored.lease,
            agency=agency,
            ask=stored.ask,
            work=work,
            system=stored.system,
            chain=stored.history_hash,
            contexts=contexts,
            fresh=fresh,
            usage=stored.usage,
            used=past.seconds,
        )
        return self.run(plan, self._reply(stored), attended=stored.attended)

    def _reply(self, stored: StoredTurn) -> Reply:
        """The one that somebody waits with already, if there is."""
        return self._waiting.hand_over(stored.id) or _reply(stored)

    async def _fail(self, stored: StoredTurn) -> Reply:
        reply = self._reply(stored)
        error = TurnFailed("The agency was deleted.", code="agency_deleted")
        ended = await self.ledger.fail(stored.lease, None, outcome.describe(error), "")
        reply.end(error)
        self._ended(stored.lease, ended)
        return reply

    def run(self, plan: Plan, reply: Reply, *, attended: bool) -> Reply:
        """Run a turn whose lease this process has."""
        turn = TeamTurn(plan, self.services, reply)
        return self.running.start(turn, plan.lease, reply, attended=attended)

    def _ended(self, lease: Lease, ended: Ended) -> None:
        if ended.followed:
            self.running.see_to(self._start_next(lease.conversation_id))
        if ended.untitled and not self.draining:
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
        elif self._waiting.forget(reply):
            gone = outcome.describe(TurnCancelled("Its client went away."))
            await self.ledger.end(
                reply.turn_id, TurnState.CANCELLED, gone, among=[TurnState.QUEUED]
            )

    # ---- the end ---------------------------------------------------------------------------------

    async def finish(self, turn_id: TurnId) -> None:
        """Wait until a turn has ended, in whatever way: its rows say how. Raises Unavailable."""
        try:
            async with asyncio.timeout(ATTACHED):
                while not await self._has_ended(turn_id):
                    if self.draining:
                        raise Unavailable("The gateway is shutting down; try again.", retry_after=1)
        except TimeoutError:
            raise Unavailable("The turn is still running; try again.") from None

    async def _has_ended(self, turn_id: TurnId) -> bool:
        """Wait for a reply. One that ends by an error may have a turn that goes on elsewhere."""
        reply = await self.attach(turn_id)
        try:
            await reply.outcome()
        except GatewayError:
            return not await self._is_open(turn_id)
        return True

    async def _is_open(self, turn_id: TurnId) -> bool:
        stored = await self.ledger.turn(turn_id)
        return stored is not None and stored.state in OPEN

    def _parked(self, reply: Reply) -> None:
        """Whoever follows the reply of a turn that waits is told when it has ended."""
        if reply.followers:
            self._waiting.wait(reply)
        else:
            reply.end(Unavailable("The turn waits for an answer from outside."))

    async def hand_over(self) -> None:
        """This process ends: others go on with what nobody here waits for."""
        self.draining = True
        await self.running.hand_over()
        self.control.freed()

    async def close(self) -> None:
        await self.hand_over()
        await self.running.close()
        await self._waiting.close()
        await self.hand_over()  # again, for what was about to be run while the others were closed


def _reply(stored: StoredTurn) -> Reply:
    return Reply(stored.id, stored.conversation_id, int(stored.created_at))
