"""The turn engine's heart: calls agents, writes what they say, until the end user has an answer.

The state of a turn is always in its rows. What stands here is a copy of them, kept in step by
`Work.apply`; a runner that loses its lease is cancelled and writes nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import perf_counter

import msgspec

from gateway import ids
from gateway.agency import lineage
from gateway.agency.decoder import Decoder
from gateway.agency.envelope import Envelope, Malformed, Said, storable
from gateway.agency.ledger import Lease, Ledger, StepRecord
from gateway.agency.model import ChatMessage, Completion, Json, Model, ModelCall, OnText, Usage
from gateway.agency.prompt import CONTEXT_TOKENS, END_USER, GATEWAY, Entry, compose, system_message
from gateway.agency.release import Release, misfit
from gateway.agency.reply import Outcome, Reply
from gateway.agency.request import Ask, Public
from gateway.agency.step import NOBODY, Answer, Deliver, Delivery, Event, GiveUp, Verdict, Work
from gateway.agency.team import AgencySpec, AgentSpec
from gateway.errors import GatewayError, TurnFailed, UpstreamError

GRACE = 60.0
"""Seconds for the last answer of a turn whose time is up."""


@dataclass(slots=True)
class Plan:
    """A turn to be run. `contexts` holds what has been read already, by agent; an agent that is
    missing is read from the rows unless the conversation is `fresh`. `chain` is the hash of the
    public history up to the input."""

    lease: Lease
    agency: AgencySpec
    ask: Ask
    work: Work
    system: str | None
    chain: bytes | None
    contexts: dict[int, list[Entry]] = field(default_factory=dict)
    fresh: bool = False
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A model call that ended: with what was said, or with the error."""

    agent: int
    step: StepRecord
    said: Said
    raw: str
    completion: Completion | None
    error: UpstreamError | None = None


class Turn:
    """Runs one turn to its end. `default_model` serves agents that name none."""

    def __init__(
        self, plan: Plan, ledger: Ledger, model: Model, reply: Reply, *, default_model: str
    ) -> None:
        self._plan = plan
        self._work = plan.work
        self._agency = plan.agency
        self._lease = plan.lease
        self._ledger = ledger
        self._model = model
        self._reply = reply
        self._default_model = default_model
        self._usage = plan.usage
        self._version = plan.lease.version
        self._began = perf_counter()
        self._calls: dict[int, asyncio.Task[Spoken]] = {}
        self._released = ""

    async def run(self) -> None:
        """Raises `Fenced` if the turn was taken away, Unavailable if the database was."""
        try:
            while not self._reply.ended:
                await self._round()
        finally:
            await self._hang_up(*self._calls)

    # ---- rounds ----------------------------------------------------------------------------------

    async def _round(self) -> None:
        """Call whoever can go on, and take in the next answers."""
        ready = self._work.ready(self._calls)
        if reason := self._exhausted(len(ready)):
            await self._close(reason)
        elif len(ready) == 1 and not self._calls:
            await self._settle(await self._call(ready[0]))
        elif ready or self._calls:
            await self._settle_next(ready)
        else:
            await self._note(Delivery(GATEWAY, self._work.entry, NOBODY))

    def _exhausted(self, more: int) -> str | None:
        tokens = self._usage.prompt_tokens + self._usage.completion_tokens
        calls = self._work.steps + len(self._calls) + more
        seconds = perf_counter() - self._began
        return self._work.exhausted(calls=calls, tokens=tokens, seconds=seconds)

    async def _settle_next(self, ready: Sequence[int]) -> None:
        for agent in ready:
            self._calls[agent] = asyncio.create_task(self._call(agent), name=f"step of {agent}")
        done, _ = await asyncio.wait(self._calls.values(), return_when=asyncio.FIRST_COMPLETED)
        for agent, task in list(self._calls.items()):
            if task in done:
                del self._calls[agent]
                await self._settle(task.result())
            if self._reply.ended:
                return

    async def _close(self, reason: str) -> None:
        """Tell the entry agent to answer now. Who else still speaks is no longer waited for."""
        await self._hang_up(*(agent for agent in self._calls if agent != self._work.entry))
        await self._note(self._work.closing_note(reason))

    async def _note(self, note: Delivery) -> None:
        version = await self._ledger.advance(self._lease, None, (note,))
        self._take_in(Event(version, (note,)))

    async def _hang_up(self, *agents: int) -> None:
        tasks = [self._calls.pop(agent) for agent in agents]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    # ---- one call --------------------------------------------------------------------------------

    async def _call(self, agent_id: int) -> Spoken:
        agent = self._agency.agent(agent_id)
        if agent is None:
            return self._missing(agent_id, self._version)
        messages = await self._messages(agent)
        read, started = self._version, perf_counter()
        entry = agent_id == self._work.entry
        decoder = Decoder()
        listen = self._listener(decoder) if entry and self._reply.streamed else None
        call = ModelCall(
            model=agent.model or self._default_model,
            messages=messages,
            params=self._params(agent, entry=entry),
            allowed=self._work.allowed(agent_id),
            timeout=self._time_left(),
        )
        self._reply.calling()
        try:
            completion = await self._model.complete(call, listen)
        except UpstreamError as error:
            return self._broken(agent_id, call.model, read, started, error)
        finally:
            self._reply.called()
        if listen is None:
            decoder.feed(completion.text)
        return self._spoken(agent_id, call.model, read, started, completion, decoder)

    def _listener(self, decoder: Decoder) -> OnText:
        """Lets the answer out while it comes, unless it must be checked as a whole first."""
        release = Release(self._plan.ask)
        held = self._plan.ask.response_format is not None

        def listen(deltas: list[str]) -> bool:
            for delta in deltas:
                text = release.feed(decoder.feed(delta))
                if text and not held:
                    self._released += text
                    self._reply.publish(text)
            return release.finish_reason is None

        return listen

    async def _messages(self, agent: AgentSpec) -> list[ChatMessage]:
        entry = agent.id == self._work.entry
        system = system_message(
            agent,
            [other for other in self._agency.agents if other.id != agent.id],
            entry=entry,
            custom=self._plan.system,
            wanted=self._plan.ask.wanted,
        )
        budget = agent.params.get("context_tokens", CONTEXT_TOKENS)
        context = await self._context(agent.id)
        return compose(system, context, budget if isinstance(budget, int) else CONTEXT_TOKENS)

    async def _context(self, agent: int) -> list[Entry]:
        while agent not in self._plan.contexts:
            version = self._version
            entries = await self._ledger.context(self._lease.conversation_id, agent)
            if version == self._version:  # else another agent's step was written meanwhile
                self._plan.contexts[agent] = entries
        return self._plan.contexts[agent]

    def _params(self, agent: AgentSpec, *, entry: bool) -> Mapping[str, Json]:
        own = {k: v for k, v in agent.params.items() if k != "context_tokens"}
        return {**own, **self._plan.ask.sampling} if entry else own

    def _time_left(self) -> float:
        if self._work.closing is not None:
            return GRACE
        return max(0.1, self._work.limits.seconds - (perf_counter() - self._began))

    # ---- what came of it -------------------------------------------------------------------------

    def _spoken(
        self,
        agent: int,
        model: str,
        read: int,
        started: float,
        completion: Completion,
        decoder: Decoder,
    ) -> Spoken:
        said = decoder.close()
        if isinstance(said, Malformed) and (decoder.released or self._released):
            # The end user has heard it: it is the answer, though the rest of it is missing.
            said = (Envelope(END_USER, decoder.released),)
        raw = storable(completion.text)
        step = StepRecord(
            id=ids.new(),
            agent=agent,
            model=model,
            read=read,
            usage=completion.usage,
            seconds=perf_counter() - started,
            output=None if _tells(said, raw) else raw,
        )
        return Spoken(agent, step, said, raw, completion)

    def _broken(
        self, agent: int, model: str, read: int, started: float, error: UpstreamError
    ) -> Spoken:
        told = describe(error)
        seconds = perf_counter() - started
        step = StepRecord(ids.new(), agent, model, read, Usage(), seconds, error=told)
        return Spoken(agent, step, (), "", None, error)

    def _missing(self, agent: int, read: int) -> Spoken:
        error = UpstreamError("It is no longer part of the team.", code="agent_deleted")
        return self._broken(agent, "", read, perf_counter(), error)

    async def _settle(self, spoken: Spoken) -> None:
        self._usage += spoken.step.usage
        if spoken.error is not None:
            await self._settle_error(spoken, spoken.error)
            return
        match self._verdict(spoken):
            case Deliver(deliveries):
                await self._deliver(spoken, deliveries)
            case Answer(text):
                await self._answer(spoken, text)
            case GiveUp(reason):
                await self._fail(spoken, TurnFailed(reason))

    def _verdict(self, spoken: Spoken) -> Verdict:
        read = spoken.step.read
        verdict = self._work.judge(spoken.agent, spoken.said, spoken.raw, read=read)
        wanted = self._plan.ask.wanted
        if wanted is None or not isinstance(verdict, Answer):
            return verdict
        if (reason := misfit(verdict.text, wanted)) is None:
            return verdict
        again = self._work.judge(spoken.agent, Malformed(reason), spoken.raw, read=read)
        return again if isinstance(again, Deliver) else GiveUp(reason)

    async def _settle_error(self, spoken: Spoken, error: UpstreamError) -> None:
        if spoken.agent != self._work.entry:
            await self._deliver(spoken, self._work.unreachable(spoken.agent, error.message))
        elif self._exhausted(0) and not self._released:
            await self._deliver(spoken, ())
        else:
            await self._fail(spoken, error)

    async def _deliver(self, spoken: Spoken, deliveries: Sequence[Delivery]) -> None:
        version = await self._ledger.advance(self._lease, spoken.step, deliveries)
        event = Event(
            version,
            deliveries,
            spoken.agent,
            spoken.step.read,
            failed=spoken.error is not None,
        )
        self._take_in(event, spoken)

    def _take_in(self, event: Event, spoken: Spoken | None = None) -> None:
        """Bring what stands here in step with what was just written."""
        self._version = event.version
        self._work.apply(event)
        for delivery in event.deliveries:
            heard = Entry(
                role="user",
                from_id=delivery.sender,
                to_id=delivery.recipient,
                text=delivery.text,
                version=event.version,
                turn_id=self._lease.turn_id,
            )
            self._remember(delivery.recipient, heard)
            if spoken is not None and delivery.sender == spoken.agent:
                self._remember(spoken.agent, _as_said(heard, spoken.step))

    def _remember(self, agent: int, entry: Entry) -> None:
        """A context that was never read is read when it is needed, this entry included."""
        if agent in self._plan.contexts:
            self._plan.contexts[agent].append(entry)
        elif self._plan.fresh:
            self._plan.contexts[agent] = [entry]

    async def _answer(self, spoken: Spoken, text: str) -> None:
        release = Release(self._plan.ask)
        text = release.feed(text)
        text += release.close()
        finished = spoken.completion.finish_reason if spoken.completion else "stop"
        reason = release.finish_reason or finished
        chain = self._plan.chain
        if chain is not None:
            chain = lineage.extend(chain, (Public("assistant", text),))
        await self._ledger.complete(self._lease, spoken.step, text, reason, chain)
        if rest := text[len(self._released) :]:
            self._reply.publish(rest)
        self._reply.end(Outcome(text, reason, self._usage))

    async def _fail(self, spoken: Spoken, error: GatewayError) -> None:
        await self._ledger.fail(self._lease, spoken.step, describe(error), self._released)
        self._reply.end(error)


def describe(error: GatewayError) -> dict[str, Json]:
    """An error as it is kept with a turn: `{code, message, type, status}`."""
    return {
        "code": error.code,
        "message": error.message,
        "type": error.type,
        "status": error.status,
    }


def _as_said(heard: Entry, step: StepRecord) -> Entry:
    return replace(heard, role="assistant", step_id=step.id)


def _tells(said: Said, raw: str) -> bool:
    """Whether the messages of a step tell all of its raw output."""
    if isinstance(said, Malformed):
        return False
    try:
        written = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return False
    told = [{"to": envelope.to, "context": envelope.context} for envelope in said]
    return bool(written == (told[0] if len(told) == 1 else told))
