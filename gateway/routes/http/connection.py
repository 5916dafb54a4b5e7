"""A client's connection: a short way to answer on it, and notice when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from litestar.types import Receive, Scope, Send


class ClientGone(Exception):
    """Nobody is there any more to be answered."""


@dataclass(slots=True)
class Sent:
    """An answer as an ASGI app: what Litestar's Response is, for a tenth of the time."""

    body: bytes
    headers: dict[str, str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        head += [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


@asynccontextmanager
async def connected(receive: Receive) -> AsyncIterator[None]:
    """Raises ClientGone as soon as the client goes away."""
    try:
        async with asyncio.timeout(None) as stay:
            watch = asyncio.create_task(_watch(receive, stay), name="watch for a disconnect")
            try:
                yield
            finally:
                watch.cancel()
    except TimeoutError:
        raise ClientGone from None


async def _watch(receive: Receive, stay: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stay.reschedule(0)  # a moment that has passed
