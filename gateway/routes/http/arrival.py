"""The body of a request while it comes in: by when, in which encoding, and where the rest goes.

A client that holds back half of its body would hold its connection and its place here for ever. One
that is refused while it still sends would see a broken connection instead of the answer.
"""

from __future__ import annotations

import asyncio
import codecs
import time
from contextlib import suppress
from typing import cast

from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import HTTPRequestEvent, Receive, ReceiveMessage

from gateway.errors import InvalidRequest, TooSlow
from gateway.routes.http.encodings import Unpacking
from gateway.routes.http.errors import MAX_BODY

STALLED_S = 30.0
"""Without a byte for so long, a body is given up."""
SLOWEST = 1000
"""Bytes a second. Without it one byte now and then would hold a connection for ever."""
DISCARDED = 4 * MAX_BODY
"""Bytes of a refused body that are thrown away, so that its sender goes on to read the answer."""
DISCARD_S = 10.0

IDENTITY = b"identity"


class Body:
    """One request's body. `receive` is ASGI's, but its messages are unpacked and hold no BOM.

    `receive` raises TooSlow, RequestEntityTooLarge,
    UnsupportedEncoding, and InvalidRequest for what is not packed as its encoding says.
    """

    __slots__ = ("_began", "_encoding", "_given", "_receive", "_taken", "_unpacking", "arrived")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._unpacking: Unpacking | None = None
        self._began = 0.0
        self._taken = 0
        self._given = False
        self._encoding: bytes | None = None
        self.arrived = False
        """True if nothing more comes but a disconnect."""

    def packed(self, encoding: bytes) -> None:
        """It is packed like this, as its `content-encoding` says."""
        if encoding.strip().lower() not in (b"", IDENTITY):
            self._encoding = encoding

    async def receive(self) -> ReceiveMessage:
        if self._encoding is not None:
            return await self._unpacked()
        if self.arrived:  # a disconnect is waited for as long as it takes
            return await self._receive()
        return self._cleaned(await self._next())

    async def discard(self) -> None:
        """Take in what is still on its way, within bounds."""
        taken = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_S):
                while not self.arrived and taken < DISCARDED:
                    message = await self._receive()
                    self._note(message)
                    if message["type"] == "http.request":
                        taken += len(message["body"])

    async def _next(self) -> ReceiveMessage:
        now = time.monotonic()
        self._began = self._began or now
        since = now - self._began
        allowed = min(STALLED_S, STALLED_S + self._taken / SLOWEST - since)
        message = await _within(allowed, self._receive)
        self._note(message)
        return message

    def _note(self, message: ReceiveMessage) -> None:
        if message["type"] == "http.request":
            self._taken += len(message["body"])
            self.arrived = not message["more_body"]
        else:
            self.arrived = True

    def _cleaned(self, message: ReceiveMessage) -> ReceiveMessage:
        """Without the mark that some editors put before UTF-8."""
        if not self._given and message["type"] == "http.request":
            self._given = True
            if message["body"].startswith(codecs.BOM_UTF8):
                message["body"] = message["body"].removeprefix(codecs.BOM_UTF8)
        return message

    async def _unpacked(self) -> ReceiveMessage:
        unpacking = self._unpacking = self._unpacking or Unpacking(self._encoding or IDENTITY)
        while True:
            while unpacking.pending:
                piece = unpacking.step()
                await asyncio.sleep(0)  # others have their turn in between
                if piece:
                    return self._cleaned(_piece(piece, more=True))
            if self.arrived:
                self._encoding = None
                if not unpacking.ended and self._taken:
                    raise InvalidRequest("The body ends before its content-encoding does.")
                return _piece(b"", more=False)
            message = await self._next()
            if message["type"] != "http.request":
                return message
            if self._taken > MAX_BODY:
                raise RequestEntityTooLarge
            unpacking.feed(message["body"])


async def _within(seconds: float, receive: Receive) -> ReceiveMessage:
    """The next message. Raises TooSlow. Every request waits here: `asyncio.timeout` takes twice as
    long."""
    task = cast("asyncio.Task[object]", asyncio.current_task())
    late = False

    def end() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = task.get_loop().call_later(seconds, end)
    try:
        return await receive()
    except asyncio.CancelledError:
        if late and task.uncancel() == 0:
            raise TooSlow("The body did not come in time.") from None
        raise
    finally:
        timer.cancel()


def _piece(body: bytes, *, more: bool) -> HTTPRequestEvent:
    return {"type": "http.request", "body": body, "more_body": more}
