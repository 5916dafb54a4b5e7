"""Failures as answers: `describe` says what a caller may know, one function a door renders it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg
import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, InternalServerException, ValidationException

from gateway.auth import Principal
from gateway.errors import GatewayError, InvalidRequest, NotFound, Unavailable
from gateway.process import telemetry
from gateway.routes.shapes.reasons import INVALID, MALFORMED, Reason, Violations

log = logging.getLogger(__name__)

MAX_BODY = 20 * 1024 * 1024
"""Bytes. A long history with images fits; what is larger should be a file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a caller may know of a failure, whatever the door. `reasons` are all that is wrong with
    a request, where that was looked for."""

    status: int
    message: str
    type: str
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    reasons: Sequence[Reason] = ()
    beside: Mapping[str, object] = field(default_factory=dict)


class Unrouted(Exception):
    """No route was found, and so nobody asked who is calling: `entrance` does."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


CLIENT_GONE = 499
"""Logged where the client went away before it had an answer, as nginx does."""
_GONE = "client disconnected prematurely"
"""What Litestar says of a client that leaves while its body is read."""


def handle(request: Request[Principal, str, State], error: Exception) -> Response[bytes]:
    """The exception handler of the whole app."""
    if isinstance(error, InternalServerException) and error.detail == _GONE:
        return Response(b"", status_code=CLIENT_GONE)
    problem = describe(error)
    if problem.status in (404, 405) and "route_handler" not in request.scope:
        raise Unrouted(problem)
    if problem.status >= 500:
        log_failure(error, problem)
    body = render(problem, request.scope["path"])
    return Response(body, status_code=problem.status, headers=problem.headers, media_type=JSON)


JSON = "application/json"


def render(problem: Problem, path: str) -> bytes:
    """As the door does that this path belongs to."""
    return render_rpc(problem) if path.startswith("/rpc/") else render_openai(problem)


def render_openai(problem: Problem) -> bytes:
    """The door of OpenAI's clients. They want all four keys, null or not."""
    error = {
        "message": problem.message,
        "type": problem.type,
        "param": problem.param,
        "code": problem.code,
    }
    return msgspec.json.encode({"error": error, **problem.beside})


def render_rpc(problem: Problem) -> bytes:
    """The RPC door's form. A code is always there."""
    code = problem.code or ("server_error" if problem.status >= 500 else "invalid_request")
    return msgspec.json.encode(
        {"code": code, "message": problem.message, "reasons": _reasons(problem)}
    )


def _reasons(problem: Problem) -> Sequence[Reason]:
    if problem.status != 400 or problem.reasons:
        return problem.reasons
    return [Reason(INVALID if problem.param else MALFORMED, problem.message)]


def describe(error: Exception) -> Problem:
    if isinstance(error, HTTPException):
        return _of_litestar(error)
    known = _known(error)
    if known is None:
        return Problem(
            500, "The gateway failed. Quote the x-request-id to report it.", "server_error"
        )
    headers = dict(known.headers)
    if known.retryable is not None:
        headers["x-should-retry"] = "true" if known.retryable else "false"
    if known.retry_after is not None:
        headers["retry-after"] = str(known.retry_after)
    reasons = known.reasons if isinstance(known, Violations) else ()
    return Problem(
        known.status,
        known.message,
        known.type,
        known.param,
        known.code,
        headers,
        reasons,
        known.beside,
    )


def _known(error: Exception) -> GatewayError | None:
    match error:
        case Unavailable(__cause__=ValueError()):  # the driver can't encode what it was given
            return InvalidRequest("A value is out of range, or is text that can't be stored.")
        case GatewayError():
            return error
        case RecursionError():
            return InvalidRequest("The body is nested too deep.")
        case UnicodeError():
            return InvalidRequest("The body is not UTF-8.")
        case OverflowError():
            return InvalidRequest("A number is out of range.")
        case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError():
            return InvalidRequest("Text must not hold NUL characters.")
        case asyncpg.PostgresConnectionError() | asyncpg.InterfaceError() | ConnectionError():
            return Unavailable("A resource of the gateway can't be reached; try again.")
        case _:
            return None


_SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    413: f"The body is larger than {MAX_BODY // 1024 // 1024} MiB.",
}
_CODES = {404: NotFound.code, 405: "method_not_allowed", 413: "request_too_large"}


def _of_litestar(error: HTTPException) -> Problem:
    if (violation := _of_body(error)) is not None:
        return violation
    status = error.status_code
    if status >= 500:
        return Problem(
            500, "The gateway failed. Quote the x-request-id to report it.", "server_error"
        )
    message, param = _SENTENCES.get(status, error.detail), None
    if isinstance(error, ValidationException):
        message, param = _first_violation(error)
    elif status == 400:
        message = unreadable(error.detail.removeprefix("400: "))
    allow = {"allow": error.headers["allow"]} if error.headers and "allow" in error.headers else {}
    return Problem(status, message, "invalid_request_error", param, _CODES.get(status), allow)


def unreadable(told: str) -> str:
    """What msgspec says of a body that is no JSON, as a sentence. It calls half of a surrogate
    pair truncated, too."""
    told = told.removesuffix(".")
    if told.endswith("Input data was truncated"):
        told = "it ends too early, or a text in it holds half of a character (a lone surrogate)"
    return f"The request can't be read: {told}."


def _of_body(error: HTTPException) -> Problem | None:
    """Litestar takes a member of the body for a dependency of ours if it has the same name."""
    cause = error.__cause__
    told, _, path = str(cause).partition(" - at `$.data")
    if error.status_code < 500 or not isinstance(cause, msgspec.ValidationError) or not path:
        return None
    param = path.strip("`.") or None
    message = f"{param}: {told}" if param else told
    return Problem(400, message, "invalid_request_error", param)


class _Violation(msgspec.Struct):
    """One item of Litestar's `ValidationException.extra`."""

    message: str
    key: str | None = None


_EMPTY = _Violation("'data'", "data")
"""A handler asks for `data`, the body, and there is none."""


_INSIDE = {"data": None, "in_state": "state"}
"""What handlers call a thing that has another name outside, or none."""
_FIELD = re.compile(r"Object (?:missing required|contains unknown) field `(.+)`", re.DOTALL)


def field_of(told: str, path: str | None) -> str | None:
    """The parameter that msgspec speaks of when it says this of what stands at `path`."""
    if found := _FIELD.fullmatch(told):
        return f"{path}.{found[1]}" if path else found[1]
    return path.removesuffix("[...]") if path else None


def _first_violation(error: ValidationException) -> tuple[str, str | None]:
    try:
        first, *_ = msgspec.convert(error.extra, list[_Violation])
    except (msgspec.ValidationError, ValueError):
        return error.detail, None
    if first == _EMPTY:
        return "The body is empty.", None
    key = _INSIDE.get(first.key, first.key) if first.key else None
    return f"{key}: {first.message}" if key else first.message, field_of(first.message, key)


def log_failure(error: BaseException, problem: Problem | None = None) -> None:
    """One line with what went wrong and where, but without words: they may hold a prompt."""
    known = problem is not None and (problem.code is not None or problem.status != 500)
    log.log(
        logging.WARNING if known else logging.ERROR,
        problem.message if problem is not None and known else "a request failed",
        extra={"status": problem.status if problem else None, "causes": telemetry.causes(error)},
    )
