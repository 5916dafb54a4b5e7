"""The process in which clients' schemas are used. `checks` starts it, asks, and outlives it.

It reads requests from its standard input, a socket, and answers there: four bytes of length, then
JSON. What takes more than `CPU_S` ends it, also inside of a library that never comes back.
"""

from __future__ import annotations

import resource
import signal
import socket
import sys
from io import BufferedIOBase

import msgspec

from gateway.agency.turn.answer_format import misfit, unusable

CPU_S = 0.25
"""Seconds of processor time, not of the clock: a busy machine makes no schema slow."""
MEMORY = 1 << 30
"""Bytes of address space."""
SIZE = 4
"""Bytes of the length before each message."""


class Examination(msgspec.Struct):
    """Asks if `text` fits the schema, or without a text if the schema can be used."""

    schema: bytes
    text: str | None = None


class Finding(msgspec.Struct):
    why: str | None


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the gateway ends us itself
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with socket.socket(fileno=0) as connection, connection.makefile("rwb") as pipe:
        while question := _read(pipe):
            signal.setitimer(signal.ITIMER_PROF, CPU_S)
            found = msgspec.json.encode(Finding(_examine(question)))
            signal.setitimer(signal.ITIMER_PROF, 0)
            pipe.write(len(found).to_bytes(SIZE, "big") + found)
            pipe.flush()


def _read(pipe: BufferedIOBase) -> Examination | None:
    """Returns None once the gateway is gone."""
    size = int.from_bytes(pipe.read(SIZE), "big")
    body = pipe.read(size)
    return msgspec.json.decode(body, type=Examination) if size and len(body) == size else None


def _examine(question: Examination) -> str | None:
    if question.text is None:
        return unusable(question.schema)
    return misfit(question.text, question.schema)


if __name__ == "__main__":
    main()
