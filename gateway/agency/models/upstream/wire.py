"""What an OpenAI-compatible upstream is asked and what it answers, as bytes and as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.agency.model import Completion, FinishReason, Json, ModelCall, Text, Usage
from gateway.agency.models.tokens import estimate
from gateway.agency.models.upstream import chunks, faults
from gateway.agency.models.upstream.adaptation import Adaptation, Asking
from gateway.agency.models.upstream.chunks import ChunkChoice, CompletionChunk, ReportedTokens
from gateway.agency.speech import envelope
from gateway.errors import UpstreamError

MAX_BODY = 16 << 20
"""Bytes of a JSON answer, and characters of a streamed one."""

MAX_TOKENS = 1 << 30
"""A count above this is no count."""

NO_ERRORS = {b"null", b"false", b"0", b'""', b"{}", b"[]"}

RESERVED = {"model", "messages", "stream", "stream_options", "response_format", "n"}


def request(call: ModelCall, adaptation: Adaptation, *, stream: bool) -> bytes:
    """The body of a chat completion."""
    body = {k: v for k, v in adaptation.params(call).items() if k not in RESERVED}
    body["model"] = call.model
    body["messages"] = adaptation.messages(call.messages)
    if call.allowed and adaptation.asking is not Asking.PROMPT:
        body["response_format"] = _response_format(call.allowed, adaptation.asking)
    if stream:
        body["stream"] = True
        if not adaptation.drops("stream_options"):
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
    """Turns into plain values what msgspec does not know: read-only views of mappings and
    sequences."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_plain)


_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
}
"""Also Mistral's and Google's words, in any case. Any other says that the answer is complete."""

_BROKEN = {"error", "abort", "insufficient_system_resource"}
"""Finish reasons of an answer that is not complete: Mistral's, vLLM's, DeepSeek's."""


class UpstreamAnswer:
    """What the upstream has said so far. Fed with JSON texts; the pieces add up to the text."""

    def __init__(self, *, whole: bool = False) -> None:
        self.finish_reason: str | None = None
        self.done = False
        """Whether `[DONE]` was read: nothing comes after it."""
        self.spoken = False
        """Whether there was a message at all, be it empty."""
        self.failure: UpstreamError | None = None
        self.odd: dict[str, None] = {}
        """The paths of what did not keep to the API, in the order of their coming."""
        self._whole = whole
        self._pieces: list[str] = []
        self._size = 0
        self._loose = False
        self._half = ""
        self._usage: ReportedTokens | None = None

    def take(self, payloads: Sequence[bytes]) -> list[str]:
        """The new pieces of text. After a failure nothing more is read."""
        start = len(self._pieces)
        for payload in payloads:
            if payload.startswith(b"[DONE]"):
                self.done = True
                break
            try:
                chunk = self._read(payload)
                self._add(chunk)
                if not chunk.choices and chunk.usage is None and self.failure is None:
                    self.failure = faults.bare(payload)
            except (ValueError, RecursionError):
                self.failure = faults.invalid()
            if self.failure is not None:
                break
        return self._pieces[start:]

    def _read(self, payload: bytes) -> CompletionChunk:
        try:
            return chunks.decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            if not payload.strip():  # a heartbeat
                return chunks.CompletionChunk()
            chunk, odd = chunks.tolerate(payload)
        self._loose = True
        self.odd.update(dict.fromkeys(odd or ["text"]))
        return chunk

    def _add(self, chunk: CompletionChunk) -> None:
        if chunk.choices:
            for choice in chunk.choices:
                if not choice.index:
                    self._choose(choice)
        if chunk.usage is not None and (self._usage is None or chunk.usage.counted):
            self._usage = chunk.usage
        if chunk.error is not chunks.NO_ERROR and bytes(chunk.error) not in NO_ERRORS:
            self.failure = faults.reported(chunk.error)

    def _choose(self, choice: ChunkChoice) -> None:
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
            if choice.finish_reason.lower() in _BROKEN:
                self.failure = faults.truncated()
        # Perplexity sends both, of which a whole answer's delta and a chunk's message are no news.
        told = (choice.message, choice.delta) if self._whole else (choice.delta, choice.message)
        said = told[0] or told[1]
        if said is None:
            return
        self.spoken = True
        if piece := said.content or said.refusal:
            self._keep(piece)

    def _keep(self, piece: str) -> None:
        # msgspec lets no half of a surrogate pair pass, and the other way is seldom gone.
        if self._loose and not (piece := self._joined(piece)):
            return
        # Postgres can't store NUL, and no answer needs it.
        self._pieces.append(piece.replace("\0", "\ufffd") if "\0" in piece else piece)
        self._size += len(piece)
        if self._size > MAX_BODY:
            self.failure = faults.too_large()

    def _joined(self, piece: str) -> str:
        """The piece without the half of a character, whose other half comes with the next one."""
        piece, self._half = self._half + piece, ""
        if "\ud800" <= piece[-1] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        return envelope.storable(piece)

    def completion(self, call: ModelCall) -> Completion:
        text = "".join(self._pieces)
        reason = _REASONS.get((self.finish_reason or "stop").lower(), "stop")
        return Completion((Text(text),), reason, self._counted() or estimate(call.messages, text))

    def _counted(self) -> Usage | None:
        usage = self._usage
        if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        counts = (usage.prompt_tokens, usage.completion_tokens)
        return Usage(*counts) if all(0 <= count < MAX_TOKENS for count in counts) else None
