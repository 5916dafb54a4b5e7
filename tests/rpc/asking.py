"""How tests call the RPC door, and how a model answers that is no team."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from tests.client import Body
from tests.running import Gateway
from tests.scripted import Call, ScriptedUpstream, Step, text

VERSION = "/rpc/2025-02-12"
TITLED = "Give the conversation that follows a title"

_numbers = count()


@dataclass
class Rpc:
    """One caller. `user` is whose key it is, and who owns what it makes unless told otherwise."""

    http: httpx.AsyncClient
    user: str = "root"

    async def send(self, endpoint: str, body: object) -> httpx.Response:
        return await self.http.post(f"{VERSION}/{endpoint}", json=body)

    async def call(self, endpoint: str, **body: object) -> Any:
        answer = await self.send(endpoint, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, endpoint: str, status: int, code: str, **body: object) -> Body:
        return refusal(await self.send(endpoint, body), status, code)

    def owner(self, identifier: str | None = None) -> Body:
        return {"type": "user", "identifier": identifier or self.user}

    def creation(self, model: str = "gpt", **more: object) -> Body:
        return {
            "idempotency_key": f"key {next(_numbers)}",
            "owner": self.owner(),
            "ai_relay_options": {"provider_id": "open_ai", "model_id": model},
            **more,
        }

    def message(self, conversation_id: str, content: str = "Hi", **more: object) -> Body:
        return {
            "conversation_id": conversation_id,
            "idempotency_key": f"key {next(_numbers)}",
            "message_content": content,
            "file_ids": [],
            "skill_set_ids": [],
            "owner": self.owner(),
            "ai_relay_options": None,
            "options": {"use_streaming": False},
            **more,
        }

    async def create(self, model: str = "gpt", **more: object) -> str:
        made = await self.call("create_conversation", **self.creation(model, **more))
        return str(made["conversation_id"])

    async def say(self, conversation_id: str, content: str = "Hi", **more: object) -> Body:
        body = self.message(conversation_id, content, **more)
        answered: Body = await self.call("create_conversation_message", **body)
        return answered

    async def read(self, conversation_id: str) -> Body:
        found: Body = await self.call(
            "get_conversation_with_interactions", conversation_id=conversation_id
        )
        return found

    async def said(self, conversation_id: str) -> list[str]:
        whole = await self.read(conversation_id)
        return [one["message_content"] for one in whole["interactions"]]


def refusal(answer: httpx.Response, status: int, code: str | None = None) -> Body:
    """The error of this door, in its one shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error: Body = answer.json()
    assert set(error) == {"code", "message", "reasons"}
    assert isinstance(error["code"], str)
    assert isinstance(error["message"], str)
    for reason in error["reasons"]:
        assert set(reason) == {"code", "message"}
    assert code is None or error["code"] == code
    return error


async def calling(gateway: Gateway, user: str, *scopes: str) -> Rpc:
    """A caller with a key of its own; it may only converse unless told otherwise."""
    return Rpc(await gateway.connect(user, *(scopes or ("conversations",))), user)


def answering(upstream: ScriptedUpstream, *replies: Step | str, title: str = "A title") -> None:
    """A plain model says these in turn, the last of them again and again; who asks it for a title
    gets that."""
    left = [text(one) if isinstance(one, str) else one for one in replies or ("Hello.",)]

    def step(call: Call) -> Step:
        if TITLED in call.messages[0]["content"]:
            return text(title)
        return left.pop(0) if len(left) > 1 else left[0]

    upstream.always("*", step)


def prompts(upstream: ScriptedUpstream) -> list[list[tuple[str, str]]]:
    """What the plain model was told, call by call: (role, content)."""
    return [
        [(message["role"], message["content"]) for message in call.messages]
        for call in upstream.calls
        if TITLED not in str(call.messages[0]["content"])
    ]
