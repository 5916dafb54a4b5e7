"""Observers learn how turns go: metrics, usage and traces hang here.

An observer learns what is committed, and the end of a call before that. It learns no words.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gateway import ids
from gateway.agency.ledger.rows import Lease, StepRecord
from gateway.agency.model import Json
from gateway.conversation.turn_states import TurnState
from gateway.ids import TurnId

log = logging.getLogger(__name__)


class Observer:
    """Methods are called on the loop: they return at once and raise nothing. Those of this class do
    nothing."""

    def call_ended(self, lease: Lease, step: StepRecord) -> None:
        """A model, or an agent elsewhere, has answered or failed. Its step is yet to be written."""

    def step_ended(self, lease: Lease, step: StepRecord) -> None:
        """A step was written."""

    def turn_ended(
        self, turn_id: TurnId, state: TurnState, error: Mapping[str, Json] | None
    ) -> None:
        """A turn has this final state. `error` is that of `outcome.describe`."""


class TurnLog(Observer):
    """Logs what failed, by its codes."""

    def call_ended(self, lease: Lease, step: StepRecord) -> None:
        if step.error is not None:
            told = {
                "turn": ids.show(ids.TURN, lease.turn_id),
                "agent": step.agent,
                "provider": step.provider,
                "model": step.model,
                "seconds": round(step.seconds, 3),
                "code": step.error["code"],
            }
            log.warning("a model call failed", extra=told)

    def turn_ended(
        self, turn_id: TurnId, state: TurnState, error: Mapping[str, Json] | None
    ) -> None:
        if error is not None:
            told = {"turn": ids.show(ids.TURN, turn_id), "state": state, "code": error["code"]}
            log.info("a turn ended without an answer", extra=told)
