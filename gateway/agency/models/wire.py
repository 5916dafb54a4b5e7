"""What an OpenAI-compatible upstream is asked and what it answers, as bytes and as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from gateway.agency.model import Completion, FinishReason, Json, ModelCall, Usage
from gateway.agency.models import faults
from gateway.agency.models.tokens import estimate
from gateway.agency.speech import envelope
from gateway.errors import UpstreamError

MAX_BODY = 16 << 20
"""Bytes of a JSON answer, and characters of a streamed one."""

MAX_TOKENS = 1 << 30
"""A count above this is no count."""

RESERVED = {"model", "messages", "stream", "stream_options", "response_format", "n"}


class Asking(IntEnum):
    """How an envelope is asked for, best first. Few upstreams know the first, some none."""

    SCHEMA = 0
    JSON = 1
    PROMPT = 2


def request(call: ModelCall, asking: Asking, *, stream: bool) -> bytes:
    """The body of a chat completion."""
    body: dict[str, Json] = {k: v for k, v in call.params.items() if k not in RESERVED}
    body["model"] = call.model
    body["messages"] = call.messages
    if call.allowed and asking is not Asking.PROMPT:
        body["response_format"] = _response_format(call.allowed, asking)
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return encoded(body)


def encoded(body: Json) -> bytes:
    return _encoder.encode(body)


def _response_format(allowed: tuple[int, ...], asking: Asking) -> Json:
    if asking is Asking.JSON:
        return {"type": "json_object"}
    named: Json = {"name": "envelope", "strict": True, "schema": envelope.schema(allowed)}
    return {"type": "json_schema", "json_schema": named}


def _plain(value: object) -> object:
    """What msgspec does not know: read-only views of mappings and sequences."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_plain)


class _Said(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Tokens(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct):
    """A chunk of a stream or a whole answer: they differ in `delta` and `message` alone."""

    choices: list[_Choice] | None = None
    usage: _Tokens | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode: Final = msgspec.json.Decoder(_Chunk).decode

_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


class Answer:
    """What the upstream has said so far. Fed with JSON texts; the pieces add up to the text."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.done = False
        """Whether `[DONE]` was read: nothing comes after it."""
        self.spoken = False
        """Whether there was a message at all, be it empty."""
        self.failure: UpstreamError | None = None
        self._pieces: list[str] = []
        self._size = 0
        self._usage: _Tokens | None = None

    def take(self, payloads: Sequence[bytes]) -> list[str]:
        """The new pieces of text. After a failure nothing more is read."""
        start = len(self._pieces)
        for payload in payloads:
            if payload.startswith(b"[DONE]"):
                self.done = True
                break
            try:
                self._add(_decode(payload))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                self.failure = faults.invalid()
            if self.failure is not None:
                break
        return self._pieces[start:]

    def _add(self, chunk: _Chunk) -> None:
        if chunk.choices:
            for choice in chunk.choices:
                if not choice.index:
                    self._choose(choice)
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.error is not _NO_ERROR and bytes(chunk.error) != b"null":
            self.failure = faults.reported(chunk.error)

    def _choose(self, choice: _Choice) -> None:
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        said = choice.delta or choice.message
        if said is None:
            return
        self.spoken = True
        if piece := said.content or said.refusal:
            # Postgres can't store NUL, and no answer needs it.
            self._pieces.append(piece.replace("\0", "\ufffd") if "\0" in piece else piece)
            self._size += len(piece)
            if self._size > MAX_BODY:
                self.failure = faults.too_large()

    def completion(self, call: ModelCall) -> Completion:
        text = "".join(self._pieces)
        reason = _REASONS.get(self.finish_reason or "stop", "stop")
        return Completion(text, reason, self._counted() or estimate(call.messages, text))

    def _counted(self) -> Usage | None:
        usage = self._usage
        if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        counts = (usage.prompt_tokens, usage.completion_tokens)
        return Usage(*counts) if all(0 <= count < MAX_TOKENS for count in counts) else None


_NO_ERROR: Final = _Chunk().error
