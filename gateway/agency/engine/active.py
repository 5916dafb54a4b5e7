"""The turns that run in this process, each in a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from gateway import ids
from gateway.agency.ledger import outcome
from gateway.agency.ledger.context_cache import ContextCache
from gateway.agency.ledger.ledger import Fenced, Ledger
from gateway.agency.ledger.rows import Ended, Lease, Taken
from gateway.agency.run.turn import TeamTurn
from gateway.agency.turn.reply import Reply
from gateway.conversation.rooms.participants import Status
from gateway.errors import GatewayError, TurnFailed, Unavailable
from gateway.process.telemetry import causes
from gateway.streams.announcer import Announcer, Voice

log = logging.getLogger(__name__)

CLIENT_WAIT = 60.0
"""Seconds that a turn waits for a client that went away."""
LETTING_GO = 5.0
"""Seconds that the model calls of a turn have to be closed."""


@dataclass(frozen=True, slots=True)
class Held:
    """A turn of this process: its task, and how to lose it."""

    lease: Lease
    reply: Reply
    attended: bool
    task: asyncio.Task[None]


class ActiveTurns:
    """`then` is called when a turn has ended by what was written in it, `parked` when it waits for
    somebody outside, and so runs nowhere."""

    def __init__(
        self,
        ledger: Ledger,
        cache: ContextCache,
        announcer: Announcer,
        then: Callable[[Lease, Ended], None],
        parked: Callable[[Reply], None],
    ) -> None:
        self._ledger = ledger
        self.cache = cache
        self._announcer = announcer
        self._then = then
        self._parked = parked
        self.held: dict[UUID, Held] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._asides: set[asyncio.Task[None]] = set()

    def find(self, turn_id: UUID) -> Held | None:
        return self.held.get(turn_id)

    def start(self, turn: TeamTurn, lease: Lease, reply: Reply, *, attended: bool) -> Reply:
        work = self._run(turn, reply, lease)
        task = asyncio.create_task(work, name=f"turn {lease.turn_id}")
        self.held[lease.turn_id] = Held(lease, reply, attended, task)
        if lease.shown is not None:
            # A room is shown the reply with its first words, whether or not somebody listens.
            reply.begins = partial(self._begins, turn, lease)
            reply.stream()
        place = lease.conversation_id, lease.reply_id, lease.fence
        self._announcer.speak(Voice(*place, said=lambda: reply.said, wanted=reply.stream))
        return reply

    def _begins(self, turn: TeamTurn, lease: Lease) -> None:
        """The first words. Those that come with the answer itself are shown by that."""
        if turn.ended is None:
            self.see_to(self._show_writing(lease))

    async def _show_writing(self, lease: Lease) -> None:
        with suppress(Fenced):  # it has ended meanwhile
            await self._ledger.show(lease, Status.WRITING)

    async def _run(self, turn: TeamTurn, reply: Reply, lease: Lease) -> None:
        try:
            await turn.run()
            if (remembered := turn.remembered) is not None:
                self.cache.keep(reply.conversation_id, remembered)
            if turn.ended is not None:
                self._then(lease, turn.ended)
            elif not reply.ended:
                self._parked(reply)
        except Fenced:
            await self._tell_why_lost(reply)
        except GatewayError as error:
            # The rows are as the last step left them: whoever is first takes the turn up again.
            self._ledger.drop(Taken(lease.turn_id, lease.fence))
            reply.end(error)
        except Exception as error:
            broken = {"turn": ids.show(ids.TURN, reply.turn_id), "causes": causes(error)}
            log.error("turn broke", extra=broken)  # noqa: TRY400  a traceback has words
            reply.end(TurnFailed("The turn failed because of an internal error of the gateway."))
        finally:
            self._announcer.fall_silent(lease.conversation_id, lease.reply_id, lease.fence)
            self.let_go(reply)

    def let_go(self, reply: Reply) -> Held | None:
        """Forget a turn, unless it has been taken up again since: then it has another reply."""
        held = self.held.get(reply.turn_id)
        return self.held.pop(reply.turn_id) if held and held.reply is reply else None

    async def _tell_why_lost(self, reply: Reply) -> None:
        try:
            stored = await self._ledger.turn(reply.turn_id)
        except GatewayError as error:
            reply.end(error)
            return
        if stored is None or not outcome.into(reply, stored):
            reply.end(Unavailable("Another process has taken over this turn; try again."))

    # ---- letting go ------------------------------------------------------------------------------

    def see_to(self, work: Coroutine[None, None, None]) -> None:
        """Do what nobody waits for."""
        self.tasks.add(self._task(work))

    def aside(self, work: Coroutine[None, None, None]) -> None:
        """Do what may be left undone when the process ends."""
        self._asides.add(self._task(work))

    def _task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._seen_to)
        return task

    def _seen_to(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._asides.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("work behind a turn failed", extra={"causes": causes(error)})

    async def suspend(self, held: Held) -> None:
        """Close the model calls, keep the finished steps, and wait for the client."""
        held.task.cancel()
        await asyncio.wait((held.task,), timeout=LETTING_GO)
        try:
            await self._ledger.suspend(held.lease, CLIENT_WAIT)
        finally:  # if the rows are out of reach the lease runs out
            held.reply.end(Unavailable("The turn was suspended; try again."))

    async def hand_over(self) -> None:
        """Give up the turns that nobody needs to wait for: another process goes on with them. May
        be cut short, and called again."""
        given = [held for held in self.held.values() if not held.attended]
        for held in given:
            self.let_go(held.reply)
            held.task.cancel()
        if given:
            await asyncio.wait([held.task for held in given], timeout=LETTING_GO)
        await self._release()
        for held in given:
            held.reply.end(
                Unavailable(
                    "The gateway is shutting down; another process continues the turn. Try again."
                )
            )

    async def _release(self) -> None:
        try:
            await self._ledger.release_all()
        except Exception as error:
            # Whatever it was: a process that is told to end does, and closes what it has open.
            told = "turns could not be given up: others go on once their leases have run out"
            log.warning(told, extra={"causes": causes(error)})

    def stop(self, turn_ids: Sequence[UUID]) -> None:
        """Close the model calls of turns that somebody has ended in the rows."""
        for turn_id in turn_ids:
            if held := self.held.pop(turn_id, None):
                held.task.cancel()
                self.see_to(self._tell_why_lost(held.reply))

    async def close(self) -> None:
        """Suspend every turn, so that its client's next try finds it where it stopped."""
        for held in list(self.held.values()):
            self.let_go(held.reply)
            self.see_to(self.suspend(held))
        for task in self._asides:
            task.cancel()
        if tasks := self.tasks | self._asides:
            await asyncio.wait(tasks)

    # ---- keeping ---------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Renew the leases of this process, and let go of turns that are no longer ours."""
        held = list(self.held.values())
        if not held:
            return
        lost = await self._ledger.renew([one.lease for one in held])
        self.stop([one.lease.turn_id for one in held if one.lease.turn_id in lost])

    async def save(self) -> None:
        """Keep what growing replies say so far, for whoever reads the rows meanwhile."""
        growing = [
            (held.lease, held.reply.said)
            for held in self.held.values()
            if held.reply.spoken and not held.reply.ended
        ]
        if growing:
            await self._ledger.save(growing)

    async def idle(self, seconds: float) -> None:
        """Wait until no turn runs, at most so long."""
        if tasks := [held.task for held in self.held.values()]:
            await asyncio.wait(tasks, timeout=seconds)
