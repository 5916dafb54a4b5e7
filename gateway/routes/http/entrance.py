"""What every request passes first: it gets an id, its answer carries it, and one line logs it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable
from http import HTTPStatus

import uuid_utils
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gateway.auth import Callers
from gateway.errors import GatewayError, HeadersTooLarge
from gateway.network.hangup import HangUp
from gateway.process import telemetry
from gateway.routes.http.arrival import Body
from gateway.routes.http.cors import Cors, Headers
from gateway.routes.http.errors import (
    CLIENT_GONE,
    JSON,
    Problem,
    Unrouted,
    describe,
    log_failure,
    render,
)
from gateway.routes.http.guards import is_public, token_of

log = logging.getLogger("gateway.access")

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

MAX_HEADERS = 64 * 1024
"""Bytes of names and values. The server's own bound is about as large and not exact."""
_EXPECT = b"100-continue"


class Entrance:
    """Stands before Litestar's router: a middleware of Litestar never sees what has no route."""

    def __init__(self, app: ASGIApp, cors: Cors | None = None) -> None:
        self._app = app
        self._cors = cors
        self._hang_up = HangUp()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            return await self._app(scope, receive, send)
        passage = _Exchange(Body(receive), send)
        passage.read(scope["headers"])
        token = telemetry.request_id.set(passage.request_id.decode())
        method = scope["method"]
        if method == "HEAD":  # the server leaves the body out
            scope["method"] = "GET"
        try:
            await self._enter(scope, passage)
        except Unrouted as unrouted:
            problem = await _without_route(scope, unrouted.problem)
            await _send(passage.answer, problem, scope["path"])
        except asyncio.CancelledError:  # by who watches for the client; the task ends here anyway
            passage.status = passage.status or CLIENT_GONE
        except Exception as error:  # the last place that can log it without its words
            log_failure(error)
            if passage.status == 0:
                await _send(passage.answer, describe(RuntimeError()), scope["path"])
        finally:
            _log(scope, method, passage)
            telemetry.request_id.reset(token)
        if passage.stuck and (client := scope["client"]) is not None:
            self._hang_up.of((client[0], int(client[1])))  # Granian sends a text
        elif passage.sending and not passage.body.arrived:
            await passage.body.discard()
        return None

    async def _enter(self, scope: HTTPScope, passage: _Exchange) -> None:
        if self._cors is not None:
            if scope["method"] == "OPTIONS":
                answer = self._cors.preflight(scope["headers"])
                if answer is not None:
                    return await _send_empty(passage.answer, answer)
            passage.added += self._cors.granted(scope["headers"])
        if passage.weight > MAX_HEADERS:
            return await _send(passage.answer, describe(_TOO_MANY), scope["path"])
        return await self._app(scope, passage.body.receive, passage.answer)


_TOO_MANY = HeadersTooLarge(f"The headers are larger than {MAX_HEADERS // 1024} KiB.")


class _Exchange:
    """One request on its way out: the answer gets the request's id, and its status is noted.

    `added` is what every answer to it carries, `weight` the bytes of its headers. `sending` is True
    if its sender begins with the body before it has heard anything, `stuck` if a part of the answer
    was not taken in time.
    """

    __slots__ = (
        "_send",
        "added",
        "began",
        "body",
        "request_id",
        "sending",
        "status",
        "stuck",
        "weight",
    )

    def __init__(self, body: Body, send: Send) -> None:
        self._send = send
        self.body = body
        self.request_id = b""
        self.began = time.perf_counter()
        self.added: Headers = []
        self.sending = False
        self.status = 0
        self.stuck = False
        self.weight = 0

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        expects = False
        for name, value in headers:
            self.weight += len(name) + len(value)
            if name == b"x-request-id":
                if not self.request_id and _ID.fullmatch(value):
                    self.request_id = value
            elif name == b"content-encoding":
                self.body.packed(value)
            elif name == b"content-length":
                self.sending = value != b"0"
            elif name == b"transfer-encoding":
                self.sending = True
            elif name == b"expect":
                expects = value.lower() == _EXPECT
        self.sending = self.sending and not expects
        self.request_id = self.request_id or b"req_" + uuid_utils.uuid7().hex.encode()
        self.added.append((b"x-request-id", self.request_id))

    async def answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self.added]
            if self.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and self.sending:
                # Caddy ends the connection of a client that still sends when the answer comes.
                await self.body.discard()
        try:
            await self._send(message)
        except asyncio.CancelledError:
            self.stuck = True
            raise


async def _without_route(scope: Scope, problem: Problem) -> Problem:
    """Only a caller may know what is not there."""
    if is_public(scope["path"]):
        return problem
    app: Litestar = scope["litestar_app"]
    callers: Callers = app.state.callers
    try:
        await callers.identify(token_of(scope["headers"]))
    except GatewayError as error:
        return describe(error)
    return problem


async def _send_empty(answer: Send, headers: Headers) -> None:
    await answer({"type": "http.response.start", "status": 204, "headers": headers})
    await answer({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(answer: Send, problem: Problem, path: str) -> None:
    body = render(problem, path)
    headers = {**problem.headers, "content-type": JSON, "content-length": str(len(body))}
    await answer(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }
    )
    await answer({"type": "http.response.body", "body": body, "more_body": False})


def _log(scope: Scope, method: str, passage: _Exchange) -> None:
    level = logging.DEBUG if is_public(scope["path"]) else logging.INFO
    if log.isEnabledFor(level):
        # The template, not the path: an address may hold what its caller did not mean to show.
        template = scope.get("path_template", "-")
        milliseconds = round((time.perf_counter() - passage.began) * 1000, 2)
        extra = {"status": passage.status, "ms": milliseconds}
        log.log(level, "%s %s", method, template, extra=extra)
