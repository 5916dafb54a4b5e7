"""A chunk of an upstream's stream, or its whole answer, as far as it is needed.

`decode` reads by types and is fast. What it refuses, `tolerate` reads once more as freely as the
openai package does: one odd member must not cost the answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Final

import msgspec


class Said(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None


class ChunkChoice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None


class ReportedTokens(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def counted(self) -> bool:
        """True if nothing need be estimated. Some upstreams send `{}` after the numbers."""
        return self.prompt_tokens is not None and self.completion_tokens is not None


NO_ERROR: Final = msgspec.Raw(b"null")


class CompletionChunk(msgspec.Struct):
    """A chunk and a whole answer differ in `delta` and `message` alone."""

    choices: list[ChunkChoice] | None = None
    usage: ReportedTokens | None = None
    error: msgspec.Raw = NO_ERROR


decode: Final = msgspec.json.Decoder(CompletionChunk).decode
"""Raises MsgspecError, ValueError or RecursionError."""


def loads(payload: bytes) -> object:
    """Reads any JSON, also with NaN, halves of surrogate pairs and numbers of any length. Raises
    ValueError or RecursionError.

    Raises ValueError or RecursionError."""
    value: object = json.loads(payload, parse_int=_integer)
    return value


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python reads no more than some thousand digits
        return math.inf


def tolerate(payload: bytes) -> tuple[CompletionChunk, list[str]]:
    """The chunk, and the paths of what is odd in it. Raises ValueError or RecursionError if this is
    no JSON object, or its text can't be found.

    Texts may hold halves of surrogate pairs: msgspec refuses them, and an upstream that cuts a
    character in two sends them.
    """
    body = loads(payload)
    if not isinstance(body, dict):
        raise ValueError("not an object")  # noqa: TRY004  the payload is wrong, not the caller
    odd: list[str] = []
    error = body.get("error")
    chunk = CompletionChunk(
        list(_choices(body.get("choices"), odd)),
        _tokens(body.get("usage"), odd),
        NO_ERROR if error is None else msgspec.Raw(json.dumps(error)),
    )
    return chunk, odd


def _choices(choices: object, odd: list[str]) -> Iterator[ChunkChoice]:
    if not isinstance(choices, list):
        if choices is not None:
            odd.append("choices")
        return
    for choice in choices:
        if not isinstance(choice, dict):
            odd.append("choices[]")
            continue
        yield ChunkChoice(
            _number(choice.get("index"), "choices[].index", odd),
            _said(choice.get("delta"), "choices[].delta", odd),
            _said(choice.get("message"), "choices[].message", odd),
            _reason(choice.get("finish_reason"), odd),
        )


def _said(said: object, path: str, odd: list[str]) -> Said | None:
    match said:
        case None:
            return None
        case dict():
            refusal = said.get("refusal")
            if not (refusal is None or isinstance(refusal, str)):
                odd.append(f"{path}.refusal")
                refusal = None
            return Said(_content(said.get("content"), f"{path}.content", odd), refusal)
        case str():
            odd.append(path)
            return Said(said)
        case _:
            odd.append(path)
            return None


def _content(content: object, path: str, odd: list[str]) -> str | None:
    """The text of a list of parts is that of its text parts: thoughts are none of it."""
    match content:
        case None | str():
            return content
        case dict():
            content = [content]
        case list():
            pass
        case _:
            raise ValueError("a text that is none")
    odd.append(path)
    return "".join(map(_text, content))


def _text(part: object) -> str:
    match part:
        case str():
            return part
        case {"type": "text" | "output_text", "text": str(text)}:
            return text
        case {"text": str(text), **others} if "type" not in others:
            return text
        case _:
            return ""


def _reason(reason: object, odd: list[str]) -> str | None:
    """Any value here says that the answer has ended."""
    if reason is None or isinstance(reason, str):
        return reason
    odd.append("choices[].finish_reason")
    return None if reason is False else "stop"


def _tokens(usage: object, odd: list[str]) -> ReportedTokens | None:
    if not isinstance(usage, dict):
        if usage is not None:
            odd.append("usage")
        return None
    return ReportedTokens(
        _number(usage.get("prompt_tokens"), "usage.prompt_tokens", odd),
        _number(usage.get("completion_tokens"), "usage.completion_tokens", odd),
    )


def _number(value: object, path: str, odd: list[str]) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    odd.append(path)
    if isinstance(value, float | str):
        try:
            return int(float(value))
        except (ValueError, OverflowError):
            return None
    return None
