"""The replies of turns that do not run in this process, or not yet: their rows are read whenever
their conversations change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from uuid import UUID

from gateway.agency.ledger import outcome
from gateway.agency.ledger.ledger import Ledger
from gateway.agency.turn.reply import Reply
from gateway.errors import GatewayError, Unavailable
from gateway.ids import TurnId
from gateway.streams.versions import Versions

ATTACHED = 900.0
"""Seconds that a turn is waited for."""

TakeUp: TypeAlias = Callable[[TurnId], Awaitable[Reply | None]]
"""Goes on with a turn that nobody runs; None if somebody was faster."""


class WaitingReplies:
    """Looks every `poll` seconds where no signal comes: one may be lost, and a lost process sends
    none."""

    def __init__(self, ledger: Ledger, versions: Versions, take_up: TakeUp, poll: float) -> None:
        self._poll = poll
        self._ledger = ledger
        self._versions = versions
        self._take_up = take_up
        self._awaited: dict[UUID, tuple[Reply, asyncio.Task[None]]] = {}

    def find(self, turn_id: UUID) -> Reply | None:
        found = self._awaited.get(turn_id)
        return found[0] if found else None

    def wait(self, reply: Reply) -> Reply:
        """Have the reply told when its turn has ended."""
        task = asyncio.create_task(self._watch(reply), name=f"await {reply.turn_id}")
        self._awaited[reply.turn_id] = reply, task
        return reply

    def hand_over(self, turn_id: UUID) -> Reply | None:
        """The turn runs here now: the reply of those who wait for it."""
        reply, task = self._awaited.pop(turn_id, (None, None))
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        return reply

    def forget(self, reply: Reply) -> bool:
        """Stop waiting for a reply. Returns False if nobody waited for it."""
        return self.find(reply.turn_id) is reply and self.hand_over(reply.turn_id) is reply

    async def _watch(self, reply: Reply) -> None:
        try:
            async with asyncio.timeout(ATTACHED):
                await self._look_at_each_change(reply)
        except TimeoutError:
            reply.end(Unavailable("The turn is still running; try again."))
        except GatewayError as error:
            reply.end(error)
        finally:
            self.forget(reply)

    async def _look_at_each_change(self, reply: Reply) -> None:
        async with self._versions.of(reply.conversation_id) as change:
            while not reply.ended and self.find(reply.turn_id) is reply:
                await self._look(reply)
                if not reply.ended:
                    await change.wait(self._poll)

    async def _look(self, reply: Reply) -> None:
        stored = await self._ledger.turn(reply.turn_id)
        if stored is None:
            reply.end(Unavailable("The turn is gone; try again."))
        elif not outcome.into(reply, stored) and stored.abandoned:
            await self._take_up(reply.turn_id)

    async def close(self) -> None:
        tasks = [task for _, task in self._awaited.values()]
        for reply, task in list(self._awaited.values()):
            task.cancel()
            reply.end(Unavailable("The gateway is shutting down; try again.", retry_after=1))
        if tasks:
            await asyncio.wait(tasks)
