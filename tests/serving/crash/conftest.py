from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.postgres.database import Database
from gateway.postgres.postmaster import SOCKET
from tests import integrity
from tests.retrieval.servers import ChromaServer
from tests.scripted import ScriptedUpstream
from tests.serving.crash.processes import Process
from tests.serving.crash.proxy import FaultProxy, to_port, to_socket
from tests.streams.servers import RedisServer


class Spawn(Protocol):
    """`await spawn("one", GATEWAY_WORKERS=4)`: a gateway that is ready."""

    def __call__(self, name: str, **settings: object) -> Awaitable[Process]: ...


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis_proxy(redis_server: RedisServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(to_port(redis_server.port)) as proxy:
        yield proxy


@pytest.fixture
async def postgres_proxy(dsn: str) -> AsyncIterator[FaultProxy]:
    (directory,) = parse_qs(urlsplit(dsn).query)["host"]
    async with FaultProxy(to_socket(f"{directory}/{SOCKET}")) as proxy:
        yield proxy


@pytest.fixture
def chroma(tmp_path: Path) -> Iterator[ChromaServer]:
    server = ChromaServer(tmp_path / "chroma")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def chroma_proxy(chroma: ChromaServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(to_port(chroma.port)) as proxy:
        yield proxy


@pytest.fixture
def proxied_dsn(dsn: str, postgres_proxy: FaultProxy) -> str:
    """The database, by way of the proxy."""
    return f"postgresql://postgres@127.0.0.1:{postgres_proxy.port}{urlsplit(dsn).path}"


@pytest.fixture
async def spawn(
    dsn: str,
    database: Database,
    redis_server: RedisServer,
    upstream: ScriptedUpstream,
    tmp_path: Path,
) -> AsyncIterator[Spawn]:
    """Gateways over one Postgres, one Redis and one upstream. What they leave must be sound."""
    running: list[Process] = []
    base = {
        "DATABASE_URL": dsn,
        "REDIS_URL": redis_server.url,
        "OPENAI_BASE_URL": upstream.base_url,
    }

    async def start(name: str, **settings: object) -> Process:
        process = Process(name, {**base, **settings}, tmp_path)
        running.append(process)
        process.start()
        await process.ready()
        return process

    try:
        yield start
    finally:
        for process in running:
            await process.close()
    await integrity.check(database)


@pytest.fixture
async def reading_pair(spawn: Spawn, chroma_proxy: FaultProxy) -> tuple[Process, Process]:
    """Two that share a search index."""
    url = f"http://127.0.0.1:{chroma_proxy.port}"
    one, other = await asyncio.gather(*(spawn(name, CHROMA_URL=url) for name in ("one", "other")))
    return one, other


@pytest.fixture
async def pair(spawn: Spawn) -> tuple[Process, Process]:
    one, other = await asyncio.gather(spawn("one"), spawn("other"))
    return one, other
