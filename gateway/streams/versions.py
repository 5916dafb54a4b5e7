"""Waiting for a conversation to change, in whichever process it is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from gateway.streams.brokers import signals
from gateway.streams.brokers.broker import Broker
from gateway.streams.brokers.signals import VersionRaised, channel_of


class Change:
    """Set when the conversation may have changed since the last wait."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, and after so many seconds at the latest: a signal may be
        lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()

    def hear(self, channel: str, payload: bytes) -> None:
        if isinstance(signals.decode(payload), VersionRaised):
            self._event.set()

    def lost(self) -> None:
        self._event.set()


class Versions:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @asynccontextmanager
    async def of(self, conversation_id: UUID) -> AsyncIterator[Change]:
        """Yields the changes from now on. Read the rows once before the first wait."""
        change, channel = Change(), channel_of(conversation_id)
        await self._broker.subscribe(channel, change)
        try:
            yield change
        finally:
            await self._broker.unsubscribe(channel, change)
