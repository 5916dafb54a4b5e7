"""Chat completions on the wire: what is asked. `completion` has what is answered.

Source: the OpenAI API reference. Everything that it defines is accepted; what has no meaning for a
team of agents is ignored, and named in `x-gateway-ignored`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, cast

import msgspec
from msgspec import Meta

from gateway.agency.model import Json
from gateway.agency.turn import lineage
from gateway.agency.turn.answer_format import outsize
from gateway.agency.turn.request import Ask, ChatRequest
from gateway.errors import InvalidRequest
from gateway.routes.shapes.dialogue import Messages, dialogue, holds_nul

PASSED_ON = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "reasoning_effort",
    "verbosity",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
)
"""Sent along with the manager's calls, as they are."""

IGNORED = (
    "audio",
    "function_call",
    "functions",
    "logprobs",
    "modalities",
    "moderation",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_options",
    "prompt_cache_retention",
    "tool_choice",
    "tools",
    "top_logprobs",
    "web_search_options",
)
"""Accepted without effect."""

READ_SHARE = 0.8
"""The part of a client's read timeout that a turn may use: the rest is for the way back."""


MAX_STOP = 1000
"""Characters of a stop sequence."""
MOST_BIASES = 1_000

Tokens = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatCompletionRequest(msgspec.Struct, kw_only=True):
    """The body of `POST …/chat/completions`."""

    model: str
    messages: Messages
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    response_format: dict[str, object] | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, float], Meta(max_length=MOST_BIASES)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    audio: object = None
    function_call: object = None
    functions: object = None
    logprobs: object = None
    modalities: object = None
    moderation: object = None
    parallel_tool_calls: object = None
    prediction: object = None
    prompt_cache_options: object = None
    prompt_cache_retention: object = None
    tool_choice: object = None
    tools: object = None
    top_logprobs: object = None
    web_search_options: object = None


def ignored(body: ChatCompletionRequest) -> list[str]:
    """The parameters that were given without effect."""
    return [name for name in IGNORED if getattr(body, name) is not None]


def read_request(
    body: ChatCompletionRequest,
    raw: bytes,
    *,
    responder: str,
    user: str,
    key: str = "",
    retry: bool,
    read_timeout: float | None,
) -> ChatRequest:
    """What the body asks of the engine. Raises InvalidRequest naming the parameter at fault.

    `raw` is the body as it came: a request that comes again comes byte for byte, and with the same
    idempotency `key`.
    """
    _refuse(body, raw)
    scope = lineage.scope(user, responder, body.user)
    ask = Ask(
        model=body.model,
        params={k: v for k in PASSED_ON if (v := getattr(body, k)) is not None},
        stop=_stops(body.stop),
        max_tokens=body.max_completion_tokens or body.max_tokens or None,  # 0 bounds nothing
        response_format=_wanted(body.response_format),
        seconds=None if read_timeout is None or body.stream else read_timeout * READ_SHARE,
        store=body.store is not False,
    )
    return ChatRequest(
        responder=responder,
        scope=scope,
        dialogue=dialogue(body.messages),
        ask=ask,
        digest=hashlib.sha256(b"\x00".join((scope, key.encode(), raw))).digest(),
        retry=retry,
        metadata=body.metadata or {},
    )


def _refuse(body: ChatCompletionRequest, raw: bytes) -> None:
    for name in ("tool_choice", "function_call"):
        if _demands_a_call(getattr(body, name)):
            raise InvalidRequest(
                f"A team calls no tools of yours, so {name!r} can't demand a call: leave it out, "
                "or say 'auto' or 'none'.",
                param=name,
                code="unsupported_parameter",
            )
    if body.n is not None and body.n != 1:
        raise InvalidRequest("A team gives one answer: 'n' can only be 1.", param="n")
    if not body.messages:
        raise InvalidRequest("'messages' must hold at least one message.", param="messages")
    if len(body.metadata or {}) > 16:
        raise InvalidRequest("'metadata' holds at most 16 pairs.", param="metadata")
    if any(len(key) > 64 or len(value) > 512 for key, value in (body.metadata or {}).items()):
        raise InvalidRequest(
            "'metadata' holds keys of at most 64 characters and values of at most 512.",
            param="metadata",
        )
    # Postgres stores no NUL. A body seldom holds one, so the exact look comes second.
    if b"\\u0000" in raw:
        for name, value in msgspec.to_builtins(body).items():
            if holds_nul(value):
                raise InvalidRequest("Text must not hold NUL characters.", param=name)


def _demands_a_call(choice: object) -> bool:
    """Returns True for a `tool_choice` or `function_call` that no answer in words can meet."""
    match choice:
        case None | "auto" | "none" | {"type": "auto" | "none"}:
            return False
        case {"type": "allowed_tools", "mode": "auto"}:  # as the Responses API writes it
            return False
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}:
            return False
        case _:
            return True


def _stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > 4 or any(len(one) > MAX_STOP for one in stops):
        raise InvalidRequest(
            f"'stop' holds at most 4 sequences of at most {MAX_STOP} characters.", param="stop"
        )
    return stops


def _wanted(response_format: Mapping[str, object] | None) -> dict[str, object] | None:
    """Null if the client wants text."""
    if response_format is None or response_format.get("type") == "text":
        return None
    match response_format:
        case {"type": "json_object"}:
            return {"type": "json_object"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            if why := outsize(cast("Mapping[str, Json]", schema)):
                raise InvalidRequest(f"The schema can't be used: {why}", param="response_format")
            return {"type": "json_schema", "json_schema": {"schema": schema}}
        case _:
            raise InvalidRequest(
                "'response_format' is of type text, json_object, or json_schema with a schema.",
                param="response_format",
            )
