"""The sweeper: takes up what lost processes left, starts what waits for nothing, and ends what
waited too long."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from uuid import UUID

from gateway.agency.engine.runner import ATTEMPTS, Runner
from gateway.agency.ledger import outcome
from gateway.conversation.turn_states import TurnState
from gateway.errors import GatewayError, TurnFailed
from gateway.ids import TurnId
from gateway.postgres.database import Row
from gateway.process.telemetry import causes

log = logging.getLogger(__name__)

IDLE = "Nobody has answered the session for an hour."
LOST = f"{ATTEMPTS} processes in a row were lost at the same place of it: what it does ends them."
AT_ONCE = 100
"""Turns that one look takes up at most."""


class Sweeper:
    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def sweep(self) -> None:
        runner = self._runner
        if runner.draining:
            return
        if await runner.ledger.release_dropped():
            runner.control.freed()
        for turn in await runner.ledger.expired(AT_ONCE):
            await self._survive(self._sweep(turn), turn["id"])
        for conversation_id in await runner.starter.stranded(AT_ONCE):
            await self._survive(runner.start(conversation_id), conversation_id)

    async def _survive(self, work: Coroutine[None, None, object], what: UUID) -> None:
        """A turn that can't be taken up does not keep the others back."""
        try:
            await work
        except GatewayError:
            raise
        except Exception as error:
            broken = {"id": what.hex, "causes": causes(error)}
            log.error("turn not swept", extra=broken)  # noqa: TRY400  a traceback has words

    async def _sweep(self, turn: Row) -> None:
        turn_id, state = turn["id"], TurnState(turn["state"])
        if state == TurnState.SUSPENDED:
            await self._give_up(turn_id, TurnState.CANCELLED, "Its client went away.", state)
        elif state == TurnState.WAITING:
            await self._give_up(turn_id, TurnState.CANCELLED, IDLE, state, "session_expired")
        elif self._runner.running.find(turn_id):
            return  # its renewal is late
        elif turn["fruitless"] >= ATTEMPTS and turn["lost"]:
            await self._give_up(turn_id, TurnState.FAILED, LOST, state)
        else:
            await self._runner.take_up(turn_id)

    async def _give_up(
        self, turn_id: TurnId, state: TurnState, why: str, among: TurnState, code: str | None = None
    ) -> None:
        error = outcome.describe(TurnFailed(why, code=code or f"turn_{state}"))
        if await self._runner.ledger.end(turn_id, state, error, among=(among,), expired=True):
            self._runner.control.freed()
