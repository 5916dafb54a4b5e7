"""The writers' side: what they call after each commit, and how a reply is told while it grows.

Everything leaves the process through one task, in batches, and nobody waits for it. What does not
arrive is found in the rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from gateway.process.drain import end
from gateway.streams.brokers import signals
from gateway.streams.brokers.broker import Broker, BrokerMessage
from gateway.streams.brokers.signals import (
    ASKS,
    Followed,
    Signal,
    Spoke,
    VersionRaised,
    channel_of,
)

TICK_S = 0.025
"""Words that come within this time are told together."""
INTEREST_S = 5.0
"""For so long after it was asked for is a reply told. Feeds ask every second."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A reply that is being given. `attempt` rises whenever its text begins anew; `said` is its
    text so far. `wanted` is called when somebody begins to listen."""

    conversation_id: UUID
    interaction_id: UUID
    attempt: int
    said: Callable[[], str]
    wanted: Callable[[], None]


class _Telling:
    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self.until = 0.0
        self.told = 0

    def next(self) -> Spoke | None:
        text = self.voice.said()
        if len(text) <= self.told:
            return None
        told, self.told = self.told, len(text)
        return Spoke(self.voice.interaction_id, self.voice.attempt, told, text[told:])


class Announcer:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._changed: dict[UUID, int] = {}
        self._followed: set[UUID] = set()
        self._afresh: set[UUID] = set()
        self._voices: dict[UUID, list[_Telling]] = {}
        self._wake = asyncio.Event()
        self._next_tick = 0.0

    # ---- the writers' side -----------------------------------------------------------------------

    def changed(self, conversation_id: UUID, version: int) -> None:
        """A conversation has reached this version, and that is committed."""
        if not self._broker.reaches(channel_of(conversation_id)):
            return  # most conversations have no reader, and need not wake the task that tells them
        self._changed[conversation_id] = max(version, self._changed.get(conversation_id, 0))
        self._wake.set()

    def speak(self, voice: Voice) -> None:
        """A reply begins. Nothing is told of it until somebody asks."""
        self._voices.setdefault(voice.conversation_id, []).append(_Telling(voice))

    def fall_silent(self, conversation_id: UUID, interaction_id: UUID, attempt: int) -> None:
        """A reply has ended, one way or the other."""
        left = [
            telling
            for telling in self._voices.pop(conversation_id, ())
            if (telling.voice.interaction_id, telling.voice.attempt) != (interaction_id, attempt)
        ]
        if left:
            self._voices[conversation_id] = left

    # ---- the feed's side -------------------------------------------------------------------------

    def ask(self, followed: Collection[UUID], afresh: Collection[UUID] = ()) -> None:
        """Have every process tell the replies of these conversations."""
        self._followed.update(followed)
        self._afresh.update(afresh)
        if followed or afresh:
            self._wake.set()

    # ---- the broker's side -----------------------------------------------------------------------

    def hear(self, channel: str, payload: bytes) -> None:
        match signals.decode(payload):
            case Followed(followed, afresh):
                for conversation_id in followed:
                    self._listen_to(conversation_id, afresh=False)
                for conversation_id in afresh:
                    self._listen_to(conversation_id, afresh=True)

    def _listen_to(self, conversation_id: UUID, *, afresh: bool) -> None:
        now = time.monotonic()
        for telling in self._voices.get(conversation_id, ()):
            if afresh or telling.until < now:
                telling.told = 0
            telling.until = now + INTEREST_S
            telling.voice.wanted()
            self._wake.set()

    def lost(self) -> None:
        """Feeds ask again every second."""

    # ---- the way out -----------------------------------------------------------------------------

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if messages := self._take():
                await self._broker.publish(messages)
            now = time.monotonic()
            if self._next_tick <= now and self._listened(now):
                self._next_tick = now + TICK_S
                loop.call_later(TICK_S, self._wake.set)

    def _take(self) -> list[BrokerMessage]:
        messages = [_message(channel_of(c), spoke) for c, spoke in self._grown()]
        messages += [_message(channel_of(c), VersionRaised(v)) for c, v in self._changed.items()]
        self._changed.clear()
        if self._followed or self._afresh:
            asked = Followed(list(self._followed - self._afresh), list(self._afresh))
            messages.append(_message(ASKS, asked))
            self._followed.clear()
            self._afresh.clear()
        return messages

    def _listened(self, now: float) -> list[_Telling]:
        return [one for many in self._voices.values() for one in many if one.until >= now]

    def _grown(self) -> list[tuple[UUID, Spoke]]:
        now = time.monotonic()
        if now < self._next_tick:
            return []
        return [
            (telling.voice.conversation_id, spoke)
            for telling in self._listened(now)
            if (spoke := telling.next())
        ]


def _message(channel: str, signal: Signal) -> BrokerMessage:
    return BrokerMessage(channel, signals.encode(signal))


@asynccontextmanager
async def open_announcer(broker: Broker) -> AsyncIterator[Announcer]:
    announcer = Announcer(broker)
    await broker.subscribe(ASKS, announcer)
    running = asyncio.create_task(announcer.run(), name="announce")
    try:
        yield announcer
    finally:
        await end((running,))
        await broker.unsubscribe(ASKS, announcer)
