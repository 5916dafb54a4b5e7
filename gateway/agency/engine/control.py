"""What the processes of one gateway tell each other of turns. A signal that is lost is made up for
by leases that run out and by the sweeper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias
from uuid import UUID

import msgspec

from gateway.process.drain import end
from gateway.streams.brokers.broker import Broker, BrokerMessage

TURNS = "agw:turns"
"""The channel on which every process listens."""


class Stopped(msgspec.Struct, frozen=True, array_like=True, tag="x"):
    """Says that these turns have ended in the rows. The process that runs one of them stops it."""

    turns: list[UUID]


class Freed(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """There may be a turn that no process runs."""


Signal: TypeAlias = Stopped | Freed

_decoder: msgspec.msgpack.Decoder[Signal] = msgspec.msgpack.Decoder(Signal)
_encoder = msgspec.msgpack.Encoder()


class Control:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._stopped: set[UUID] = set()
        self._freed = False
        self._wake = asyncio.Event()

    def stopped(self, turn_ids: Sequence[UUID]) -> None:
        """Tell every process that these turns have ended, which is committed."""
        self._stopped.update(turn_ids)
        self._wake.set()

    def freed(self) -> None:
        """Tell every process to look for a turn to take up."""
        self._freed = True
        self._wake.set()

    @asynccontextmanager
    async def serving(
        self, stop: Callable[[Sequence[UUID]], None], look: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Listen, and send what is to be told. `stop` ends turns here, `look` takes some up."""
        listener = _Listener(stop, look)
        await self._broker.subscribe(TURNS, listener)
        sending = asyncio.create_task(self._send(), name="control turns")
        try:
            yield
        finally:
            await end((sending,))
            await self._broker.unsubscribe(TURNS, listener)

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            signals: list[Signal] = []
            if self._stopped:
                signals.append(Stopped(list(self._stopped)))
                self._stopped.clear()
            if self._freed:
                signals.append(Freed())
                self._freed = False
            await self._broker.publish(
                [BrokerMessage(TURNS, _encoder.encode(one)) for one in signals]
            )


class _Listener:
    def __init__(self, stop: Callable[[Sequence[UUID]], None], look: Callable[[], None]) -> None:
        self._stop = stop
        self._look = look

    def hear(self, channel: str, payload: bytes) -> None:
        try:
            signal = _decoder.decode(payload)
        except msgspec.MsgspecError:
            return  # of a later version of the gateway
        match signal:
            case Stopped(turns):
                self._stop(turns)
            case Freed():
                self._look()

    def lost(self) -> None:
        self._look()
