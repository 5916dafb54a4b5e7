"""What goes wrong between the gateway and a model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from tests.scripted.exchange import Exchange, completion, delta, dump


def status(code: int, *, headers: Mapping[str, str] | None = None, body: Any = None) -> Status:
    """An error response; without a body it is an OpenAI error object."""
    return Status(code, headers or {}, body)


@dataclass(frozen=True, slots=True)
class Status:
    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    async def play(self, exchange: Exchange) -> None:
        body = self.body
        if body is None:
            body = {"error": {"message": f"Scripted {self.code}", "type": "scripted", "code": None}}
        await exchange.json(body, status=self.code, headers=self.headers)


def redirect(location: str) -> Status:
    return Status(307, {"location": location}, {})


@dataclass(frozen=True, slots=True)
class truncated:  # noqa: N801  reads as a verb beside say() and status()
    """The connection ends after this text: no finish reason, and `[DONE]` only if `done`.

    A stream's body ends properly unless `cut`; a plain JSON body is always cut in its middle.
    """

    text: str = ""
    _: KW_ONLY
    done: bool = False
    cut: bool = False

    async def play(self, exchange: Exchange) -> None:
        if not exchange.call.streams:
            body = dump(completion(self.text, "stop", None))
            await exchange.head(headers={"content-length": str(len(body))})
            await exchange.write(body[:-2])
            return exchange.hang_up()
        await exchange.open_stream()
        for event in (delta(role="assistant", content=""), delta(content=self.text)):
            await exchange.event(event)
        if self.done:
            await exchange.send(b"data: [DONE]\n\n")
        return exchange.hang_up() if self.cut else await exchange.end()


@dataclass(frozen=True, slots=True)
class error_in_stream:  # noqa: N801
    """`{"error": …}` under status 200: within a stream after some text, or as the JSON body."""

    after_text: str = ""
    _: KW_ONLY
    message: str = "Scripted failure"
    kind: str | None = "server_error"
    code: str | int | None = None

    async def play(self, exchange: Exchange) -> None:
        body = {"error": {"message": self.message, "type": self.kind, "code": self.code}}
        if not exchange.call.streams:
            return await exchange.json(body)
        await exchange.open_stream()
        if self.after_text:
            await exchange.event(delta(content=self.after_text))
        await exchange.event(body)
        return await exchange.end()


@dataclass(frozen=True, slots=True)
class garbage:  # noqa: N801
    """The right content type, but no JSON."""

    async def play(self, exchange: Exchange) -> None:
        if not exchange.call.streams:
            return await exchange.whole(b'{"choices": [oops')
        await exchange.open_stream()
        await exchange.send(b'data: {"choices": [oops\n\n')
        return await exchange.end()


@dataclass(frozen=True, slots=True)
class html:  # noqa: N801
    """A friendly web page under status 200, as captive portals send it."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.whole(b"<html><body>Welcome</body></html>", content_type="text/html")


@dataclass(frozen=True, slots=True)
class silence:  # noqa: N801
    """Nothing, until the caller goes away."""

    async def play(self, exchange: Exchange) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class endless_line:  # noqa: N801
    """One line (or JSON string) that never ends, as fast as it is read."""

    async def play(self, exchange: Exchange) -> None:
        streams = exchange.call.streams
        await exchange.open_chunked("text/event-stream" if streams else "application/json")
        await exchange.send(b'data: "' if streams else b'{"choices": "')
        while True:
            await exchange.send(b"x" * 65536)


@dataclass(frozen=True, slots=True)
class reset:  # noqa: N801
    """A TCP reset; in a stream after this text, if there is one."""

    after_text: str = ""

    async def play(self, exchange: Exchange) -> None:
        if self.after_text and exchange.call.streams:
            await exchange.open_stream()
            await exchange.event(delta(content=self.after_text))
            await asyncio.sleep(0.05)  # else the reset overtakes the text in the reader's kernel
        exchange.hang_up(reset=True)


class raw:  # noqa: N801
    """These bytes as the body, each piece in a write of its own, so that it is read alone."""

    def __init__(self, *pieces: bytes, content_type: str = "text/event-stream") -> None:
        self.pieces = pieces
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"raw({b''.join(self.pieces)[:80]!r})"

    async def play(self, exchange: Exchange) -> None:
        await exchange.open_chunked(self.content_type)
        for piece in self.pieces:
            await exchange.send(piece)
            await asyncio.sleep(0.002 if len(self.pieces) > 1 else 0)
        await exchange.end()
