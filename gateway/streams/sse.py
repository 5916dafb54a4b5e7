"""A channel as Server-Sent Events: the only file of this room that knows HTTP.

The `id` is the version, and stands on the last event of a version: a reader that is cut in between
comes back with the version before and is told all of it again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from litestar.types import Receive, Send

from gateway.settings import Settings
from gateway.streams.feed import Feed
from gateway.streams.follower import Deltas, Follower, Moment, StreamEnd

log = logging.getLogger(__name__)

RETRY_MS = 1000, 3000
"""When a reader should come back. They are spread, or all would come back at once."""
WELCOME = b": welcome\n\n"
"""The first bytes, so that a reader that is told nothing yet knows that it is connected."""
CHUNK = 64 * 1024
"""Bytes. Versions that are told one after the other share a chunk up to this size."""
UNKEPT = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Headers of every stream of events: neither a cache nor a proxy is to hold any of it back."""
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    *((name.lower().encode(), value.encode()) for name, value in UNKEPT.items()),
]


@dataclass(frozen=True, slots=True)
class Pace:
    """Of every stream of events, in seconds: between two pings, and until a reader that takes
    nothing is cut off."""

    ping: float
    send: float

    @classmethod
    def of(cls, settings: Settings) -> Pace:
        return cls(settings.ping, settings.send_timeout)


class Audience(Protocol):
    """Whoever is told something, until there is an ending."""

    ending: StreamEnd | None

    def end(self, ending: StreamEnd) -> None: ...


async def respond(
    reader: Audience,
    pieces: AsyncGenerator[bytes, None],
    pace: Pace,
    receive: Receive,
    send: Send,
) -> None:
    """Send the pieces until they or the reader end.

    Thousands of these wait at the same time, so one is a coroutine, a task that waits for the
    reader to leave, and a timer: `EventSourceResponse` with its four tasks takes 25 KB more.
    """
    watching = asyncio.create_task(_watch(reader, receive))
    line = _Line(send, reader, pace)
    try:
        await line.open()
        await line.say(WELCOME)
        try:
            while await line.tell(await anext(pieces, b"")):
                pass
        finally:
            await pieces.aclose()
        await line.say(f": goodbye, {(reader.ending or StreamEnd.OVER).value}\n\n".encode())
        await line.close()
    except TimeoutError:
        log.info("a reader stopped reading and was cut off")
    finally:
        line.hang_up()
        watching.cancel()


async def _watch(reader: Audience, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.end(StreamEnd.GONE)


class _Line:
    """The way to one reader. It is pinged, so that neither a proxy on the way nor the reader takes
    it for dead, and so that a reader that is gone is noticed. Raises TimeoutError."""

    __slots__ = ("_invited", "_pace", "_pinging", "_reader", "_send", "_timer")

    def __init__(self, send: Send, reader: Audience, pace: Pace) -> None:
        self._send = send
        self._reader = reader
        self._pace = pace
        self._invited = False
        self._pinging: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        async with asyncio.timeout(self._pace.send):
            await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        self._arm()

    async def say(self, chunk: bytes) -> bool:
        """Returns False if there was nothing to say."""
        if chunk and self._reader.ending is not StreamEnd.GONE:
            async with asyncio.timeout(self._pace.send):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        return bool(chunk)

    async def tell(self, events: bytes) -> bool:
        """Say events, the first one with when to come back. That alone would be an event without
        data to some readers."""
        if not self._invited and events:
            retry = random.randint(*RETRY_MS)  # noqa: S311  no secret
            told = inviting(events, retry)
            self._invited, events = told != events, told
        return await self.say(events)

    async def close(self) -> None:
        async with asyncio.timeout(self._pace.send):
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def hang_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._pinging is not None:
            self._pinging.cancel()

    def _arm(self) -> None:
        self._pinging = None
        self._timer = asyncio.get_running_loop().call_later(self._pace.ping, self._begin_ping)

    def _begin_ping(self) -> None:
        self._pinging = asyncio.create_task(self._ping(), name="ping a reader")

    async def _ping(self) -> None:
        try:
            await self.say(b": ping\n\n")
        except TimeoutError:
            self._reader.end(StreamEnd.SLOW)
        else:
            self._arm()


async def changes(feed: Feed, follower: Follower) -> AsyncGenerator[bytes, None]:
    """Yields what the follower of a conversation is told. It keeps nothing while it waits: the last
    snapshot may be large."""
    if follower.full:
        yield b"".join(map(frame, follower.first()))
        async for moment in feed.wholes(follower):
            yield frame(moment)
    else:
        while (chunks := _chunks(await follower.next())) is not None:
            while chunks:
                yield chunks.pop()


def frame(moment: Moment) -> bytes:
    if not moment.frame:
        moment.frame = b"".join(_lines(moment))
    return moment.frame


def event(name: str, data: bytes) -> bytes:
    """JSON holds no line breaks, so nothing that was said can end its event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def inviting(events: bytes, retry: int) -> bytes:
    """Events with `retry` in the block of the first that has data; unchanged if none has."""
    data = events.find(b"data: ")
    if data < 0:
        return events
    start = events.rfind(b"\n\n", 0, data)
    place = 0 if start < 0 else start + 2
    return b"%bretry: %d\n%b" % (events[:place], retry, events[place:])


def _lines(moment: Moment) -> Iterator[bytes]:
    place = b"id: %d\n" % moment.version
    if not moment.notices:
        yield place + b"\n"
    last = len(moment.notices) - 1
    for number, notice in enumerate(moment.notices):
        head = place if number == last else b""
        yield head + event(notice.name, notice.data)


def _chunks(told: Sequence[Moment] | Deltas | None) -> list[bytes] | None:
    """Returns what there is to send, the first piece last, or None at the end."""
    match told:
        case None:
            return None
        case Deltas(data):
            return [b"".join(event("interaction.delta", one) for one in data)]
        case moments:
            return list(_gathered(moments))[::-1]


def _gathered(moments: Sequence[Moment]) -> Iterator[bytes]:
    pieces: list[bytes] = []
    size = 0
    for moment in moments:
        pieces.append(frame(moment))
        size += len(pieces[-1])
        if size >= CHUNK:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)
