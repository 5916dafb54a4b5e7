"""What agents say when all goes well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import KW_ONLY, dataclass
from typing import TypedDict, Unpack

from tests.scripted.exchange import Exchange, completion


class How(TypedDict, total=False):
    """How a reply comes: see `Reply`. `usage` is (prompt tokens, completion tokens)."""

    usage: tuple[int, int] | None
    finish: str | None
    chunk: int
    delay: float
    pace: float
    hold: asyncio.Event
    hold_after: int


def say(to: int, text: str, **how: Unpack[How]) -> Reply:
    """One envelope."""
    return Reply(envelope(to, text), **how)


def say_many(*envelopes: tuple[int, str], **how: Unpack[How]) -> Reply:
    """Several envelopes at once: `say_many((143, "Why?"), (144, "How?"))`."""
    return Reply(f"[{', '.join(envelope(to, text) for to, text in envelopes)}]", **how)


def text(raw: str, **how: Unpack[How]) -> Reply:
    """The content as it is, be it an envelope or not."""
    return Reply(raw, **how)


def envelope(to: int, text: str) -> str:
    return json.dumps({"to": to, "context": text}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer.

    `chunk` is the number of characters in a delta, `delay` the seconds before the first byte,
    `pace` the seconds between deltas. `hold` is awaited before the first byte, or after
    `hold_after` deltas if that is not 0 (a plain JSON body always waits before the first byte).
    Without `usage` none is sent, without `finish` the finish reason stays null.
    """

    content: str
    _: KW_ONLY
    usage: tuple[int, int] | None = (10, 5)
    finish: str | None = "stop"
    chunk: int = 7
    delay: float = 0.0
    pace: float = 0.0
    hold: asyncio.Event | None = None
    hold_after: int = 0

    async def play(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.delay)
        streamed = exchange.call.streams
        if self.hold is not None and not (streamed and self.hold_after):
            await self.hold.wait()
        if streamed:
            await exchange.stream(self._deltas(), self.finish, self.usage)
        else:
            await exchange.json(completion(self.content, self.finish, self.usage))

    async def _deltas(self) -> AsyncIterator[str]:
        for count, start in enumerate(range(0, len(self.content), self.chunk)):
            if self.hold is not None and self.hold_after and count == self.hold_after:
                await self.hold.wait()
            if self.pace and count:
                await asyncio.sleep(self.pace)
            yield self.content[start : start + self.chunk]
