"""A model call of one agent: while it runs, and when it has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from gateway import ids
from gateway.agency.ledger.outcome import describe
from gateway.agency.ledger.rows import StepRecord
from gateway.agency.model import FinishReason, Json, Usage
from gateway.agency.speech.decoder import Decoder
from gateway.agency.speech.envelope import Said, storable, tells
from gateway.agency.teams.team import PLAIN_MODEL
from gateway.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Spoken:
    """A model call that ended: with what was said, or with the error. `output` is all that came,
    word for word."""

    agent: int
    step: StepRecord
    output: str
    said: Said = ()
    finish_reason: FinishReason = "stop"
    error: UpstreamError | None = None


@dataclass(slots=True)
class Call:
    """A model call under way. The decoder has read what came of it so far; a plain model, which
    speaks without envelopes, has none. `enough` is set when the answer has met a bound of the
    client's, so that the rest was not waited for."""

    agent: int
    model: str
    read: int
    provider: str
    decoder: Decoder | None = None
    enough: bool = False
    began: float = field(default_factory=perf_counter)

    def step(self, usage: Usage, error: Mapping[str, Json] | None = None) -> StepRecord:
        return StepRecord(
            id=ids.new(),
            agent=None if self.agent == PLAIN_MODEL else self.agent,
            model=self.model,
            provider=self.provider,
            read=self.read,
            usage=usage,
            seconds=perf_counter() - self.began,
            error=error,
        )


def broken(call: Call, error: UpstreamError) -> Spoken:
    output = "" if call.decoder is None else storable(call.decoder.raw)
    return Spoken(call.agent, call.step(Usage(), describe(error)), output, error=error)


def with_what_is_untold(spoken: Spoken, said: Sequence[tuple[int, str]] = ()) -> StepRecord:
    """The step, with its output unless the messages that it caused tell all of that."""
    if not spoken.output or tells(said, spoken.output):
        return spoken.step
    return replace(spoken.step, output=spoken.output)
