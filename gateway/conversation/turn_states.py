"""The states of a turn, and the same as SQL: every statement that names one takes it from here."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class TurnState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN: Final = (TurnState.QUEUED, TurnState.RUNNING, TurnState.WAITING, TurnState.SUSPENDED)
"""Those of a turn that has not ended."""


def literal(state: TurnState) -> str:
    return f"'{state.value}'"


def literals(*states: TurnState) -> str:
    return f"({', '.join(map(literal, states))})"


QUEUED: Final = literal(TurnState.QUEUED)
RUNNING: Final = literal(TurnState.RUNNING)
WAITING: Final = literal(TurnState.WAITING)
SUSPENDED: Final = literal(TurnState.SUSPENDED)
COMPLETED: Final = literal(TurnState.COMPLETED)
FAILED: Final = literal(TurnState.FAILED)
CANCELLED: Final = literal(TurnState.CANCELLED)

ANY_OPEN: Final = literals(*OPEN)
UNDER_WAY: Final = literals(TurnState.RUNNING, TurnState.WAITING)
"""Those in which no other turn of the conversation may begin."""
UNSUSPENDED: Final = literals(TurnState.QUEUED, TurnState.RUNNING, TurnState.WAITING)
"""Open, and with a client or without one that needs to be waited for."""
WITHOUT_ANSWER: Final = literals(TurnState.FAILED, TurnState.CANCELLED)
