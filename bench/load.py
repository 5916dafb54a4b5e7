"""A load generator: keep-alive connections on raw protocols, each with one request under way."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import ClassVar, Protocol, cast

import msgspec

from bench.mock import FIRST_WORD

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_FIRST_WORD = FIRST_WORD.encode()
_OK = b"HTTP/1.1 200"
_PIECE = b'"content":"'
_NO_PIECE = b'"content":""'
_LAST_CHUNK = b"\r\n0\r\n\r\n"
MOST_FAILURES = 10
"""Of one measurement. Fewer are counted and shown."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Target:
    """Whom requests go to."""

    port: int
    path: str
    key: str = "none"

    def request(self, body: bytes, *headers: str) -> bytes:
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"host: 127.0.0.1:{self.port}",
            f"authorization: Bearer {self.key}",
            "content-type: application/json",
            "accept: application/json",
            "user-agent: bench",
            f"content-length: {len(body)}",
            *headers,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Talk(Protocol):
    """What one connection says. While it is `preparing`, its answers are no replies and do not
    count."""

    @property
    def preparing(self) -> bool: ...

    def next(self) -> bytes:
        """The next request."""

    def heard(self, body: bytes) -> None:
        """The answer to it."""


@dataclass(slots=True)
class Result:
    """What one measurement gave. Times are seconds, one for each request."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    chunks: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def chunk_rate(self) -> float:
        return self.chunks / self.seconds


class LoadError(Exception):
    """So many requests failed that what was measured means nothing."""


class Connection(asyncio.Protocol):
    """Asks, waits for the whole answer, and asks again until the time is over."""

    def __init__(self, talk: Talk, result: Result, until: float, most: int | None) -> None:
        self._talk = talk
        self._result = result
        self._until = until
        self._left = most
        self._pieces: list[bytes] = []
        self._missing: int | None = None
        self._tail = b""
        self._sent = 0.0
        self._first_token = 0.0
        self._transport: asyncio.Transport
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or LoadError("The server closed the connection."))

    def _ask(self) -> None:
        self._pieces, self._missing, self._first_token = [], None, 0.0
        request = self._talk.next()
        self._sent = perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._pieces:
            self._begin(data)
        elif self._missing is not None:
            self._missing -= len(data)
        self._pieces.append(data)
        if not self._first_token and _FIRST_WORD in data:
            self._first_token = perf_counter()
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
        if self._missing == 0 or (self._missing is None and self._tail == _LAST_CHUNK):
            self._end()

    def _begin(self, data: bytes) -> None:
        """Servers send the head in one piece."""
        head = data.index(b"\r\n\r\n") + 4
        if length := _LENGTH.search(data, 0, head):
            self._missing = int(length[1]) + head - len(data)

    def _end(self) -> None:
        now = perf_counter()
        answer = b"".join(self._pieces)
        if answer.startswith(_OK) and self._talk.preparing:
            self._talk.heard(answer)
        elif answer.startswith(_OK) and self._first_token:
            self._count(now, answer)
            self._talk.heard(answer)
        else:
            self._fail(answer.decode(errors="replace"))
        if self._left is not None:
            self._left -= 1
        if self.ended.done() or now >= self._until or self._left == 0:
            self._transport.close()
            if not self.ended.done():
                self.ended.set_result(None)
        else:
            self._ask()

    def _count(self, now: float, answer: bytes) -> None:
        result = self._result
        result.latencies.append(now - self._sent)
        result.first_tokens.append(self._first_token - self._sent)
        if self._missing is None:
            result.chunks += answer.count(_PIECE) - answer.count(_NO_PIECE)

    def _fail(self, told: str) -> None:
        self._result.failures.append(told)
        if len(self._result.failures) > MOST_FAILURES:
            self.ended.set_exception(LoadError(told))


async def run(
    port: int, talks: list[Talk], *, seconds: float = 600.0, each: int | None = None
) -> Result:
    """Let each of `talks` go on for `seconds`, or for `each` requests."""
    loop = asyncio.get_running_loop()
    result = Result()
    started = perf_counter()
    connections = [Connection(talk, result, started + seconds, each) for talk in talks]
    for connection in connections:
        await loop.create_connection(partial(_itself, connection), "127.0.0.1", port)
    await asyncio.gather(*(connection.ended for connection in connections))
    result.seconds = perf_counter() - started
    return result


def _itself(connection: Connection) -> Connection:
    return connection


class Openings:
    """Each request begins a conversation of its own."""

    preparing = False

    def __init__(self, target: Target, *, stream: bool = False) -> None:
        self._target = target
        self._end = b'"}],"stream":true}' if stream else b'"}]}'

    def next(self) -> bytes:
        body = b'{"model":"mock","messages":[{"role":"user","content":"Which fruit is meant by'
        return self._target.request(b"%b number %d?%b" % (body, next(_numbers), self._end))

    def heard(self, body: bytes) -> None:
        """It is not gone on with."""


class Dialogue:
    """One conversation that grows, sent whole each time, as clients do; after `turns` a new one."""

    preparing = False

    def __init__(self, target: Target, turns: int | None = None) -> None:
        self._target = target
        self._turns = turns
        self._said: list[dict[str, str]] = []

    def next(self) -> bytes:
        if self._turns is not None and len(self._said) >= 2 * self._turns:
            self._said = []
        text = f"Which fruit is meant by number {next(_numbers)}?"
        self._said.append({"role": "user", "content": text})
        body = {"model": "mock", "messages": self._said}
        return self._target.request(msgspec.json.encode(body))

    def heard(self, body: bytes) -> None:
        answer = msgspec.json.decode(body[body.index(b"\r\n\r\n") + 4 :])
        text = answer["choices"][0]["message"]["content"]
        self._said.append({"role": "assistant", "content": text})


class Messages:
    """Messages of the RPC door to the agency of `target`, each waited for; after `turns` in another
    conversation."""

    _OWNER: ClassVar = {"type": "user", "identifier": "root"}

    def __init__(self, target: Target, turns: int) -> None:
        self._target = target
        self._turns = turns
        self._left = 0
        self._conversation: str | None = None

    @property
    def preparing(self) -> bool:
        return self._conversation is None

    def next(self) -> bytes:
        if self._left == 0:
            self._conversation, self._left = None, self._turns
        body: dict[str, object] = {
            "idempotency_key": f"{os.getpid()} {next(_numbers)}",
            "owner": self._OWNER,
        }
        if self._conversation is None:
            agency = self._target.path.split("/")[3]
            options = {"provider_id": "open_ai", "model_id": f"agency/{agency}"}
            return self._request("create_conversation", {**body, "ai_relay_options": options})
        message = {
            "conversation_id": self._conversation,
            "message_content": f"Which fruit is meant by number {next(_numbers)}?",
            "file_ids": [],
            "skill_set_ids": [],
            "ai_relay_options": None,
            "options": {"use_streaming": False},
        }
        return self._request("create_conversation_message", {**body, **message})

    def _request(self, endpoint: str, body: dict[str, object]) -> bytes:
        target = replace(self._target, path=f"/rpc/2025-02-12/{endpoint}")
        return target.request(msgspec.json.encode(body))

    def heard(self, body: bytes) -> None:
        if self._conversation is None:
            answer = msgspec.json.decode(body[body.index(b"\r\n\r\n") + 4 :])
            self._conversation = answer["conversation_id"]
        else:
            self._left -= 1


def openings(target: Target, connections: int, *, stream: bool = False) -> list[Talk]:
    return [Openings(target, stream=stream) for _ in range(connections)]


def dialogues(target: Target, connections: int, turns: int) -> list[Talk]:
    return [Dialogue(target, turns) for _ in range(connections)]


def messages(target: Target, connections: int, turns: int) -> list[Talk]:
    return [Messages(target, turns) for _ in range(connections)]


def quantile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
