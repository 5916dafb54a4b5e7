"""The largest requests that are taken hold nobody else up, and one more of anything is refused."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.routes.http.bulk import MOST_MEMBERS, MOST_VALUES, Count
from gateway.routes.keys import MOST_SCOPES
from gateway.routes.shapes.dialogue import MOST_MESSAGES, MOST_PARTS
from tests.client import bearer
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.team import Team, make_team

CHAT = "/api/agency/{agency}/chat/completions"
QUERY = "/api/collections/books/query"
SESSION = "/api/agents/{manager}/sessions"
DELETE = "/rpc/2025-02-12/delete_conversations"
STOOD_S = 1.0
"""Of the loop's processor time. Alone, what is refused and taken uses a third of it at most; in the
suite's process Python's collector walks through the objects of all tests as well."""

USER = {"role": "user", "content": "Hi."}
ASSISTANT = {"role": "assistant", "content": "Yes."}
PART = {"type": "text", "text": "a"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@dataclass(frozen=True)
class Door:
    """Sends bodies from a thread of its own, so that the loop does nothing but serve."""

    gateway: Gateway
    team: Team

    async def post(self, path: str, body: bytes) -> httpx.Response:
        agency, manager = self.team.id, self.team["manager"]
        told = body.replace(b"agency/1", b"agency/%d" % agency)
        return await asyncio.to_thread(
            self._post, path.format(agency=agency, manager=manager), told
        )

    def _post(self, path: str, body: bytes) -> httpx.Response:
        headers = bearer(self.gateway.root_key)
        with httpx.Client(base_url=self.gateway.base_url, timeout=60) as client:
            return client.post(
                path, content=body, headers={**headers, "content-type": "application/json"}
            )


@pytest.fixture
async def door(start_gateway: StartGateway) -> Door:
    gateway = await start_gateway(openai_api_key=None, openai_base_url=None)
    await gateway.http.post("/api/collections", json={"name": "books"})
    return Door(gateway, await make_team(gateway, "programmer"))


@pytest.fixture
def stood(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Standstills that used the loop's processor, and were not the machine's."""
    caplog.set_level(logging.WARNING, "gateway.process.watchdog")

    def told() -> list[str]:
        logged = [vars(one) for one in caplog.records if one.name == "gateway.process.watchdog"]
        return [
            f"{one['processor_seconds']} s: {one['stack']}"
            for one in logged
            if one["processor_seconds"] > STOOD_S
        ]

    return told


def chat(**more: object) -> bytes:
    return json.dumps({"model": "agency/1", "messages": [USER], **more}).encode()


def tools(items: str) -> bytes:
    return chat()[:-1] + b',"tools":[' + items.encode() + b"0]}"


def agency() -> bytes:
    instructions = "i" * 100_000
    names = [f"{number:03}" + "c" * 125 for number in range(100)]
    agents = [
        {"name": f"a{number}", "instructions": instructions, "collections": names}
        for number in range(100)
    ]
    return json.dumps({"name": "Team", "manager": "a0", "agents": agents}).encode()


def embeddings(given: object) -> bytes:
    return json.dumps({"model": "wordllama", "input": given}).encode()


def where(terms: int) -> bytes:
    return json.dumps({"query": "a", "where": {"$or": [{"a": 1}] * terms}}).encode()


def keys(scopes: int) -> bytes:
    return json.dumps({"user": "ann", "scopes": ["chat"] * scopes}).encode()


def called(arguments: str) -> dict[str, Any]:
    call = {"function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


TALK = [USER, ASSISTANT] * (MOST_MESSAGES // 2 - 1) + [USER, USER]
LONG = {"role": "user", "content": "word " * 900}

LARGEST: dict[str, tuple[str, Callable[[], bytes]]] = {
    "messages": (CHAT, lambda: chat(messages=TALK)),
    "20 MiB of messages": (CHAT, lambda: chat(messages=[LONG] * MOST_MESSAGES)),
    "parts": (CHAT, lambda: chat(messages=[{**USER, "content": [PART] * MOST_PARTS}] * 33)),
    "calls of tools": (
        CHAT,
        lambda: chat(messages=[{**ASSISTANT, "tool_calls": [CALL] * MOST_PARTS}] * 12 + [USER]),
    ),
    "arguments of a call": (
        CHAT,
        lambda: chat(messages=[called("[" + "[]," * 4_000_000 + "0]"), USER]),
    ),
    "lists": (CHAT, lambda: tools("[]," * (MOST_MEMBERS - 100))),
    "numbers": (CHAT, lambda: tools("1234567890," * (MOST_VALUES - 100))),
    "lists at /v1": ("/v1/chat/completions", lambda: tools("[]," * (MOST_MEMBERS - 100))),
    "an image": (
        CHAT,
        lambda: chat(
            messages=[
                {
                    **USER,
                    "content": [{"type": "image_url", "image_url": {"url": "A" * 20_000_000}}],
                }
            ]
        ),
    ),
    "logit_bias": (CHAT, lambda: chat(logit_bias=dict.fromkeys(map(str, range(1_000)), 1))),
    "metadata": (CHAT, lambda: chat(metadata=dict.fromkeys(map(str, range(16)), "m" * 512))),
    "a session": (SESSION, lambda: json.dumps({"messages": TALK}).encode()),
    "an agency": ("/api/agencies", agency),
    "embeddings": ("/v1/embeddings", lambda: embeddings(["a " * 240] * 2_048)),
    "tokens": ("/v1/embeddings", lambda: embeddings([[1000] * 60] * 2_048)),
    "a document": (
        "/api/collections/books/documents",
        lambda: json.dumps({"text": "a " * 9_000_000}).encode(),
    ),
    "a filter": (QUERY, lambda: where(64)),
    "scopes": ("/api/keys", lambda: keys(MOST_SCOPES)),
}

TOO_MUCH: dict[str, tuple[str, Callable[[], bytes]]] = {
    "messages": (CHAT, lambda: chat(messages=[USER] * (MOST_MESSAGES + 1))),
    "messages of a session": (
        SESSION,
        lambda: json.dumps({"messages": [USER] * (MOST_MESSAGES + 1)}).encode(),
    ),
    "lists": (CHAT, lambda: tools("[]," * 6_000_000)),
    "lists in lists": (CHAT, lambda: tools("[[[[]]]]," * 2_000_000)),
    "lists at /v1": ("/v1/chat/completions", lambda: tools("[]," * 6_000_000)),
    "numbers": (CHAT, lambda: tools("0," * 9_000_000)),
    "members": (CHAT, lambda: chat(metadata=dict.fromkeys(map(str, range(1_000_000)), "1"))),
    "logit_bias": (CHAT, lambda: chat(logit_bias=dict.fromkeys(map(str, range(1_001)), 1))),
    "comparisons": (QUERY, lambda: where(65)),
    "millions of comparisons": (QUERY, lambda: where(1_500_000)),
    "token lists": ("/v1/embeddings", lambda: embeddings([[]] * 4_000_000)),
    "scopes": ("/api/keys", lambda: keys(MOST_SCOPES + 1)),
    "millions of scopes": ("/api/keys", lambda: keys(2_000_000)),
    "members of an agency": (
        "/api/agencies",
        lambda: b'{"name":"T","other":[' + b"{}," * 6_000_000 + b"0]}",
    ),
    "ids": (DELETE, lambda: json.dumps({"conversation_ids": ["a"] * 3_000_000}).encode()),
    "members of a call": (
        DELETE,
        lambda: b'{"conversation_ids":["a"],"other":[' + b"{}," * 6_000_000 + b"0]}",
    ),
}


@pytest.mark.timeout(300)
async def test_the_largest_that_is_taken_holds_nobody_up(
    door: Door, stood: Callable[[], list[str]]
) -> None:
    for what, (path, make) in LARGEST.items():
        answer = await door.post(path, await asyncio.to_thread(make))
        assert answer.status_code in (200, 201, 202), (what, answer.text[:500])
        await asyncio.sleep(0.1)
        assert not stood(), what


@pytest.mark.timeout(300)
async def test_one_more_is_refused_at_once(door: Door, stood: Callable[[], list[str]]) -> None:
    for what, (path, make) in TOO_MUCH.items():
        answer = await door.post(path, await asyncio.to_thread(make))
        assert answer.status_code == 400, (what, answer.text[:500])
        told = answer.json()
        assert (told if path == DELETE else told["error"])["message"]
        await asyncio.sleep(0.1)
        assert not stood(), what


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_what_stands_in_strings_is_not_counted(size: int) -> None:
    body = json.dumps({"a[,": ['\\"[{', "\\\\", '"', {}, [], 1, "x\\"], "ü": None}).encode()
    count, start = Count(), 0
    while start < len(body):
        start = count.add(body, start, size)
    assert (count.members, count.values) == (2 + 2 + 2, 1 + 6)
