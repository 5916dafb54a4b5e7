"""The turn engine's heart: calls agents, writes what they say, until the end user has an answer.

The state of a turn is always in its rows. What stands here is a copy of them, kept in step by
`Work.apply`; a runner that loses its lease is cancelled and writes nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from gateway.agency.ledger.context_cache import Remembered
from gateway.agency.ledger.ledger import CONTEXT_ROWS
from gateway.agency.ledger.outcome import describe
from gateway.agency.ledger.rows import Ended, StepRecord
from gateway.agency.model import Text
from gateway.agency.run.call import Spoken, with_what_is_untold
from gateway.agency.run.caller import AgentCaller
from gateway.agency.run.contexts import Contexts
from gateway.agency.run.plan import Plan
from gateway.agency.run.services import Services
from gateway.agency.speech.prompt import END_USER, GATEWAY, LIBRARY, Entry
from gateway.agency.turn import lineage
from gateway.agency.turn.bounds import Release
from gateway.agency.turn.events import Answer, Deliver, Delivery, Event, GiveUp, Question, Verdict
from gateway.agency.turn.library import consult
from gateway.agency.turn.reply import Outcome, Reply
from gateway.agency.turn.request import Public
from gateway.agency.turn.rules import NOBODY
from gateway.errors import GatewayError, TurnFailed, UpstreamError

GRACE_SHARE, MIN_GRACE, MAX_GRACE = 0.2, 1.0, 60.0
"""Once its time is up a turn has this much more for its last answer: a share of its limit, and
seconds. `routes.chat_wire.READ_SHARE` leaves room for it."""


class TeamTurn:
    """Runs one turn to its end."""

    def __init__(self, plan: Plan, services: Services, reply: Reply) -> None:
        self._plan = plan
        self._work = plan.work
        self._agency = plan.agency
        self._lease = plan.lease
        self._ledger = services.ledger
        self._library = services.library
        self._checks = services.checks
        self._reply = reply
        self._usage = plan.usage
        self._contexts = Contexts(
            plan.contexts,
            self._load,
            turn_id=plan.lease.turn_id,
            version=plan.lease.version,
            fresh=plan.fresh,
        )
        self._caller = AgentCaller(plan, self._contexts, services, reply)
        self.remembered: Remembered | None = None
        """The contexts after an answer, for the turn that comes next."""
        self.ended: Ended | None = None
        self._parked = False
        self._shown = plan.lease.shown
        self._began = perf_counter() - plan.used
        self._calls: dict[int, asyncio.Task[Spoken]] = {}
        self._searches: dict[int, asyncio.Task[Delivery]] = {}
        """By who asked."""

    async def run(self) -> None:
        """Run the turn to its end, or until somebody outside must answer. Raises `Fenced` if the
        turn was taken away, Unavailable if the database was."""
        try:
            while not (self._reply.ended or self._parked):
                await self._round()
        finally:
            await self._hang_up()

    async def _load(self, agent: int) -> list[Entry]:
        return await self._ledger.context(self._lease.conversation_id, agent)

    # ---- rounds ----------------------------------------------------------------------------------

    async def _round(self) -> None:
        """Call whoever can go on, search for whoever asks, and take in the next answers."""
        if self._shown is not None:
            await self._show()
        ready = self._work.ready(self._calls)
        queries = [query for query in self._work.queries() if query.asker not in self._searches]
        if reason := self._exhausted(len(ready) + len(queries)):
            await self._close(reason)
        elif len(ready) == 1 and not (queries or self._calls or self._searches):
            await self._settle(await self._call(ready[0]))
        elif ready or queries or self._calls or self._searches:
            await self._settle_next(ready, queries)
        elif question := self._work.awaited():
            self._parked = self._work.manual = await self._ledger.park(self._lease, question)
        else:
            await self._tell(Delivery(GATEWAY, self._work.entry, NOBODY))

    async def _show(self) -> None:
        """Have a room see what its participant does. Once it speaks, `ActiveTurns` does that."""
        doing = self._work.doing()
        if self._shown != doing and not self._reply.spoken:
            self._shown = doing
            await self._ledger.show(self._lease, doing)

    def _exhausted(self, more: int) -> str | None:
        tokens = self._usage.prompt_tokens + self._usage.completion_tokens
        made = self._work.steps + self._work.searches
        calls = made + len(self._calls) + len(self._searches) + more
        seconds = perf_counter() - self._began
        return self._work.exhausted(calls=calls, tokens=tokens, seconds=seconds)

    async def _settle_next(self, ready: Sequence[int], queries: Sequence[Question]) -> None:
        for agent in ready:
            self._calls[agent] = asyncio.create_task(self._call(agent), name=f"step of {agent}")
        for query in queries:
            search = asyncio.create_task(self._search(query), name=f"search for {query.asker}")
            self._searches[query.asker] = search
        await asyncio.wait(self._under_way(), return_when=asyncio.FIRST_COMPLETED)
        for agent, call in list(self._calls.items()):
            if call.done():
                del self._calls[agent]
                await self._settle(call.result())
            if self._reply.ended:
                return
        for asker, search in list(self._searches.items()):
            if search.done():
                del self._searches[asker]
                await self._tell(search.result())

    def _under_way(self) -> list[asyncio.Task[Spoken] | asyncio.Task[Delivery]]:
        return [*self._calls.values(), *self._searches.values()]

    async def _search(self, query: Question) -> Delivery:
        found = await consult(self._library, self._agency, query, self._time_left())
        return Delivery(LIBRARY, query.asker, found)

    async def _close(self, reason: str) -> None:
        """Tell the entry agent to answer now. Who else still speaks is no longer waited for."""
        await self._hang_up(but=self._work.entry)
        await self._tell(self._work.closing_note(reason))

    async def _tell(self, delivery: Delivery) -> None:
        """Write what no step said."""
        version = await self._advance(None, (delivery,))
        self._take_in(Event(version, (delivery,)), None)

    async def _advance(self, step: StepRecord | None, deliveries: Sequence[Delivery]) -> int:
        written = await self._ledger.advance(self._lease, step, deliveries)
        self._work.manual = written.manual
        return written.version

    async def _hang_up(self, but: int | None = None) -> None:
        """End what is under way, but for the call of one agent."""
        kept = {agent: call for agent, call in self._calls.items() if agent == but}
        ended = [task for task in self._under_way() if task not in kept.values()]
        self._calls, self._searches = kept, {}
        for task in ended:
            task.cancel()
        if ended:
            await asyncio.gather(*ended, return_exceptions=True)

    async def _call(self, agent: int) -> Spoken:
        spoken = await self._caller.call(agent, self._time_left())
        self._ledger.observer.call_ended(self._lease, spoken.step)
        return spoken

    def _time_left(self) -> float:
        limit = self._work.limits.seconds
        if self._work.closing is not None:
            return min(max(limit * GRACE_SHARE, MIN_GRACE), MAX_GRACE)
        return max(0.1, limit - (perf_counter() - self._began))

    # ---- what came of it -------------------------------------------------------------------------

    async def _settle(self, spoken: Spoken) -> None:
        self._usage += spoken.step.usage
        if spoken.error is not None:
            await self._settle_error(spoken, spoken.error)
            return
        match await self._verdict(spoken):
            case Deliver(deliveries):
                await self._deliver(spoken, deliveries)
            case Answer(text):
                await self._answer(spoken, text)
            case GiveUp(reason):
                await self._fail(spoken, TurnFailed(reason))

    async def _verdict(self, spoken: Spoken) -> Verdict:
        read = spoken.step.read
        verdict = self._work.judge(spoken.agent, spoken.said, spoken.output, read=read)
        wanted = self._plan.ask.wanted
        if wanted is None or not isinstance(verdict, Answer):
            return verdict
        reason = await self._checks.misfit(verdict.text, wanted)
        return verdict if reason is None else self._work.unfit(spoken.agent, reason, read=read)

    async def _settle_error(self, spoken: Spoken, error: UpstreamError) -> None:
        if spoken.agent != self._work.entry:
            await self._deliver(spoken, self._work.unreachable(spoken.agent, error.message))
        elif self._may_still_answer(spoken):
            await self._deliver(spoken, ())
        else:
            await self._fail(spoken, error)

    def _may_still_answer(self, spoken: Spoken) -> bool:
        """Returns True if the entry agent is to be told, or has yet to read, that it must answer
        now."""
        if self._reply.spoken or self._work.closed_for(spoken.agent, spoken.step.read):
            return False
        return self._work.closing is not None or self._exhausted(0) is not None

    async def _deliver(self, spoken: Spoken, deliveries: Sequence[Delivery]) -> None:
        said = [(d.recipient, d.text) for d in deliveries if d.sender == spoken.agent]
        step = with_what_is_untold(spoken, said)
        version = await self._advance(step, deliveries)
        failed = spoken.error is not None
        self._take_in(Event(version, deliveries, spoken.agent, step.read, failed), step)

    def _take_in(self, event: Event, step: StepRecord | None) -> None:
        """Bring what stands here in step with what was just written."""
        self._work.apply(event)
        self._contexts.take_in(event, None if step is None else step.id)

    async def _answer(self, spoken: Spoken, text: str) -> None:
        release = Release(self._plan.ask)
        text = release.feed(text)
        text += release.close()
        reason = release.finish_reason or spoken.finish_reason
        chain = self._plan.chain
        if chain is not None:
            chain = lineage.extend(chain, (Public("assistant", text),))
        step = with_what_is_untold(spoken, [(END_USER, text)])
        self.ended = await self._ledger.complete(self._lease, step, text, reason, chain)
        place = self.ended.version, self._lease.turn_id, step.id
        answer = Entry("assistant", spoken.agent, None, text, *place)
        self._contexts.answered(answer)
        # What a plain model is told is always read from the rows. In a room others write meanwhile.
        if not (self._work.plain or self._lease.in_room):
            self.remembered = self._contexts.remembered(CONTEXT_ROWS)
        published = self._reply.said
        # What was published may have turned out to be a thought: then the row alone is right.
        if text.startswith(published) and (rest := text[len(published) :]):
            self._reply.publish(Text(rest))
        self._reply.end(Outcome((Text(text),), reason, self._usage))

    async def _fail(self, spoken: Spoken, error: GatewayError) -> None:
        self.ended = await self._ledger.fail(
            self._lease, with_what_is_untold(spoken), describe(error), self._reply.said
        )
        self._reply.end(error)
