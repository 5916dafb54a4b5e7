"""A server in the place of another gateway: notes what it is told, answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

ID = "sess_00000000000000000000000000000001"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


def session(state: str, **members: Any) -> dict[str, Any]:
    return {"id": ID, "state": state, "message": None, "error": None, **members}


def tells(state: str, *, status: int = 200, **members: Any) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(session(state, **members), status=status)

    return answer


def gives(body: bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, status=status, content_type=kind, headers=told)

    return answer


async def thinks(request: web.Request) -> web.StreamResponse:
    """For as long as it is asked to wait."""
    await asyncio.sleep(float(request.query["wait"]))
    return web.json_response(session("thinking"))


async def breaks(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    raise asyncio.CancelledError


class Elsewhere:
    """`answers` are by method. Unless told otherwise a session thinks at first, then it says
    `Done.`"""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: dict[str, Answer] = {
            "POST": tells("thinking", status=201),
            "GET": tells("resolved", message="Done."),
            "DELETE": tells("failed", error={"code": "turn_cancelled"}),
        }
        self._arrival = asyncio.Condition()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"{self.origin}/api/agents/7"

    def of(self, method: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method]

    async def arrived(self, method: str, count: int = 1, within: float = 10.0) -> Seen:
        async with asyncio.timeout(within), self._arrival:
            await self._arrival.wait_for(lambda: len(self.of(method)) >= count)
        return self.of(method)[count - 1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(request.method, request.path, dict(request.query), headers, body)
        async with self._arrival:
            self.seen.append(seen)
            self._arrival.notify_all()
        return await self.answers[request.method](request)
