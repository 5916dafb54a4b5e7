"""The broker of a single process."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.streams.brokers.broker import BrokerMessage, Listener


class MemoryBroker:
    def __init__(self) -> None:
        self.listeners: dict[str, list[Listener]] = {}

    def reaches(self, channel: str) -> bool:
        return channel in self.listeners

    async def publish(self, messages: Sequence[BrokerMessage]) -> None:
        for channel, payload in messages:
            for listener in tuple(self.listeners.get(channel, ())):
                listener.hear(channel, payload)

    async def subscribe(self, channel: str, listener: Listener) -> bool:
        listeners = self.listeners.setdefault(channel, [])
        if listener not in listeners:
            listeners.append(listener)
        return True

    async def unsubscribe(self, channel: str, listener: Listener) -> None:
        listeners = self.listeners.get(channel, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            self.listeners.pop(channel, None)

    async def ping(self) -> None:
        pass
