"""Upstreams that are particular: what they don't take they refuse in their own provider's words.

    upstream.always("*", mistral(text("Hi"), refused=("stream_options",)))

Each is a function of the call, as `script` and `always` take them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

from tests.scripted.exchange import Call, Exchange
from tests.scripted.faults import Status


class _Step(Protocol):
    async def play(self, exchange: Exchange) -> None: ...


Particular = Callable[[Call], _Step]


def openai(step: _Step, *, refused: tuple[str, ...] = ("max_tokens",)) -> Particular:
    """Like OpenAI's reasoning models: parameters that it does not know."""

    def choose(call: Call) -> _Step:
        for name in refused:
            if name in call.body:
                hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                return _openai(
                    f"Unsupported parameter: '{name}' is not supported with this model.{hint}",
                    param=name,
                    code="unsupported_parameter",
                )
        return step

    return choose


def openai_values(step: _Step, **only: Any) -> Particular:
    """Like OpenAI's: parameters that take one value alone."""

    def choose(call: Call) -> _Step:
        for name, value in only.items():
            if call.body.get(name, value) != value:
                return _openai(
                    f"Unsupported value: '{name}' does not support {call.body[name]} with this "
                    f"model. Only the default ({value}) value is supported.",
                    param=name,
                    code="unsupported_value",
                )
        return step

    return choose


def vllm(step: _Step, *, refused: tuple[str, ...] = ()) -> Particular:
    """Like vLLM with a strict schema: a sentence that quotes pydantic, under no `error`."""

    def choose(call: Call) -> _Step:
        for name in refused:
            if name in call.body:
                told = (
                    f"[{{'type': 'extra_forbidden', 'loc': ('body', '{name}'), 'msg': 'Extra "
                    "inputs are not permitted', 'input': {'temperature': 1}}]"
                )
                return Status(400, body=_bare(told))
        return step

    return choose


def alternating(step: _Step) -> Particular:
    """Like vLLM with the template of Mistral 7B, which knows no system role either."""

    def choose(call: Call) -> _Step:
        roles = [message["role"] for message in call.messages]
        in_turn = all(one != other for one, other in pairwise(roles)) and roles[0] == "user"
        if in_turn and set(roles) <= {"user", "assistant"}:
            return step
        told = "Conversation roles must alternate user/assistant/user/assistant/..."
        return Status(400, body=_bare(told))

    return choose


def gemma(step: _Step) -> Particular:
    """Like vLLM with Gemma's template."""

    def choose(call: Call) -> _Step:
        roles = [message["role"] for message in call.messages]
        if "system" in roles:
            return Status(400, body=_bare("System role not supported"))
        if any(one == other for one, other in pairwise(roles)):
            return Status(400, body=_bare("Conversation roles must alternate user/assistant"))
        return step

    return choose


def mistral(step: _Step, *, refused: tuple[str, ...] = ("stream_options",)) -> Particular:
    """Like Mistral's API: pydantic's list of what it does not take, all of it at once."""

    def choose(call: Call) -> _Step:
        found = [name for name in refused if name in call.body]
        if not found:
            return step
        detail = [
            {
                "type": "extra_forbidden",
                "loc": ["body", name],
                "msg": "Extra inputs are not permitted",
            }
            for name in found
        ]
        body = {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error"}
        return Status(422, body={**body, "param": None, "code": None})

    return choose


def google(step: _Step, *, refused: tuple[str, ...]) -> Particular:
    """Like Gemini's OpenAI door: the error in a list."""

    def choose(call: Call) -> _Step:
        for name in refused:
            if name in call.body:
                told = f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
                error = {"code": 400, "message": told, "status": "INVALID_ARGUMENT"}
                return Status(400, body=[{"error": error}])
        return step

    return choose


def _openai(message: str, *, param: str | None, code: str) -> Status:
    kind = "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Status(400, body={"error": error})


def _bare(message: str) -> dict[str, Any]:
    return {
        "object": "error",
        "message": message,
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
