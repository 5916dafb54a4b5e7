"""What goes wrong with an upstream, as errors. No sentence holds a key, a prompt or a body.

| code                        | status | what happened                                 | repeated |
|-----------------------------|--------|-----------------------------------------------|----------|
| `upstream_rate_limited`     | 429    | 429; out of quota is not tried again          | yes      |
| `upstream_unavailable`      | 503    | 408, 5xx, no connection or a broken one       | yes      |
| `upstream_truncated`        | 502    | the answer broke off                          | yes      |
| `upstream_timeout`          | 504    | silent for too long, or the time was used up  | no       |
| `upstream_refused`          | 502    | 401 or 403                                    | no       |
| `upstream_rejected`         | 502    | any other 4xx                                 | no       |
| the upstream's own          | 400    | it refuses what the client sent: a parameter, | no       |
|                             |        | too long a conversation, what a filter finds  |          |
| `upstream_redirect`         | 502    | 3xx                                           | no       |
| `upstream_bad_content_type` | 502    | neither JSON nor events where they were due   | no       |
| `upstream_invalid`          | 502    | not HTTP, not JSON, or not of the API's shape | no       |
| `upstream_too_large`        | 502    | a line, a body or a text is over its limit    | no       |
| `upstream_error`            | 502    | an `error` in a stream or under status 200    | no       |
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from gateway.agency.models.upstream import refusal
from gateway.agency.models.upstream.refusal import UpstreamRefusal
from gateway.errors import UpstreamError

RETRIED = {"upstream_rate_limited", "upstream_unavailable", "upstream_truncated"}

SPEAKABLE = {
    "content_filter",
    "context_length_exceeded",
    "insufficient_quota",
    "invalid_api_key",
    "invalid_json_schema",
    "model_not_found",
    "overloaded_error",
    "rate_limit_exceeded",
    "server_error",
    "unsupported_parameter",
    "unsupported_value",
}
"""The upstream's own codes that may be repeated. Other words could echo a prompt or a key."""

PASSING = {"overloaded_error", "rate_limit_exceeded", "server_error"}


OF_CLIENTS = {
    "context_length_exceeded": "The conversation is longer than the model's context.",
    "content_filter": "The model upstream's content filter refuses the request.",
    "content_policy_violation": "The model upstream's content filter refuses the request.",
}
"""What is told of a code in `refusal.CLIENTS`; the others are about images."""

EXPLAINED = {400, 403, 413, 422, 500}
"""Statuses whose body may say that the request is at fault. OpenRouter's moderation answers 403,
and llama.cpp 500 if a template refuses the roles."""

MOST_TOLD = 300
"""Characters of an upstream's sentence that are repeated."""


class Rejected(UpstreamError):
    """400 or 422: there is something in the request that this upstream does not take."""

    def __init__(self, sentence: str, refusal: UpstreamRefusal) -> None:
        super().__init__(sentence, code="upstream_rejected")
        self.refusal = refusal


class _Reported(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None


class _Kind(msgspec.Struct):
    object: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Reported


def repeatable(error: UpstreamError) -> bool:
    """Returns True if the same call may succeed a moment later."""
    return error.transient and error.code in RETRIED


def of_status(status: int, body: bytes = b"", retry_after: int | None = None) -> UpstreamError:
    """The error for a response that is not a success. `retry_after` is in seconds."""
    word = _word_of(body, _ErrorBody)
    told = f"HTTP {status}, {word}" if word else f"HTTP {status}"
    if 300 <= status < 400:
        return redirected()
    if status in EXPLAINED:
        refused = refusal.read(body)
        if refused.reason in refusal.CLIENTS:
            return _of_client(refused.reason)
        if status in (400, 422) or (status == 500 and refused.of_roles):
            return Rejected(f"The model upstream rejected the request ({told}).", refused)
    if status in (401, 403):
        sentence = f"The model upstream refused the gateway's key ({told}). Check OPENAI_API_KEY."
        return UpstreamError(sentence, code="upstream_refused")
    if status == 429:
        return _rate_limited(told, word, retry_after)
    if status == 408 or status >= 500:
        sentence = f"The model upstream is not available now ({told})."
        return _unavailable(sentence, retry_after)
    sentence = f"The model upstream rejected the request ({told})."
    return UpstreamError(sentence, code="upstream_rejected")


def _of_client(reason: str) -> UpstreamError:
    sentence = OF_CLIENTS.get(reason, "The model upstream can't read an image of the request.")
    return UpstreamError(sentence, status=400, code=reason, param="messages")


def unsupported(param: str, refused: UpstreamRefusal, api_key: str | None) -> UpstreamError:
    """The client sent this parameter, and the upstream does not take it."""
    sentence = " ".join(refused.message.split())[:MOST_TOLD]
    if not sentence or (api_key and api_key in refused.message):
        sentence = f"The model upstream does not take the parameter '{param}'."
    code = refused.code if refused.code in SPEAKABLE else "unsupported_parameter"
    return UpstreamError(sentence, status=400, code=code, param=param)


def _rate_limited(told: str, word: str | None, retry_after: int | None) -> UpstreamError:
    return UpstreamError(
        f"The model upstream's rate limit or quota is used up ({told}).",
        status=429,
        code="upstream_rate_limited",
        transient=word != "insufficient_quota",
        retry_after=retry_after,
    )


def _unavailable(sentence: str, retry_after: int | None = None) -> UpstreamError:
    return UpstreamError(
        sentence,
        status=503,
        code="upstream_unavailable",
        transient=True,
        retry_after=retry_after,
    )


def reported(error: msgspec.Raw) -> UpstreamError:
    """The upstream sent this `error` object where an answer was due."""
    body = b'{"error": %s}' % bytes(error)
    status = _status_of(bytes(error))
    if status is not None:
        return of_status(status, body)
    reason = refusal.read(body).reason
    if reason in refusal.CLIENTS:
        return _of_client(reason)
    word = _word_of(bytes(error), _Reported)
    told = f" ({word})" if word else ""
    return UpstreamError(f"The model upstream reported an error{told}.", transient=word in PASSING)


def bare(payload: bytes) -> UpstreamError | None:
    """The error in a payload that is an error object itself, as vLLM wrote them. None if it is
    something else."""
    try:
        kind = msgspec.json.decode(payload, type=_Kind).object
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return reported(msgspec.Raw(payload)) if kind == "error" else None


def redirected() -> UpstreamError:
    return UpstreamError(
        "The model upstream redirects, which is not followed. Set OPENAI_BASE_URL to its address.",
        code="upstream_redirect",
    )


def unreachable() -> UpstreamError:
    return _unavailable("The model upstream can't be reached, or it closed the connection.")


def truncated() -> UpstreamError:
    return UpstreamError(
        "The model upstream's answer broke off before its end.",
        code="upstream_truncated",
        transient=True,
    )


def bad_content_type(wanted: str) -> UpstreamError:
    return UpstreamError(
        f"The model upstream answered with something else than {wanted}. Check OPENAI_BASE_URL.",
        code="upstream_bad_content_type",
    )


def invalid() -> UpstreamError:
    return UpstreamError(
        "The model upstream's answer can't be understood.", code="upstream_invalid"
    )


def too_large() -> UpstreamError:
    return UpstreamError("The model upstream's answer is too large.", code="upstream_too_large")


def timed_out(seconds: float, *, idle: bool) -> UpstreamError:
    sentence = (
        f"The model upstream sent nothing for {seconds:g} s."
        if idle
        else f"The model upstream took longer than the {seconds:g} s it was given."
    )
    return UpstreamError(sentence, status=504, code="upstream_timeout", transient=True)


def seconds_of(retry_after: str | None) -> int | None:
    """A `Retry-After` header, which holds seconds or an HTTP date, as whole seconds from now."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        return _seconds_until(retry_after)
    return math.ceil(seconds) if 0 <= seconds < 1e9 else None


def _seconds_until(date: str) -> int | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, math.ceil((moment - datetime.now(UTC)).total_seconds()))


def _status_of(error: bytes) -> int | None:
    """OpenRouter, vLLM, llama.cpp and Google write the status into the code."""
    try:
        code = msgspec.json.decode(error, type=_Reported).code
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _word_of(body: bytes, shape: type[_Reported] | type[_ErrorBody]) -> str | None:
    try:
        decoded = msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    error = decoded.error if isinstance(decoded, _ErrorBody) else decoded
    words = [word for word in (error.code, error.type) if word in SPEAKABLE]
    return str(words[0]) if words else None
