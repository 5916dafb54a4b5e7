"""Completions and chunks in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Schema,
)

from gateway import __version__, ids
from gateway.agency.model import Json, Piece
from gateway.agency.turn.reply import Outcome, Reply
from gateway.routes.shapes.refusals import refusal
from gateway.routes.shapes.usage import CompletionUsage, usage

FINGERPRINT = f"agency-gateway-{__version__}"
REHEARSAL_FINGERPRINT = f"rehearsal-{__version__}"
"""No model was asked: see `gateway.agency.models.rehearsal.model`."""

DONE = b"data: [DONE]\n\n"


class AssistantMessage(msgspec.Struct):
    role: str
    content: str | None
    refusal: str | None


class Choice(msgspec.Struct):
    index: int
    message: AssistantMessage
    logprobs: dict[str, object] | None
    finish_reason: str


class ChatCompletion(msgspec.Struct):
    """`usage` sums all model calls of the turn; `model` is what was asked for."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: str
    metadata: dict[str, str]


ANSWERS = {
    200: ResponseSpec(
        ChatCompletion, description="The answer, or a stream of chunks", generate_examples=False
    ),
    402: refusal("A plain model's upstream wants to be paid."),
    404: refusal("There is no such agency or conversation, or it is not yours to see."),
    409: refusal("`turn_cancelled`, or the conversation changes too quickly."),
    422: refusal("`idempotency_key_reused`."),
    429: refusal("The upstream's limit, with its `Retry-After`."),
    502: refusal("The upstream's failure, or `turn_failed`."),
    503: refusal("Something of the gateway's is down."),
    504: refusal("`upstream_timeout`."),
}


@dataclass
class StreamedOperation(Operation):
    """Documents the stream, which Litestar can't see, beside the answer as a whole."""

    def __post_init__(self) -> None:
        answer = None if self.responses is None else self.responses["200"]
        if isinstance(answer, OpenAPIResponse) and answer.content is not None:
            answer.content["text/event-stream"] = OpenAPIMediaType(Schema(type=OpenAPIType.STRING))


def completion(
    reply: Reply, outcome: Outcome, *, model: str, fingerprint: str, metadata: dict[str, str]
) -> ChatCompletion:
    return ChatCompletion(
        id=ids.show(ids.COMPLETION, reply.turn_id),
        object="chat.completion",
        created=reply.created,
        model=model,
        choices=[
            Choice(
                index=0,
                message=AssistantMessage("assistant", outcome.text, None),
                logprobs=None,
                finish_reason=outcome.finish_reason,
            )
        ],
        usage=usage(outcome.usage),
        system_fingerprint=fingerprint,
        metadata=metadata,
    )


class Chunks:
    """The `chat.completion.chunk` events of one reply, ready to be sent.

    All chunks of a reply differ in few places, so what they share is encoded once.
    """

    def __init__(self, reply: Reply, *, model: str, fingerprint: str, with_usage: bool) -> None:
        head: dict[str, Json] = {
            "id": ids.show(ids.COMPLETION, reply.turn_id),
            "object": "chat.completion.chunk",
            "created": reply.created,
            "model": model,
            "system_fingerprint": fingerprint,
        }
        self._with_usage = with_usage
        self._open = b"data: " + msgspec.json.encode(head)[:-1]
        tail = b',"logprobs":null,"finish_reason":null}]'
        tail += b',"usage":null}\n\n' if with_usage else b"}\n\n"
        self._text_open = self._open + b',"choices":[{"index":0,"delta":{"content":'
        self._text_close = b"}" + tail
        self._role = (
            self._open
            + b',"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null}'
            + tail
        )

    def role(self) -> bytes:
        """The first chunk."""
        return self._role

    def said(self, pieces: Sequence[Piece]) -> bytes:
        """A chunk for each piece."""
        opening, closing = self._text_open, self._text_close
        encode = msgspec.json.encode
        return b"".join([opening + encode(piece.text) + closing for piece in pieces])

    def end(self, outcome: Outcome) -> bytes:
        """The closing chunk, the usage if it was asked for, and the end of the stream."""
        reason = msgspec.json.encode(outcome.finish_reason)
        closing = b',"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":' + reason
        last = self._open + closing + (b'}],"usage":null}' if self._with_usage else b"}]}")
        if not self._with_usage:
            return last + b"\n\n" + DONE
        used = msgspec.json.encode(usage(outcome.usage))
        return last + b"\n\n" + self._open + b',"choices":[],"usage":' + used + b"}\n\n" + DONE
