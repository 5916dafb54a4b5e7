"""Stored completions on the wire, in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.agency.model import Text
from gateway.agency.records.stored import StoredCompletion, StoredMessage
from gateway.agency.turn.reply import Outcome, Reply
from gateway.ids import TurnId
from gateway.postgres.pages import Page
from gateway.routes.openai.chat.answer import (
    FINGERPRINT,
    REHEARSAL_FINGERPRINT,
    ChatCompletion,
    completion,
)
from gateway.settings import Settings


class StoredChatCompletion(ChatCompletion, kw_only=True):
    """What was answered, and the parameters that it was asked with. It is `outdated` once the
    question was edited."""

    temperature: float | None
    top_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    seed: int | None
    response_format: dict[str, object] | None
    outdated: bool


class CompletionList(msgspec.Struct):
    object: str
    data: list[StoredChatCompletion]
    first_id: str | None
    last_id: str | None
    has_more: bool


class CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    function: CalledFunction
    type: str = "function"


class CompletionMessage(msgspec.Struct, kw_only=True):
    """`content_parts` are those of a message that was more than text. One that called tools has
    `tool_calls`, too, without ids: those are not kept."""

    id: str
    role: str
    content: str
    name: str | None = None
    refusal: str | None = None
    content_parts: list[Mapping[str, object]] | None


class CallingMessage(CompletionMessage, kw_only=True):
    tool_calls: list[ToolCall]


class CompletionMessageList(msgspec.Struct):
    object: str
    data: list[CompletionMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool


Key = Annotated[str, Meta(max_length=64)]
Value = Annotated[str, Meta(max_length=512)]


class Update(msgspec.Struct):
    metadata: Annotated[dict[Key, Value], Meta(max_length=16)] | None


class Deleted(msgspec.Struct):
    object: str
    id: str
    deleted: bool


def completion_answer(stored: StoredCompletion, settings: Settings) -> StoredChatCompletion:
    created = int(stored.created_at.timestamp())
    answer = completion(
        Reply(TurnId(stored.id), stored.conversation_id, created),
        Outcome((Text(stored.text),), stored.finish_reason, stored.usage),
        model=stored.ask.model,
        fingerprint=REHEARSAL_FINGERPRINT if settings.rehearses else FINGERPRINT,
        metadata=stored.metadata,
    )
    asked = msgspec.convert(stored.ask.params, _Sampling)
    return StoredChatCompletion(
        **msgspec.structs.asdict(answer),
        **msgspec.structs.asdict(asked),
        response_format=stored.ask.response_format,
        outdated=stored.outdated,
    )


class _Sampling(msgspec.Struct):
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None


def completion_list(found: Page[StoredCompletion], settings: Settings) -> CompletionList:
    data = [completion_answer(one, settings) for one in found.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return CompletionList("list", data, first, last, found.more)


def message_list(found: Page[StoredMessage], completion_id: str) -> CompletionMessageList:
    data = [_message(one, completion_id) for one in found.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return CompletionMessageList("list", data, first, last, found.more)


def _message(message: StoredMessage, completion_id: str) -> CompletionMessage:
    shown = CompletionMessage(
        id=f"{completion_id}-{message.number}",
        role=message.role,
        content=message.content,
        content_parts=None if message.parts is None else [*message.parts],
    )
    if not message.calls:
        return shown
    calls = [ToolCall(CalledFunction(*call)) for call in message.calls]
    return CallingMessage(**msgspec.structs.asdict(shown), tool_calls=calls)
