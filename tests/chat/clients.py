"""Clients as applications write them: they keep the history themselves and send all of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from openai import AsyncOpenAI

from tests.running import ROOT_KEY, Gateway
from tests.scripted import Call
from tests.team import Team

Said = tuple[str, str]
"""(role, text)"""


@dataclass
class Chat:
    """One person's chat window. `say` appends what was said and what came back."""

    gateway: Gateway
    team: Team
    key: str = ROOT_KEY
    history: list[Any] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    conversation: str = ""
    completion: str = ""
    raw: bytes = b""

    async def say(self, content: Any, **options: Any) -> str:
        self.history.append({"role": "user", "content": content})
        return await self.send(**options)

    @property
    def sdk(self) -> AsyncOpenAI:
        return self.gateway.client(self.team.id, key=self.key)

    async def send(self, **options: Any) -> str:
        """Send the history as it is."""
        answer = await self.sdk.chat.completions.with_raw_response.create(
            **{"model": "m", "messages": self.history, **self.options, **options}
        )
        self.conversation = answer.headers["x-conversation-id"]
        self.raw = answer.content
        said = answer.parse()
        self.completion = said.id
        text = said.choices[0].message.content
        assert text is not None
        self.history.append({"role": "assistant", "content": text})
        return text

    async def stream(self, content: Any, **options: Any) -> str:
        self.history.append({"role": "user", "content": content})
        answer = await self.sdk.chat.completions.with_raw_response.create(
            **{"model": "m", "messages": self.history, "stream": True, **self.options, **options}
        )
        self.conversation = answer.headers["x-conversation-id"]
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in answer.parse()])
        self.history.append({"role": "assistant", "content": text})
        return text

    def branch(self, keep: int | None = None) -> Chat:
        """Another window with the first messages of this one."""
        history = [dict(message) for message in self.history[:keep]]
        return Chat(self.gateway, self.team, self.key, history, dict(self.options))


def retry(count: int = 1) -> dict[str, Any]:
    """What the openai SDK tells when it sends a request again."""
    return {"extra_headers": {"x-stainless-retry-count": str(count)}}


def named(conversation: str) -> dict[str, Any]:
    return {"extra_headers": {"x-conversation-id": conversation}}


def public(call: Call) -> list[Said]:
    """What a call shows the manager of its talk with the end user, oldest first."""
    return [(role, text.strip()) for role, party, text in letters(call) if party == 0]


def letters(call: Call) -> list[tuple[str, int, str]]:
    """An agent's context without its system message: (role, from or to, text)."""
    told = []
    for message in call.messages[1:]:
        content = message["content"]
        if isinstance(content, list):
            content = next(part["text"] for part in content if part["type"] == "text")
        inside = json.loads(content)
        for letter in inside if isinstance(inside, list) else [inside]:
            party = letter["from"] if message["role"] == "user" else letter["to"]
            told.append((message["role"], party, letter["context"]))
    return told


def words(history: list[Any]) -> list[Said]:
    """What a client sent, without its system messages and white space at the ends."""
    return [
        ("assistant" if message["role"] == "assistant" else "user", message["content"].strip())
        for message in history
        if message["role"] not in ("system", "developer")
    ]
