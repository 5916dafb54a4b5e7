"""One request and the way back, in OpenAI's wire format: what steps write to."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

INTRODUCTION = re.compile(r"You are #(\d+) \((.*?)\)\.(?:\s|$)")
ANONYMOUS = "*"


@dataclass(eq=False)
class Call:
    """One request that came in. `agent` and `agent_id` are read from its system message."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    started_at: float
    """On the clock of the event loop, `loop.time()`."""
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    """Set as soon as the caller is gone before the step was played to its end."""
    finished: bool = False
    """Whether the step was played to its end."""
    agent: str = ANONYMOUS
    agent_id: int | None = None

    def __post_init__(self) -> None:
        for message in self.messages[:1]:
            if found := INTRODUCTION.match(_text(message.get("content"))):
                self.agent_id, self.agent = int(found[1]), found[2]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body.get("messages", [])

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def open(self) -> bool:
        return not self.finished and not self.disconnected.is_set()

    @property
    def inbound(self) -> list[tuple[int, str]]:
        """What the agent was told, oldest first: (from, context) of all that was said to it."""
        told = [json.loads(text) for m in self._heard for text in _texts(m.get("content"))]
        letters = [one for item in told for one in (item if isinstance(item, list) else [item])]
        return [(letter["from"], letter["context"]) for letter in letters]

    @property
    def _heard(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if message.get("role") == "user"]


def _text(content: Any) -> str:
    return next(iter(_texts(content)), "")


def _texts(content: Any) -> list[str]:
    if isinstance(content, list):
        return [part["text"] for part in content if part.get("type") == "text"]
    return [content] if content else []


class Exchange:
    """The way back to the caller: what steps write to."""

    def __init__(self, call: Call, writer: asyncio.StreamWriter) -> None:
        self.call = call
        self.over = False
        """Whether the connection was ended, so that no further request can come over it."""
        self._writer = writer

    async def json(
        self, body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        await self.whole(dump(body), status=status, headers=headers)

    async def whole(
        self,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        length = {"content-length": str(len(body))}
        await self.head(status, content_type, {**length, **(headers or {})}, body)

    async def stream(
        self, deltas: AsyncIterator[str], finish: str | None, usage: tuple[int, int] | None
    ) -> None:
        """A complete chat stream, as OpenAI sends it."""
        await self.open_stream()
        await self.event(delta(role="assistant", content="", refusal=None))
        async for content in deltas:
            await self.event(delta(content=content))
        await self.event(delta(finish))
        if usage is not None and self.call.body.get("stream_options", {}).get("include_usage"):
            await self.event({**delta(), "choices": [], "usage": _usage(usage)})
        await self.send(b"data: [DONE]\n\n")
        await self.end()

    async def open_stream(self) -> None:
        await self.open_chunked("text/event-stream; charset=utf-8")

    async def open_chunked(self, content_type: str) -> None:
        await self.head(200, content_type, {"transfer-encoding": "chunked"})

    async def event(self, body: Any) -> None:
        await self.send(b"data: %s\n\n" % dump(body))

    async def send(self, data: bytes) -> None:
        """One chunk of a body that was opened with `open_chunked`."""
        await self.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.write(b"0\r\n\r\n")

    async def head(
        self,
        status: int = 200,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        phrase = HTTPStatus(status).phrase
        fields = {"content-type": content_type, **(headers or {})}
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{k}: {v}" for k, v in fields.items())]
        await self.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def hang_up(self, *, reset: bool = False) -> None:
        """End the connection, with a TCP reset if asked for."""
        self.over = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            self._writer.transport.abort()
        else:
            self._writer.close()


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    """One chunk of a chat stream: `delta(content="Hi")`."""
    choice = {"index": 0, "delta": members, "logprobs": None, "finish_reason": finish}
    return {**_skeleton("chat.completion.chunk"), "choices": [choice]}


def completion(content: str, finish: str | None, usage: tuple[int, int] | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    body = {**_skeleton("chat.completion"), "choices": [choice]}
    return body if usage is None else {**body, "usage": _usage(usage)}


def dump(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def _skeleton(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 1700000000, "model": "scripted"}


def _usage(usage: tuple[int, int]) -> dict[str, int]:
    prompt, completion = usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
