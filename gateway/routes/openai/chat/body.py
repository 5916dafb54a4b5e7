"""The body of `/v1/chat/completions`, whose `model` says what it is: a team's or a plain model's.

Litestar would read it as the one or the other. Errors are those that Litestar's own reading gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    Reference,
    RequestBody,
)

from gateway.agency.plain.request import PlainRequest, read_plain
from gateway.errors import InvalidRequest
from gateway.routes.http.errors import JSON, field_of, unreadable
from gateway.routes.openai.chat.answer import StreamedOperation
from gateway.routes.openai.chat.request import ChatCompletionRequest


class _Named(msgspec.Struct):
    model: str


_named: Final = msgspec.json.Decoder(_Named).decode
_chat: Final = msgspec.json.Decoder(ChatCompletionRequest, strict=False).decode


def model_of(raw: bytes) -> str:
    """Raises InvalidRequest if there is no body, or it names no model."""
    if not raw:
        raise InvalidRequest("The body is empty.")
    with _refusing():
        return _named(raw).model


def read_chat(raw: bytes) -> ChatCompletionRequest:
    """Raises InvalidRequest naming the parameter at fault."""
    with _refusing():
        return _chat(raw)


def read_plain_model(raw: bytes) -> PlainRequest:
    """Raises InvalidRequest."""
    with _refusing():
        raw.decode()  # msgspec passes over what it does not keep
        return read_plain(raw)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except msgspec.ValidationError as error:
        told, _, place = str(error).partition(" - at `$")
        path = place.strip("`.") or None
        message = f"{path}: {told}" if path else told
        raise InvalidRequest(message, param=field_of(told, path)) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(unreadable(str(error))) from None
    except UnicodeDecodeError:
        raise InvalidRequest(unreadable("it is not UTF-8")) from None


@dataclass
class ChatOperation(StreamedOperation):
    """Documents the body, too, which Litestar can't see since the handler reads it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = Reference("#/components/schemas/ChatCompletionRequest")
        example = Example(
            value={
                "model": "agency/1",
                "messages": [{"role": "user", "content": "A web page for a bakery?"}],
            }
        )
        self.request_body = RequestBody(
            {JSON: OpenAPIMediaType(shape, examples={"chat": example})}, required=True
        )
