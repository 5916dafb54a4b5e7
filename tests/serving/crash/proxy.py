"""A TCP port before a server, which can be made to fail in the ways that networks do."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self, TypeAlias

from tests.ports import free_port

Ends: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect: TypeAlias = Callable[[], Awaitable[Ends]]
PIECE = 64 * 1024
LINGER = struct.pack("ii", 1, 0)
"""Closing a socket with this sends a reset."""


class Mode(Enum):
    PASS = "pass"
    DELAY = "delay"
    """Each piece is held for some seconds."""
    CUT = "cut"
    """Connections are closed, and nobody listens."""
    SWALLOW = "swallow"
    """Connections are taken and kept, and nothing is passed on."""
    RESET = "reset"
    """Connections are reset, new ones too."""


FAULTS = (Mode.DELAY, Mode.CUT, Mode.SWALLOW, Mode.RESET)


@dataclass
class Counts:
    """What the proxy did: to connections, and to pieces of what was sent over them."""

    connections: int = 0
    passed: int = 0
    delayed: int = 0
    cut: int = 0
    swallowed: int = 0
    reset: int = 0
    lost: int = 0


@dataclass(eq=False)
class _Link:
    """A client's connection and ours to the server. One that lost something can't go on."""

    near: Ends
    far: Ends | None = None
    torn: bool = False
    marked: int = 0
    """How many of the marks were sent over it."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def close(self, *, reset: bool = False) -> None:
        for ends in (self.near, self.far):
            if ends is None:
                continue
            if reset:
                raw = ends[1].get_extra_info("socket")
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                ends[1].transport.abort()
            else:
                ends[1].close()
        for task in self.tasks:
            task.cancel()


class FaultProxy:
    """An async context manager; `port` is open on loopback inside it."""

    def __init__(self, connect: Connect) -> None:
        self.port = free_port()
        self.counts = Counts()
        self._connect = connect
        self._mode = Mode.PASS
        self._marks: Sequence[bytes] = ()
        self._seconds = 0.0
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._deafen()
        for link in tuple(self._links):
            link.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @asynccontextmanager
    async def fault(self, mode: Mode, *, seconds: float = 0.0) -> AsyncIterator[None]:
        """The fault for as long as this lasts. Fails if it hit nothing; `seconds` is the delay."""
        before = self._hits(mode)
        await self.become(mode, seconds)
        try:
            yield
        finally:
            await self.become(Mode.PASS)
        assert self._hits(mode) > before, f"nothing was hit by {mode.value}"

    @asynccontextmanager
    async def answer_lost(self, *marks: bytes) -> AsyncIterator[None]:
        """The connection over which these were sent, one after the other, is reset when the answer
        to the last of them comes: the server has done it, and the client can't know. Once."""
        before = self.counts.lost
        self._marks = marks
        try:
            yield
        finally:
            self._marks = ()
        assert self.counts.lost == before + 1, f"the answer to {marks} was not lost"

    async def connected(self, within: float = 20.0) -> None:
        """Wait until somebody is."""
        async with asyncio.timeout(within):
            while not self._links:
                await asyncio.sleep(0.005)

    async def become(self, mode: Mode, seconds: float = 0.0) -> None:
        self._mode, self._seconds = mode, seconds
        if mode is Mode.CUT:
            await self._deafen()
        elif self._server is None:
            await self._listen()
        for link in tuple(self._links):
            if mode is Mode.CUT:
                self.counts.cut += 1
                link.close()
            elif mode is Mode.RESET:
                self.counts.reset += 1
                link.close(reset=True)
            elif mode is Mode.PASS and link.torn:
                link.close(reset=True)

    def _hits(self, mode: Mode) -> int:
        counts = self.counts
        return {
            Mode.PASS: counts.passed,
            Mode.DELAY: counts.delayed,
            Mode.CUT: counts.cut,
            Mode.SWALLOW: counts.swallowed,
            Mode.RESET: counts.reset,
        }[mode]

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        link = _Link((reader, writer))
        self._links.add(link)
        self.counts.connections += 1
        try:
            await self._serve(link)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            link.close()
            self._links.discard(link)
            self._serving.discard(serving)

    async def _serve(self, link: _Link) -> None:
        if self._mode is Mode.RESET:
            self.counts.reset += 1
            link.close(reset=True)
            return
        link.far = await self._connect()
        there = self._pump(link, link.near[0], link.far[1], self._mark)
        back = self._pump(link, link.far[0], link.near[1], self._lose)
        link.tasks = [asyncio.create_task(way) for way in (there, back)]
        await asyncio.wait(link.tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _pump(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        look: Callable[[_Link, bytes], None],
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                look(link, piece)
                if self._mode is Mode.DELAY:
                    self.counts.delayed += 1
                    await asyncio.sleep(self._seconds)
                if self._mode is Mode.SWALLOW or link.torn:
                    self.counts.swallowed += 1
                    link.torn = True
                    continue
                self.counts.passed += 1
                writer.write(piece)
                await writer.drain()

    def _mark(self, link: _Link, piece: bytes) -> None:
        if link.marked < len(self._marks) and self._marks[link.marked] in piece:
            link.marked += 1

    def _lose(self, link: _Link, _: bytes) -> None:
        if self._marks and link.marked == len(self._marks):
            self._marks = ()
            self.counts.lost += 1
            link.torn = True
            link.close(reset=True)


def to_port(port: int) -> Connect:
    return lambda: asyncio.open_connection("127.0.0.1", port)


def to_socket(path: str) -> Connect:
    return lambda: asyncio.open_unix_connection(path)
