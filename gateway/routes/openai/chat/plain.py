"""Plain models at `/v1/chat/completions`: the upstream's answer as it is, and a row of its use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from litestar.types import ASGIApp, Receive, Send
from litestar.types import Scope as AsgiScope

from gateway.agency.plain.call import PassedCall
from gateway.agency.plain.models import PlainModels
from gateway.auth import Callers, Scope
from gateway.errors import Conflict, GatewayError
from gateway.routes.http.connection import ClientGone, Sent, connected
from gateway.routes.openai import exchange
from gateway.routes.openai.chat.body import read_plain_model
from gateway.routes.openai.exchange import Asking

if TYPE_CHECKING:
    from gateway.settings import Settings

NOTICED = ("idempotency-key", "x-conversation-id")
"""Headers that mean something to a team and nothing here."""


async def answer(request: Asking, raw: bytes) -> ASGIApp:
    """What the plain model that the body names says to it."""
    request.user.require(Scope.CHAT)
    models: PlainModels = request.app.state.plain
    asked = read_plain_model(raw)
    if (call := await models.begin(asked, request.user)) is None:
        callers: Callers = request.app.state.callers
        await callers.identify(request.auth)  # says that the key is gone
        raise Conflict("The key changed meanwhile; try again.")
    names = [name for name in NOTICED if name in request.headers]
    ignored = ", ".join([*asked.ignored, *map(str.title, names)])
    headers = {"x-gateway-ignored": ignored} if ignored else {}
    return _Answer(request, models, call, headers)


@dataclass(slots=True)
class _Answer:
    """The answer as an ASGI app; the call ends with it, whatever became of both."""

    request: Asking
    models: PlainModels
    call: PassedCall
    headers: dict[str, str]

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        first = asyncio.create_task(self._first(), name="ask a plain model")
        try:
            response = await self._response(first, receive)
            await exchange.sent(response, scope, receive, send)
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            self.models.end(self.call)

    async def _first(self) -> bytes:
        """The whole answer, or a stream's first events."""
        streamed = self.call.request.streamed
        return await (self.call.events() if streamed else self.call.whole())

    async def _response(self, first: asyncio.Task[bytes], receive: Receive) -> ASGIApp:
        """A stream that is silent for long is begun without its first events; then comments keep
        the connection open. A failure before them is an answer of its own."""
        streamed = self.call.request.streamed
        settings: Settings = self.request.app.state.settings
        try:
            async with connected(receive):
                await asyncio.wait([first], timeout=settings.ping if streamed else None)
        except ClientGone:
            return exchange.nothing(self.request)
        if first.done() and isinstance(error := first.exception(), Exception):
            return exchange.failed(self.request, error, self.headers)
        if not streamed:
            return Sent(await first, self.headers)
        return exchange.stream(self._events(first), self.headers, settings)

    async def _events(self, first: asyncio.Task[bytes]) -> AsyncIterator[bytes]:
        try:
            events = await first
            while events:
                yield events
                events = await self.call.events()
        except GatewayError as error:
            yield exchange.error_event(error)
