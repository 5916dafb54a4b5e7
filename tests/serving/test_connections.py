"""Nobody holds a connection for nothing: silence, half a request, an answer that nobody reads."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from gateway.cli.serve import HTTP1
from gateway.routes.http.entrance import MAX_HEADERS, Entrance
from tests.running import Gateway, listening, reserved_port

ROOT = b"authorization: Bearer agw_root_test\r\n"
POST = b"POST /api/keys HTTP/1.1\r\nhost: gateway\r\n%bcontent-length: 100\r\n\r\n{"


async def opened(gateway: Gateway, sent: bytes) -> bytes:
    """All that comes until the gateway closes the connection."""
    host, port = gateway.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"GET /api/me HTTP/1.1\r\nhost: gat", b""),
        (b"GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n", b"HTTP/1.1 200"),
        (POST % b"", b"HTTP/1.1 401"),
        (POST % ROOT, b"HTTP/1.1 408"),
    ],
    ids=["nothing", "half the headers", "nothing more", "a stranger's half", "a caller's half"],
)
async def test_a_connection_that_only_waits_is_closed(
    gateway: Gateway, sent: bytes, status: bytes
) -> None:
    async with asyncio.timeout(100):
        assert (await opened(gateway, sent))[:12] == status


async def test_large_headers_are_refused_before_the_key_is_looked_at(gateway: Gateway) -> None:
    large = b"x-large: " + b"a" * MAX_HEADERS + b"\r\nconnection: close\r\n\r\n"
    for key in (b"", ROOT):
        answer = await opened(gateway, b"GET /api/me HTTP/1.1\r\nhost: gateway\r\n" + key + large)
        assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc/net/tcp")
async def test_a_reader_who_is_cut_off_loses_its_socket() -> None:
    async def talk(scope: Any, receive: Any, send: Any) -> None:
        """As streams do: whoever takes nothing for a second is left."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                async with asyncio.timeout(1):
                    piece = {"type": "http.response.body", "body": bytes(65536), "more_body": True}
                    await send(piece)
        except TimeoutError:
            return

    async with serving(Entrance(talk)) as port:
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.to_thread(reader.connect, ("127.0.0.1", port))
            reader.sendall(b"GET /talk HTTP/1.1\r\nhost: gateway\r\n\r\n")
            own = reader.getsockname()[1]
            assert held(port, own)
            async with asyncio.timeout(60):
                while held(port, own):
                    await asyncio.sleep(0.1)


def held(port: int, peer: int) -> bool:
    """Whether the kernel keeps the server's end of this connection."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = [line.split()[1:3] for line in lines]
    return any(
        int(ours.split(":")[1], 16) == port and int(theirs.split(":")[1], 16) == peer
        for ours, theirs in ends
    )


@asynccontextmanager
async def serving(entrance: Entrance) -> AsyncIterator[int]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await entrance(scope, receive, send)

    with reserved_port() as holder:
        port = holder.getsockname()[1]
        server = Server(
            app,
            port=port,
            interface=Interfaces.ASGI,
            log_enabled=False,
            http=HTTPModes.http1,
            http1_settings=HTTP1,
        )
        running = asyncio.create_task(server.serve())
        try:
            await listening(port, running)
            yield port
        finally:
            server.stop()
            await running
