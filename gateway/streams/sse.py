"""A channel as Server-Sent Events: the only file of this room that knows HTTP.

The `id` is the version, and stands on the last event of a version: a reader that is cut in between
comes back with the version before and is told all of it again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import cast

from litestar.types import ASGIApp, Receive, Scope, Send
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError

from gateway.streams.feed import Feed
from gateway.streams.follower import Deltas, Ending, Follower, Moment

log = logging.getLogger(__name__)

PING_S = 15
SEND_S = 5
"""A reader that takes nothing for so long is cut off."""
RETRY_MS = 1000, 3000
"""When a reader should come back. They are spread, or all would come back at once."""
CHUNK = 64 * 1024
"""Bytes. Versions that are told one after the other share a chunk up to this size."""


async def respond(
    feed: Feed, follower: Follower, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send what the follower is told until one of the two ends."""
    response = EventSourceResponse(
        _stream(feed, follower),
        headers={"cache-control": "no-cache"},
        sep="\n",
        ping=PING_S,
        send_timeout=SEND_S,
    )
    try:
        await cast("ASGIApp", response)(scope, receive, send)
    except SendTimeoutError:
        log.info("a reader stopped reading and was cut off")


async def _stream(feed: Feed, follower: Follower) -> AsyncIterator[bytes]:
    yield b"retry: %d\n\n" % random.randint(*RETRY_MS)  # noqa: S311  no secret
    if follower.full:
        for chunk in _chunks(follower.first()):
            yield chunk
        async for moment in feed.wholes(follower):
            yield frame(moment)
    else:
        while (told := await follower.next()) is not None:
            if isinstance(told, Deltas):
                yield b"".join(b"event: interaction.delta\ndata: %b\n\n" % one for one in told.data)
            else:
                for chunk in _chunks(told):
                    yield chunk
    ending = follower.ending or Ending.OVER
    yield f": goodbye, {ending.value}\n\n".encode()


def frame(moment: Moment) -> bytes:
    if not moment.frame:
        moment.frame = b"".join(_lines(moment))
    return moment.frame


def _lines(moment: Moment) -> Iterator[bytes]:
    """JSON holds no line breaks, so nothing that was said can end its event."""
    place = b"id: %d\n" % moment.version
    if not moment.notices:
        yield place + b"\n"
    last = len(moment.notices) - 1
    for number, notice in enumerate(moment.notices):
        head = place if number == last else b""
        yield b"%bevent: %b\ndata: %b\n\n" % (head, notice.name.encode(), notice.data)


def _chunks(moments: Sequence[Moment]) -> Iterator[bytes]:
    gathered: list[bytes] = []
    size = 0
    for moment in moments:
        gathered.append(frame(moment))
        size += len(gathered[-1])
        if size >= CHUNK:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)
