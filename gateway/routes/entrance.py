"""What every request passes first: it gets an id, its answer carries it, and one line logs it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import suppress
from http import HTTPStatus

import uuid_utils
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gateway import telemetry
from gateway.auth import Callers
from gateway.errors import GatewayError
from gateway.routes.errors import (
    CLIENT_GONE,
    JSON,
    MAX_BODY,
    Problem,
    Unrouted,
    describe,
    log_failure,
    render,
)
from gateway.routes.guards import is_public, token_of

log = logging.getLogger("gateway.access")

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

DISCARDED = 4 * MAX_BODY
"""Bytes of a body too large that are taken in and thrown away: a client that is still sending when
the answer comes sees a broken connection instead of it."""
DISCARD_S = 10


class Entrance:
    """Stands before Litestar's router: a middleware of Litestar never sees what has no route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            return await self._app(scope, receive, send)
        passage = _Passage(receive, send, _request_id(scope))
        token = telemetry.request_id.set(passage.request_id.decode())
        method = scope["method"]
        if method == "HEAD":  # the server leaves the body out
            scope["method"] = "GET"
        try:
            await self._app(scope, receive, passage.answer)
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
        return None


class _Passage:
    """One request on its way out: the answer gets the request's id, and its status is noted."""

    __slots__ = ("_receive", "_send", "began", "request_id", "status")

    def __init__(self, receive: Receive, send: Send, request_id: bytes) -> None:
        self._receive = receive
        self._send = send
        self.request_id = request_id
        self.began = time.perf_counter()
        self.status = 0

    async def answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id)]
            if self.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                await self._discard()
        await self._send(message)

    async def _discard(self) -> None:
        taken = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_S):
                while taken < DISCARDED:
                    message = await self._receive()
                    if message["type"] != "http.request" or not message["more_body"]:
                        return
                    taken += len(message["body"])


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            if _ID.fullmatch(value):
                return value
            break
    return b"req_" + uuid_utils.uuid7().hex.encode()


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


def _log(scope: Scope, method: str, passage: _Passage) -> None:
    level = logging.DEBUG if is_public(scope["path"]) else logging.INFO
    if log.isEnabledFor(level):
        # The template, not the path: an address may hold what its caller did not mean to show.
        template = scope.get("path_template", "-")
        milliseconds = round((time.perf_counter() - passage.began) * 1000, 2)
        extra = {"status": passage.status, "ms": milliseconds}
        log.log(level, "%s %s", method, template, extra=extra)
