"""What every request passes first: it gets an id, its answer carries it, and one line logs it."""

from __future__ import annotations

import logging
import re
import time

import uuid_utils
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gateway import telemetry
from gateway.auth import Callers
from gateway.errors import GatewayError
from gateway.routes.errors import JSON, Problem, Unrouted, describe, log_failure, render_openai
from gateway.routes.guards import is_public, token_of

log = logging.getLogger("gateway.access")

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Entrance:
    """Stands before Litestar's router: a middleware of Litestar never sees what has no route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            return await self._app(scope, receive, send)
        began = time.perf_counter()
        request_id = _request_id(scope)
        header = (b"x-request-id", request_id)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], header]
            await send(message)

        token = telemetry.request_id.set(request_id.decode())
        method = scope["method"]
        if method == "HEAD":  # the server leaves the body out
            scope["method"] = "GET"
        try:
            await self._app(scope, receive, answer)
        except Unrouted as unrouted:
            await _send(answer, await _without_route(scope, unrouted.problem))
        except Exception as error:  # the last place that can log it without its words
            log_failure(error)
            if status == 0:
                await _send(answer, describe(RuntimeError()))
        finally:
            _log(scope, method, status, time.perf_counter() - began)
            telemetry.request_id.reset(token)
        return None


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


async def _send(answer: Send, problem: Problem) -> None:
    body = render_openai(problem)
    headers = {**problem.headers, "content-type": JSON, "content-length": str(len(body))}
    await answer(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }
    )
    await answer({"type": "http.response.body", "body": body, "more_body": False})


def _log(scope: Scope, method: str, status: int, seconds: float) -> None:
    # The template, not the path: an address may hold what its caller did not mean to show.
    template = scope.get("path_template", "-")
    level = logging.DEBUG if is_public(scope["path"]) else logging.INFO
    log.log(
        level,
        "%s %s",
        method,
        template,
        extra={"status": status, "ms": round(seconds * 1000, 2)},
    )
