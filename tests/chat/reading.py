"""Talk that was had, for tests that read it afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.client import bearer
from tests.running import ROOT_KEY, Gateway
from tests.scripted import ScriptedUpstream, say
from tests.team import Team

Body = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """A completion that was asked for."""

    completion_id: str
    conversation_id: str

    @property
    def turn_id(self) -> str:
        return self.completion_id.replace("chatcmpl-", "turn_")


async def ask(
    gateway: Gateway,
    team: Team,
    *contents: str,
    key: str = ROOT_KEY,
    conversation: str | None = None,
    **parameters: Any,
) -> Said:
    """Ask with a history: user and assistant in turns."""
    roles = ("user", "assistant")
    messages: list[Any] = [
        {"role": roles[n % 2], "content": content} for n, content in enumerate(contents)
    ]
    if system := parameters.pop("system", None):
        messages.insert(0, {"role": "system", "content": system})
    raw = await gateway.client(team.id, key=key).chat.completions.with_raw_response.create(
        messages=messages,
        extra_headers={"x-conversation-id": conversation} if conversation else {},
        **{"model": "m", **parameters},
    )
    return Said(raw.parse().id, raw.headers["x-conversation-id"])


def consult(upstream: ScriptedUpstream, team: Team, answer: str = "The answer.") -> None:
    """The manager asks the programmer, then answers."""
    upstream.script("manager", say(team["programmer"], "A secret question?"), say(0, answer))
    upstream.script("programmer", say(team["manager"], "A secret reply."))


@asynccontextmanager
async def calling(
    gateway: Gateway, user: str, *scopes: str
) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A caller: their HTTP client and their key."""
    key = await gateway.key(user, *(scopes or ("chat", "agencies")))
    headers = bearer(key)
    async with httpx.AsyncClient(base_url=gateway.base_url, headers=headers, timeout=30) as http:
        yield http, key


async def pages(http: httpx.AsyncClient, path: str, **query: Any) -> list[Body]:
    """All pages of a list that goes by cursors, the last one too."""
    found: list[Body] = []
    cursor: str | None = None
    while True:
        params = {**query, **({"cursor": cursor} if cursor else {})}
        answer = await http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        if (cursor := answer.json()["next_cursor"]) is None:
            return found


def refused(answer: httpx.Response, status: int, code: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code is None or error["code"] == code
