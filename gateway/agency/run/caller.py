"""Calls the agents of one turn: has a model speak with what the agent has before it, or asks the
gateway in which the agent lives."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from gateway.agency.ledger.outcome import describe
from gateway.agency.model import (
    ChatMessage,
    Completion,
    Json,
    ModelCall,
    OnPieces,
    Piece,
    Text,
    Usage,
)
from gateway.agency.models.remote import RemoteCall
from gateway.agency.run import remote_agent
from gateway.agency.run.call import Call, Spoken, broken
from gateway.agency.run.contexts import Contexts
from gateway.agency.run.plan import Plan
from gateway.agency.run.services import Services
from gateway.agency.speech.decoder import CUT_OFF, Decoder
from gateway.agency.speech.envelope import (
    Envelope,
    Malformed,
    Said,
    encode_outbound,
    storable,
)
from gateway.agency.speech.prompt import (
    CONTEXT_TOKENS,
    END_USER,
    compose,
    forms,
    plain,
    system_message,
)
from gateway.agency.speech.thoughts import thinks_aloud
from gateway.agency.teams.team import AgentSpec
from gateway.agency.turn.bounds import Release
from gateway.agency.turn.reply import Reply
from gateway.errors import UpstreamError

T = TypeVar("T")


class AgentCaller:
    """Calls models and remote agents. It writes no rows."""

    def __init__(self, plan: Plan, contexts: Contexts, services: Services, reply: Reply) -> None:
        self._plan = plan
        self._work = plan.work
        self._agency = plan.agency
        self._contexts = contexts
        self._model = services.model
        self._remotes = services.remotes
        self._reply = reply
        self._default_model = services.default_model

    async def call(self, agent_id: int, seconds: float) -> Spoken:
        """Returns what an agent says, or how its call failed. It may take so many seconds."""
        agent = self._agency.agent(agent_id)
        if agent is None:
            error = UpstreamError("The agent is no longer part of the team.", code="agent_deleted")
            return broken(Call(agent_id, "", self._contexts.version, ""), error)
        if agent.remote is not None:
            return await self._ask(agent, agent.remote, seconds)
        entry, envelopes = agent_id == self._work.entry, not self._work.plain
        messages = await self._messages(agent)
        call = Call(
            agent=agent_id,
            model=agent.model or self._default_model,
            read=self._contexts.version,
            provider=self._plan.ask.provider,
            decoder=Decoder() if envelopes else None,
        )
        asked = ModelCall(
            model=call.model,
            messages=messages,
            params=self._params(agent, entry=entry),
            allowed=self._work.allowed(agent_id) if envelopes else (),
            timeout=seconds,
            insisted=frozenset(self._plan.ask.sampling) if entry else frozenset(),
            provider=call.provider,
        )
        listen = self._listener(call) if entry and self._reply.streamed else None
        completion = await self._timed(self._model.complete(asked, listen))
        if isinstance(completion, UpstreamError):
            return broken(call, completion)
        if call.decoder is None:
            said = (Envelope(END_USER, completion.text),)
            step = call.step(completion.usage)
            return Spoken(agent_id, step, "", said, completion.finish_reason)
        if listen is None:
            call.decoder.feed(completion.text)
        return self._understood(call, call.decoder, completion)

    async def _timed(self, answer: Awaitable[T]) -> T | UpstreamError:
        """Wait for what is not the gateway's time."""
        self._reply.calling()
        try:
            return await answer
        except UpstreamError as failure:
            return failure
        finally:
            self._reply.called()

    def _understood(self, call: Call, decoder: Decoder, completion: Completion) -> Spoken:
        output = storable(completion.text)
        if decoder.recanted:
            error = _recanted()
            step = call.step(completion.usage, describe(error))
            return Spoken(call.agent, step, output, error=error)
        step, said = call.step(completion.usage), self._heard(call, decoder, completion)
        return Spoken(call.agent, step, output, said, completion.finish_reason)

    def _heard(self, call: Call, decoder: Decoder, completion: Completion) -> Said:
        """Returns what was said. An answer to the end user counts if all of it is there, or as much
        as there will be, also where the output around it is broken."""
        said = decoder.close()
        cut = call.enough or completion.finish_reason != "stop"
        if cut and not decoder.sure:
            return _cut_off(said)
        if not isinstance(said, Malformed) or call.agent != self._work.entry:
            return said
        if decoder.answered or self._reply.spoken or (cut and decoder.answer):
            return (Envelope(END_USER, decoder.answer),)
        return said

    def _listener(self, call: Call) -> OnPieces:
        """Lets the answer out while it comes, unless it must be checked as a whole first."""
        release = Release(self._plan.ask)
        held = self._plan.ask.wanted is not None
        read = str if call.decoder is None else call.decoder.feed

        def listen(pieces: Sequence[Piece]) -> bool:
            for piece in pieces:
                text = read(piece.text)
                if not held and (text := release.feed(text)):
                    self._reply.publish(Text(text))
            call.enough = release.finish_reason is not None
            return not call.enough

        return listen

    # ---- what it is told -------------------------------------------------------------------------

    async def _messages(self, agent: AgentSpec) -> list[ChatMessage]:
        context = await self._contexts.of(agent.id)
        if self._work.plain:
            return plain(self._custom(), context)
        system = system_message(
            agent,
            [other for other in self._agency.agents if other.id != agent.id],
            entry=agent.id == self._work.entry,
            library=agent.id in self._work.readers,
            forms=forms(context),
            custom=self._custom(),
            wanted=self._plan.ask.wanted,
        )
        return compose(system, context, _budget(agent))

    def _custom(self) -> str | None:
        """Returns what the agent that answers is told beside its own instructions."""
        told = (self._plan.system, *self._plan.ask.skills)
        return "\n\n".join(text for text in told if text) or None

    def _params(self, agent: AgentSpec, *, entry: bool) -> Mapping[str, Json]:
        own = {k: v for k, v in agent.params.items() if k != "context_tokens"}
        return {**own, **self._plan.ask.sampling} if entry else own

    # ---- one that lives elsewhere ----------------------------------------------------------------

    async def _ask(self, agent: AgentSpec, address: str, seconds: float) -> Spoken:
        """Asks a remote agent, which speaks in plain words to whoever has asked it so far. Its
        tokens are counted where it lives."""
        context = await self._contexts.of(agent.id)
        call = Call(agent.id, remote_agent.MODEL, self._contexts.version, remote_agent.PROVIDER)
        askers = self._work.askers(agent.id)
        entry = agent.id == self._work.entry
        asked = RemoteCall(
            address,
            remote_agent.messages(
                remote_agent.system(agent.instructions, self._custom(), self._plan.ask.wanted)
                if entry
                else agent.instructions.strip(),
                remote_agent.heard_last(
                    context, self._plan.lease.turn_id, self._work.read(agent.id)
                ),
                _budget(agent),
            ),
            hops=self._plan.ask.hops,
            timeout=seconds,
        )
        answer = await self._timed(self._remotes.ask(asked))
        if isinstance(answer, UpstreamError):
            return broken(call, answer)
        said = tuple(Envelope(asker, storable(answer)) for asker in askers)
        return Spoken(call.agent, call.step(Usage()), encode_outbound(said), said)


def _recanted() -> UpstreamError:
    sentence = "The model's thoughts, which it did not mark, were taken for its answer."
    return UpstreamError(sentence, code="upstream_thoughts")


def _cut_off(said: Said) -> Said:
    """An answer that began with words and was cut short: an envelope in it may be a draft, in
    thoughts that were not marked. Plain words count, unless somebody thinks aloud in them."""
    if isinstance(said, Malformed) and said.prose and not thinks_aloud(said.prose):
        return said
    return Malformed(CUT_OFF)


def _budget(agent: AgentSpec) -> int:
    budget = agent.params.get("context_tokens", CONTEXT_TOKENS)
    return budget if isinstance(budget, int) else CONTEXT_TOKENS
