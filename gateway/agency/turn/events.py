"""What happens in a turn, as values: messages on their way, questions, what a transaction did, and
what an agent's answer means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.agency.speech.prompt import END_USER
from gateway.agency.teams.team import PLAIN_MODEL


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way from one agent's context to another's. Notes come from -2; what is said
    to the library (-1) and what it answers stand in one context alone."""

    sender: int
    recipient: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question of one agent to another, or to the library, that is not answered yet."""

    asker: int
    asked: int
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """What one transaction did: a step of `agent` with what it caused, or what no step said: the
    input, notes, answers of the library or of somebody in an agent's place.

    `read` is the version up to which the agent had read; `failed` if its model call did.
    """

    version: int
    deliveries: Sequence[Delivery]
    agent: int | None = None
    read: int = 0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Deliver:
    """The turn goes on with these."""

    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The end user's answer. `prose` if it was taken from an answer that is no envelope."""

    text: str
    prose: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The team can't answer; a sentence says why."""

    reason: str


ASKED = (Delivery(END_USER, PLAIN_MODEL, ""),)
"""A plain model is asked. What it is told is all that was said in the conversation."""

Verdict: TypeAlias = Deliver | Answer | GiveUp
