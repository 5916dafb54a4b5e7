"""FormatChecks of clients' schemas and of answers against them, under one bound.

No library can promise that a stranger's schema and a model's answer are quick together, and one
that is written in C or Rust can't be stopped in this process. So another process does it
(`examiner`), which has little time. It is started by the first schema and kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import msgspec
from cachetools import LRUCache

from gateway.agency.model import Json
from gateway.agency.run.examiner import SIZE, Examination, Finding
from gateway.agency.turn import answer_format

CLOCK_S = 10.0
"""Seconds until an examiner that gets no processor is given up."""
REMEMBERED = 1_024
"""Schemas of which it is known whether they can be used."""
TOO_LONG = "Using it takes too long."


@dataclass(frozen=True, slots=True)
class _Examiner:
    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class _Lost(Exception):
    """The examiner ended. `late` if its time was up."""

    def __init__(self, *, late: bool) -> None:
        self.late = late


class FormatChecks:
    """Checks one answer at a time."""

    def __init__(self) -> None:
        self._examiner: _Examiner | None = None
        self._turn = asyncio.Lock()
        self._known: LRUCache[bytes, str | None] = LRUCache(REMEMBERED)

    async def __aenter__(self) -> FormatChecks:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._end()

    async def unusable(self, response_format: Mapping[str, Json] | None) -> str | None:
        """Returns why a client's schema can't be used; None if it can, or if there is none."""
        schema = _schema(response_format)
        if schema is None:
            return None
        known = hashlib.sha256(schema).digest()
        if known not in self._known:
            self._known[known] = await self._ask(Examination(schema), TOO_LONG)
        return self._known[known]

    async def misfit(self, text: str, response_format: Mapping[str, Json]) -> str | None:
        """Returns why an answer is not in the format that the client wants; None if it is."""
        schema = _schema(response_format)
        if schema is None:
            return answer_format.misfit(text, None)
        return await self._ask(Examination(schema, text), answer_format.INTRICATE)

    async def _ask(self, question: Examination, too_long: str) -> str | None:
        async with self._turn:
            for _ in range(2):  # whoever ended it first may have meant another question
                try:
                    return await self._exchange(msgspec.json.encode(question))
                except _Lost as lost:
                    if lost.late:
                        break
            return too_long

    async def _exchange(self, question: bytes) -> str | None:
        examiner = self._examiner = self._examiner or await _start()
        try:
            async with asyncio.timeout(CLOCK_S):
                examiner.writer.write(len(question).to_bytes(SIZE, "big") + question)
                await examiner.writer.drain()
                size = int.from_bytes(await examiner.reader.readexactly(SIZE), "big")
                found = await examiner.reader.readexactly(size)
        except TimeoutError:
            await self._end()
            raise _Lost(late=True) from None
        except (OSError, asyncio.IncompleteReadError):
            raise _Lost(late=await self._end() == -signal.SIGPROF) from None
        except BaseException:  # cancelled: its answer would be taken for that of the next question
            await asyncio.shield(self._end())
            raise
        return msgspec.json.decode(found, type=Finding).why

    async def _end(self) -> int | None:
        """Returns what the examiner's process ended with."""
        examiner, self._examiner = self._examiner, None
        if examiner is None:
            return None
        examiner.writer.close()
        examiner.process.kill()  # one that has ended by itself keeps its own reason
        return await asyncio.to_thread(examiner.process.wait)


async def _start() -> _Examiner:
    ours, its = socket.socketpair()
    with its:
        process = await asyncio.to_thread(_run, its)
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    return _Examiner(process, reader, writer)


def _run(standard_input: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "gateway.agency.run.examiner"],
        stdin=standard_input.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _schema(response_format: Mapping[str, Json] | None) -> bytes | None:
    match response_format and response_format.get("json_schema"):
        case {"schema": schema}:
            return msgspec.json.encode(schema)
        case _:
            return None
