"""A gateway in the test's own event loop, on a real socket and under the real server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Never, cast

import httpx
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from openai import AsyncOpenAI

from gateway.app import create_app
from gateway.auth import Callers, Scope
from gateway.cli.serve import CONNECTIONS, HTTP1
from gateway.resources import Resources, open_resources
from gateway.settings import Polls, Settings
from tests import document
from tests.client import bearer

ROOT_KEY = "agw_root_test"

QUICK = Polls(channels=0.25, rights=1.0, replies=0.25, saves=0.25, statuses=0.5, documents=0.1)
"""Gateways of tests look often, where a test would wait for it."""
JUDGED = {"response": [document.judge]}
"""Whatever a test asks for, what it is given must be what the OpenAPI document says."""


@dataclass
class Gateway:
    """What a test talks to. `http` carries the root key; `anonymous` carries none."""

    base_url: str
    dsn: str
    resources: Resources
    http: httpx.AsyncClient
    anonymous: httpx.AsyncClient
    root_key: str = ROOT_KEY
    clients: AsyncExitStack = field(default_factory=AsyncExitStack)
    _sdk: AsyncOpenAI | None = None

    async def key(self, user: str = "ann", *scopes: str) -> str:
        """A new key for this user, with the scope `chat` unless told otherwise."""
        callers = Callers(self.resources.database)
        _, token = await callers.create(user, scopes or (Scope.CHAT,))
        return token

    async def connect(self, user: str = "ann", *scopes: str) -> httpx.AsyncClient:
        """Who calls with a new key of this user's."""
        key = await self.key(user, *scopes)
        http = httpx.AsyncClient(base_url=self.base_url, headers=bearer(key), timeout=30)
        self.clients.push_async_callback(http.aclose)
        return http

    def client(
        self, agency_id: int = 1, *, key: str = ROOT_KEY, path: str | None = None, retries: int = 0
    ) -> AsyncOpenAI:
        """The openai SDK, pointed at an agency or, with `path="/v1"`, elsewhere. All share one pool
        of connections: to make one takes longer than most tests."""
        base = f"{self.base_url}{path or f'/api/agency/{agency_id}'}"
        if self._sdk is None:
            self._sdk = AsyncOpenAI(base_url=base, api_key=key, timeout=30)
            self.clients.push_async_callback(self._sdk.close)
        return self._sdk.with_options(base_url=base, api_key=key, max_retries=retries)


@asynccontextmanager
async def running_gateway(dsn: str, settings: Settings) -> AsyncIterator[Gateway]:
    opened: list[Resources] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Resources]:
        async with open_resources(settings, dsn) as resources:
            await resources.callers.install_root(ROOT_KEY)
            opened.append(resources)
            yield resources

    with reserved_port() as holder:
        port = holder.getsockname()[1]
        server = Server(
            create_app(opening, settings.cors_origins),
            port=port,
            interface=Interfaces.ASGI,
            log_enabled=False,
            backpressure=CONNECTIONS,
            http=HTTPModes.http1,
            http1_settings=HTTP1,
        )
        serving = asyncio.create_task(server.serve())
        try:
            await listening(port, serving)
            async with _clients(f"http://127.0.0.1:{port}", dsn, opened[0]) as gateway:
                yield gateway
        finally:
            if opened:
                opened[0].drain.begin()
            server.stop()
            await serving


@asynccontextmanager
async def _clients(base_url: str, dsn: str, resources: Resources) -> AsyncIterator[Gateway]:
    async with (
        httpx.AsyncClient(
            base_url=base_url, headers=bearer(ROOT_KEY), timeout=30, event_hooks=JUDGED
        ) as http,
        httpx.AsyncClient(base_url=base_url, timeout=30, event_hooks=JUDGED) as anonymous,
        AsyncExitStack() as others,
    ):
        yield Gateway(base_url, dsn, resources, http, anonymous, clients=others)


def reserved_port() -> socket.socket:
    """A socket bound to a free port. It does not listen, so the server may bind there too."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


async def listening(port: int, serving: asyncio.Task[None]) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if serving.done():
                    serving.result()
                    raise
                await asyncio.sleep(0.002)
            else:
                writer.close()
                await writer.wait_closed()
                return


def settings_for(data_dir: Path, **changes: object) -> Settings:
    """Settings as an operator would make them, with `changes` to single fields."""
    settings = Settings(data_dir=data_dir, openai_api_key="upstream-key", polls=QUICK)
    return replace(settings, **cast("dict[str, Never]", changes))
