"""An OpenAI-compatible upstream that answers at once, as cheaply as Python can.

A model called `ask-<id>` first asks agent <id> and then answers; every other model answers. A
stream has 100 chunks, each sent by itself, as a real upstream would.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from typing import cast

import uvloop

FIRST_WORD = "Apples"
WORDS = 100
PORT_TOLD = "listening on "

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ASKS = re.compile(rb'"model": ?"ask-(\d+)"')
_STREAM = re.compile(rb'"stream": ?true')
_FROM = b'{\\"from\\":'
_FROM_USER = b'{\\"from\\":0,'

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: "
_STREAM_HEAD = _HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def answer(text: str) -> bytes:
    """A whole answer."""
    body = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70},
    }
    data = json.dumps(body, separators=(",", ":")).encode()
    return _HEAD + b"application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data


def chunks(pieces: list[str]) -> list[bytes]:
    """A streamed answer, as the HTTP chunks that it is sent in."""
    events = [_event({"role": "assistant", "content": ""}, None)]
    events += [_event({"content": piece}, None) for piece in pieces]
    events += [_event({}, "stop"), b"data: [DONE]\n\n"]
    framed = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    # The role comes with the head, and the end with the last piece.
    start = _STREAM_HEAD + framed[0] + framed[1]
    return [start, *framed[2:-3], b"".join(framed[-3:]) + b"0\r\n\r\n"]


def _event(delta: dict[str, str], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    body = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "mock",
        "choices": [choice],
    }
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def envelope(to: int, words: int) -> list[str]:
    """What an agent says, in pieces of one word each."""
    said = [FIRST_WORD, *(f" word{number}" for number in range(1, words))]
    return [f'{{"to":{to},"context":"{said[0]}', *said[1:-1], said[-1] + '"}']


ANSWER = answer("".join(envelope(0, 12)))
ANSWER_CHUNKS = chunks(envelope(0, WORDS))


class Upstream(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._received, 0, head)
        size = int(length[1]) if length else 0
        if len(self._received) < head + 4 + size:
            return
        body, self._received = self._received[head + 4 :], b""
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        asks = _ASKS.search(body)
        streamed = _STREAM.search(body) is not None
        if asks and body.rfind(_FROM) == body.rfind(_FROM_USER):
            question = envelope(int(asks[1]), 12)
            self._send(chunks(question) if streamed else [answer("".join(question))])
        else:
            self._send(ANSWER_CHUNKS if streamed else [ANSWER])

    def _send(self, parts: list[bytes]) -> None:
        self._send_next(iter(parts))

    def _send_next(self, parts: Iterator[bytes]) -> None:
        part = next(parts, None)
        if part is not None and not self._transport.is_closing():
            self._transport.write(part)
            self._loop.call_soon(self._send_next, parts)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    sys.stdout.write(f"{PORT_TOLD}{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
