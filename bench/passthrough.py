"""The measure of all: a bare Litestar application that hands requests on with aiohttp."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from litestar.response import Stream
from litestar.types import ASGIApp

HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}


@asynccontextmanager
async def _session(app: Litestar) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=1000)
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        app.state.session = session
        yield


@post("/v1/chat/completions", status_code=200)
async def pass_through(request: Request[None, None, State]) -> ASGIApp:
    body = await request.body()
    url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
    response: aiohttp.ClientResponse = await request.app.state.session.post(url, data=body)
    if response.content_type == "text/event-stream":
        stream = Stream(_pieces(response), media_type="text/event-stream")
        return stream.to_asgi_response(None, request)
    async with response:
        answer = Response(await response.read(), media_type="application/json")
    return answer.to_asgi_response(None, request)


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with response:
        async for piece in response.content.iter_any():
            yield piece


def create() -> Litestar:
    return Litestar([pass_through], lifespan=[_session], openapi_config=None, logging_config=None)


if __name__ == "__main__":
    Granian(
        "bench.passthrough:create",
        factory=True,
        interface=Interfaces.ASGI,
        address="127.0.0.1",
        port=int(os.environ["PORT"]),
        workers=1,
        websockets=False,
        log_level=LogLevels.warning,
    ).serve()
