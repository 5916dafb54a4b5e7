"""A turn of a plain model: one call, with all that was said before, and its text is the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from gateway import ids
from gateway.agency.ledger.context_cache import Remembered
from gateway.agency.ledger.ledger import Ledger
from gateway.agency.ledger.outcome import describe
from gateway.agency.ledger.rows import Ended, StepRecord, StoredTurn
from gateway.agency.model import Completion, Json, Model, ModelCall, OnText, Usage
from gateway.agency.speech.prompt import Entry, plain
from gateway.agency.teams.team import Limits
from gateway.agency.turn.bounds import Release
from gateway.agency.turn.reply import Outcome, Reply
from gateway.conversation.rooms.participants import Status
from gateway.errors import UpstreamError


@dataclass(slots=True)
class PlainTurn:
    """Runs one turn to its end. `said` is all that was said before the reply, oldest first."""

    stored: StoredTurn
    said: Sequence[Entry]
    ledger: Ledger
    model: Model
    reply: Reply
    ended: Ended | None = None
    remembered: Remembered | None = None
    """Nothing: what a plain model is told is read from the rows."""

    async def run(self) -> None:
        """Raises `Fenced` if the turn was taken away, Unavailable if the database was."""
        if self.stored.shown not in (None, Status.THINKING):
            await self.ledger.show(self.stored.lease, Status.THINKING)
        call = self._call()
        release = Release(self.stored.ask)
        began = perf_counter()
        self.reply.calling()
        try:
            completion = await self.model.complete(call, self._listener(release))
        except UpstreamError as error:
            await self._fail(call, error, perf_counter() - began)
        else:
            await self._answer(call, completion, perf_counter() - began)
        finally:
            self.reply.called()

    def _call(self) -> ModelCall:
        stored = self.stored
        system = "\n\n".join(text for text in (stored.system, *stored.ask.skills) if text)
        return ModelCall(
            model=stored.responder,
            messages=plain(system, self.said),
            params=stored.ask.sampling,
            timeout=stored.ask.within(Limits()).seconds,
            insisted=frozenset(stored.ask.sampling),
        )

    def _listener(self, release: Release) -> OnText | None:
        if not self.reply.streamed:
            return None

        def listen(deltas: list[str]) -> bool:
            for delta in deltas:
                if text := release.feed(delta):
                    self.reply.publish(text)
            return release.finish_reason is None

        return listen

    async def _answer(self, call: ModelCall, completion: Completion, seconds: float) -> None:
        release = Release(self.stored.ask)
        text = release.feed(completion.text)
        text += release.close()
        reason = release.finish_reason or completion.finish_reason
        step = self._step(call, completion.usage, seconds)
        self.ended = await self.ledger.complete(self.stored.lease, step, text, reason, None)
        said = self.reply.said
        # What was told of it may have turned out to be a thought: then the row alone is right.
        if text.startswith(said) and (rest := text[len(said) :]):
            self.reply.publish(rest)
        self.reply.end(Outcome(text, reason, completion.usage))

    async def _fail(self, call: ModelCall, error: UpstreamError, seconds: float) -> None:
        told = describe(error)
        step = self._step(call, Usage(), seconds, told)
        self.ended = await self.ledger.fail(self.stored.lease, step, told, self.reply.said)
        self.reply.end(error)

    def _step(
        self, call: ModelCall, usage: Usage, seconds: float, error: dict[str, Json] | None = None
    ) -> StepRecord:
        return StepRecord(
            id=ids.new(),
            agent=None,
            model=call.model,
            read=self.stored.version,
            usage=usage,
            seconds=seconds,
            error=error,
        )
