"""What an upstream says against a body that a client wrote: its status, code and param are kept."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.agency.models.upstream import faults, refusal
from gateway.errors import InvalidRequest, UpstreamError

MAX_WORD: Final = 128
"""Characters of a code or a param that are passed on."""


class Passed(UpstreamError):
    """The upstream's own refusal of a body that a client wrote."""


class _Words(msgspec.Struct):
    code: object = None
    param: object = None


class _Body(msgspec.Struct):
    error: _Words


def passed(
    status: int, body: bytes, retry_after: int | None = None, *, secret: str | None = None
) -> UpstreamError:
    """The error for a body that a client wrote, with the upstream's status, code and param.

    What concerns the gateway's own key or address is told as `faults.of_status` tells it. The
    upstream's sentence is told where the client is at fault; above 499 it would be logged, and
    could hold a prompt. `secret` is taken out of it.
    """
    usual = faults.of_status(status, body, retry_after)
    if status in (401, 403, 407) or not 400 <= status < 600:
        return usual
    refused = refusal.read(body)
    words = _words(body)
    reason = refused.reason if refused.reason in refusal.CLIENTS else None
    sentence = _sentence(refused.message, secret) if status < 500 else ""
    error = Passed(
        sentence or usual.message,
        status=status,
        code=_word(words.code) or reason or usual.code,
        param=_word(words.param),
        transient=usual.transient,
        retry_after=retry_after,
    )
    if status < 500 and status != 429:
        error.type = InvalidRequest.type
    return error


def passed_report(error: object, secret: str | None = None) -> UpstreamError:
    """The same for an `error` object under status 200. Some write the status into its code."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    return passed(status, msgspec.json.encode({"error": error}), secret=secret)


def _words(body: bytes) -> _Words:
    """Reads an error in the upstream's own words. `refusal` reads them for what they mean."""
    try:
        return msgspec.json.decode(body, type=_Body).error
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _Words()


def _sentence(message: str, secret: str | None) -> str:
    told = message.strip()
    if told.startswith("<"):  # a page, not a sentence
        return ""
    return told.replace(secret, "…") if secret else told


def _word(value: object) -> str | None:
    usable = isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_WORD
    return str(value) if usable else None
