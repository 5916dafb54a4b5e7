"""What carries signals between the processes of one gateway.

A broker may lose a message; it must say so when it may have. Nothing here waits for long, and
nothing fails: a broker that is away makes streams slower, not wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class BrokerMessage(NamedTuple):
    channel: str
    payload: bytes


class Listener(Protocol):
    """Called in the loop's thread; neither method may block or raise."""

    def hear(self, channel: str, payload: bytes) -> None: ...

    def lost(self) -> None:
        """Messages may have been missed on what this listener follows."""


class Broker(Protocol):
    def reaches(self, channel: str) -> bool:
        """Returns False if nobody listens to this channel, in any process. Whoever begins to listen
        later looks at the rows."""

    async def publish(self, messages: Sequence[BrokerMessage]) -> None:
        """Send them in order, if that is possible within a moment; else they are lost."""

    async def subscribe(self, channel: str, listener: Listener) -> bool:
        """Returns True once every later message will be heard. False if that is not known yet: the
        broker makes up for it, and then calls `lost`."""

    async def unsubscribe(self, channel: str, listener: Listener) -> None: ...

    async def ping(self) -> None:
        """Raises Unavailable."""
