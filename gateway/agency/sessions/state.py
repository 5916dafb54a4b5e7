"""A turn that is driven by hand, as whoever drives it sees it: where it stands, and what an answer
does to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from gateway.agency.model import Json
from gateway.agency.speech.prompt import LIBRARY
from gateway.agency.turn.events import Delivery, Event, Question
from gateway.agency.turn.library import Passage, told
from gateway.agency.turn.rules import Work
from gateway.errors import InvalidRequest


class SessionState(StrEnum):
    THINKING = "thinking"
    SEARCH = "search"
    CALL_AGENT = "call_agent"
    RESOLVED = "resolved"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Session:
    """`step` is the number of the answer that is awaited, or will be next. `question` is what it
    must answer, `collections` are those of who asks; `message` is what the agent said to the end
    user. `conversation_id` is the one that the session answers, if it was begun from one."""

    id: UUID
    agent_id: int
    conversation_id: UUID | None
    state: SessionState
    step: int
    question: Question | None
    collections: Sequence[str]
    message: str | None
    error: Mapping[str, Json] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Given:
    """An answer to a step: passages or a context, or neither to ask how the session stands."""

    step: int
    passages: Sequence[Passage] | None = None
    context: str | None = None

    @property
    def asks(self) -> bool:
        return self.passages is None and self.context is None

    def answers(self, question: Question) -> str | None:
        """Returns the answer as the agent that asked will hear it, or None if it is no answer to
        that question."""
        if question.asked != LIBRARY:
            return None if self.passages is not None else self.context
        if self.passages is None or self.context is not None:
            return None
        return told(question.text, self.passages)


@dataclass(frozen=True, slots=True)
class SessionProgress:
    """What was answered by no model, in order, and what is to be answered now."""

    answered: Sequence[tuple[Question, str]]
    question: Question | None

    @property
    def step(self) -> int:
        return len(self.answered) + 1


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing is to be written: it was a question, or an answer that was given before."""


@dataclass(frozen=True, slots=True)
class StepRefused:
    """The session is not where whoever answers believes it to be."""

    reason: str


Judgement: TypeAlias = Delivery | Nothing | StepRefused


def stand(work: Work, events: Iterable[Event], *, waiting: bool) -> SessionProgress:
    """Returns where a turn stands after these events. `work` is a fresh one, and takes them in."""
    answered: list[tuple[Question, str]] = []
    for event in events:
        if event.agent is None:
            answered += _answered(work, event)
        work.apply(event)
    return SessionProgress(answered, work.awaited() if waiting else None)


def _answered(work: Work, event: Event) -> Iterable[tuple[Question, str]]:
    for delivery in event.deliveries:
        if question := work.question(delivery.recipient, delivery.sender):
            yield question, delivery.text


def judge(progress: SessionProgress, given: Given) -> Judgement:
    """Returns what an answer does. Raises InvalidRequest if it is no answer to what is asked."""
    if given.step != progress.step:
        return _late(progress, given)
    question = progress.question
    if given.asks:
        return Nothing()
    if question is None:
        return StepRefused(f"Nothing is asked: step {progress.step} has no question.")
    text = given.answers(question)
    if text is None:
        raise InvalidRequest(
            f"Step {progress.step} {_wants(question)}.",
            param=_member(question),
            code="wrong_answer",
        )
    return Delivery(question.asked, question.asker, text)


def _late(progress: SessionProgress, given: Given) -> Judgement:
    if 0 < given.step < progress.step and not given.asks:
        question, text = progress.answered[given.step - 1]
        if given.answers(question) == text:
            return Nothing()
    return StepRefused(f"The session is at step {progress.step}, not {given.step}.")


def _wants(question: Question) -> str:
    if question.asked == LIBRARY:
        return "is a search: answer it with 'passages' alone"
    return "calls an agent: answer it with 'context' alone"


def _member(question: Question) -> str:
    return "passages" if question.asked == LIBRARY else "context"
