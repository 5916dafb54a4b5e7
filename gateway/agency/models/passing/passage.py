"""One answer of an upstream on its way to the client who asked: no byte of it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aiohttp
import msgspec

from gateway.agency.models.passing.blocks import Blocks
from gateway.agency.models.passing.passed import passed
from gateway.agency.models.upstream import exchange, faults
from gateway.agency.models.upstream.sse import EventTooLong

DRY_S: Final = 0.1
"""The wait for a body's end, without which its connection can't be used again."""


class Listed(msgspec.Struct, frozen=True):
    """A model as an upstream lists it."""

    id: str
    created: int = 0


class UpstreamResponse:
    """`idle` is how many seconds the upstream may be silent within its answer."""

    def __init__(
        self, response: aiohttp.ClientResponse, idle: float, secret: str | None = None
    ) -> None:
        self._response = response
        self._idle = idle
        self._blocks = Blocks()
        self._ended = False
        self.secret = secret

    async def check(self, wanted: str) -> None:
        """Raises UpstreamError, and closes, unless it is an answer of the content type `wanted`."""
        try:
            await self._check(wanted)
        except BaseException:
            self._response.close()
            raise

    async def _check(self, wanted: str) -> None:
        response = self._response
        if not 200 <= response.status < 300:
            retry_after = faults.seconds_of(response.headers.get("Retry-After"))
            body = await exchange.error_body(response)
            raise passed(response.status, body, retry_after, secret=self.secret)
        if response.content_type.lower() != wanted:
            raise faults.bad_content_type(wanted)

    async def whole(self) -> bytes:
        """Returns the whole body of a JSON answer. Raises UpstreamError."""
        body = await exchange.body(self._response, self._idle)
        self._ended = True
        return body

    async def events(self) -> list[bytes]:
        """The next events, each as it came; none at the end. Raises UpstreamError.

        Cancelling it loses nothing: it may be called again.
        """
        try:
            async with asyncio.timeout(self._idle) as patience:
                return await self._events(patience)
        except EventTooLong:
            raise faults.too_large() from None
        except TimeoutError:
            raise faults.timed_out(self._idle, idle=True) from None
        except aiohttp.ClientError:
            raise faults.truncated() from None

    async def _events(self, patience: asyncio.Timeout) -> list[bytes]:
        clock = asyncio.get_running_loop().time
        while not self._ended:
            piece = await self._response.content.readany()
            patience.reschedule(clock() + self._idle)
            if not piece:
                self._ended = True
                rest = self._blocks.rest
                return [rest + b"\n\n"] if rest.strip() else []
            if blocks := self._blocks.feed(piece):
                return blocks
        return []

    async def close(self) -> None:
        """Give the connection back if the answer is over, else close it."""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(DRY_S):
                while not self._ended and not self._response.content.at_eof():
                    self._ended = not await self._response.content.readany()
        self.cut()

    def cut(self) -> None:
        """Close at once; the upstream stops. A connection whose answer is over is kept."""
        self._response.close()


class _List(msgspec.Struct):
    data: Sequence[msgspec.Raw]


class _Entry(msgspec.Struct):
    id: str
    created: object = None


async def read_list(response: aiohttp.ClientResponse, idle: float) -> list[Listed]:
    """The models of a `GET /models`; entries that name none are left out. Raises UpstreamError."""
    if not 200 <= response.status < 300:
        raise faults.of_status(response.status, await exchange.error_body(response))
    try:
        listed = msgspec.json.decode(await exchange.body(response, idle), type=_List)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise faults.invalid() from None
    return [one for raw in listed.data if (one := _entry(raw)) is not None]


def _entry(raw: msgspec.Raw) -> Listed | None:
    try:
        entry = msgspec.json.decode(raw, type=_Entry)
    except (msgspec.MsgspecError, ValueError):
        return None
    return Listed(entry.id, entry.created if isinstance(entry.created, int) else 0)
