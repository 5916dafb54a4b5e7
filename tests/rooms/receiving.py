"""A server that webhooks are sent to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from tests.client import Body

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Receiver:
    """Notes what it is sent, and answers as a test says; 204 unless told otherwise."""

    sent: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[Answer | int] = field(default_factory=list)
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self.sent.append((dict(request.headers), await request.read()))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, int):
            return web.Response(status=answer, text="" if answer == 204 else "So there.")
        return await answer(request)

    async def until(self, count: int, within: float = 10) -> list[Body]:
        async with asyncio.timeout(within):
            while len(self.sent) < count:
                await asyncio.sleep(0.02)
        return [json.loads(body) for _, body in self.sent]
