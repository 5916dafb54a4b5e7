"""How much a JSON body may hold, counted before it is read.

20 MiB of one text are read in a moment, 20 MiB of empty lists in ten seconds, and whoever reads
them lets nobody else have a turn. So a body is bounded by what stands in it, at every door alike.
"""

from __future__ import annotations

import asyncio
from typing import Final

from litestar import Request
from litestar.datastructures import State

from gateway.auth import Principal
from gateway.errors import InvalidRequest

MOST_MEMBERS: Final = 100_000
"""Lists, objects, and members of objects."""
MOST_VALUES: Final = 1_000_000
"""Commas: a number of a list costs a tenth of a member."""
SLICE: Final = 1 << 18
"""Bytes that are counted at once, about a millisecond."""


class Counted(Request[Principal, str, State]):
    """A request whose body holds no more than can be read in a moment.

    `body`, and so `json`, raises InvalidRequest. Uploads come as forms, which are streams.
    """

    __slots__ = ("_counted",)

    async def body(self) -> bytes:
        body = await super().body()
        if len(body) > MOST_MEMBERS and not getattr(self, "_counted", False):
            await _count(body)
            self._counted = True
        return body


async def _count(body: bytes) -> None:
    count, start = Count(), 0
    while start < len(body):
        start = count.add(body, start)
        if count.members > MOST_MEMBERS:
            raise InvalidRequest(
                f"A body holds at most {MOST_MEMBERS:,} lists, objects and members of objects.",
                code="body_too_full",
            )
        if count.values > MOST_VALUES:
            raise InvalidRequest(
                f"A body holds at most {MOST_VALUES:,} values.", code="body_too_full"
            )
        await asyncio.sleep(0)  # others have their turn in between


class Count:
    """What stands in a JSON text outside of its strings, piece by piece."""

    __slots__ = ("_within", "members", "values")

    def __init__(self) -> None:
        self.members = self.values = 0
        self._within = False

    def add(self, body: bytes, start: int, size: int = SLICE) -> int:
        """Count `size` bytes. Where the next ones start: no escape is cut in two."""
        piece = body[start : start + size]
        end = start + len(piece)
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece, end = piece[:-1], end + 1
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        pieces = piece.split(b'"')
        outside = b"".join(pieces[self._within :: 2])
        self._within ^= len(pieces) % 2 == 0
        self.members += sum(map(outside.count, (b"[", b"{", b":")))
        self.values += outside.count(b",")
        return end
