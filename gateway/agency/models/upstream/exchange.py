"""Takes the answer out of one response of an upstream, as a whole or as it comes."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from gateway.agency.model import OnPieces, Text
from gateway.agency.models.upstream import faults
from gateway.agency.models.upstream.sse import EventReader, EventTooLong
from gateway.agency.models.upstream.wire import MAX_BODY, UpstreamAnswer
from gateway.agency.speech.thoughts import Thoughts

AFTER_FINISH_S: Final = 5.0
"""The wait for the usage, which comes after the finish reason. The answer is complete without."""

AFTER_DONE_S: Final = 0.1
"""The wait for the body's end after `[DONE]`, without which the connection can't be used again."""

ERROR_BODY_S: Final = 2.0
ERROR_BODY: Final = 64 << 10
"""Bytes of an error's body that are read for its code."""


class PieceListener:
    """Hands text on, and knows whether any was: then the call can't be made a second time."""

    def __init__(self, on_pieces: OnPieces) -> None:
        self._on_pieces = on_pieces
        self._thoughts: Thoughts | None = None
        self.heard = False
        self.enough = False
        """Whether no more is wanted."""

    def begin(self, thoughts: Thoughts | None) -> None:
        """An answer comes, out of which these are kept."""
        self._thoughts = thoughts

    def wants_more(self, deltas: list[str]) -> bool:
        if self._thoughts is not None:
            deltas = [said for delta in deltas if (said := self._thoughts.feed(delta))]
        return self.tell(deltas)

    def tell(self, deltas: list[str]) -> bool:
        if deltas:
            self.heard = True
            self.enough = not self._on_pieces([Text(delta) for delta in deltas])
        return not self.enough


async def read(response: aiohttp.ClientResponse, idle: float) -> UpstreamAnswer:
    """A whole JSON answer. Raises UpstreamError."""
    await _check(response, "application/json")
    answer, _ = await _read(response, idle)
    return answer


async def _read(response: aiohttp.ClientResponse, idle: float) -> tuple[UpstreamAnswer, list[str]]:
    answer = UpstreamAnswer(whole=True)
    said = answer.take([await body(response, idle)])
    if answer.failure is not None:
        raise answer.failure
    if not answer.spoken:
        raise faults.invalid()
    return answer, said


async def listen(
    response: aiohttp.ClientResponse, listener: PieceListener, idle: float
) -> UpstreamAnswer:
    """A stream, up to its end or to where the listener has had enough. Some upstreams answer with
    JSON nevertheless, if only for an error. Raises UpstreamError."""
    if response.content_type.lower() == "application/json" and 200 <= response.status < 300:
        answer, said = await _read(response, idle)
        listener.wants_more(said)
        return answer
    await _check(response, "text/event-stream")
    answer = UpstreamAnswer()
    try:
        await _follow(response.content, answer, listener, idle)
    except EventTooLong:
        raise faults.too_large() from None
    except TimeoutError:
        if not answer.finish_reason:
            raise faults.timed_out(idle, idle=True) from None
    except aiohttp.ClientError:
        if not answer.finish_reason:
            raise faults.truncated() from None
    return answer


async def _follow(
    content: aiohttp.StreamReader, answer: UpstreamAnswer, listener: PieceListener, idle: float
) -> None:
    events = EventReader()
    clock = asyncio.get_running_loop().time
    async with asyncio.timeout(idle) as patience:
        while piece := await content.readany():
            if not listener.wants_more(answer.take(events.feed(piece))):
                return
            if answer.failure is not None:
                raise answer.failure
            if answer.done and not answer.finish_reason:
                break
            patience.reschedule(clock() + _patience(answer, idle))
    if not answer.finish_reason:
        raise faults.truncated()


def _patience(answer: UpstreamAnswer, idle: float) -> float:
    if answer.done:
        return AFTER_DONE_S
    return min(idle, AFTER_FINISH_S) if answer.finish_reason else idle


async def _check(response: aiohttp.ClientResponse, wanted: str) -> None:
    if not 200 <= response.status < 300:
        retry_after = faults.seconds_of(response.headers.get("Retry-After"))
        raise faults.of_status(response.status, await error_body(response), retry_after)
    if response.content_type.lower() != wanted:
        raise faults.bad_content_type(wanted)


async def error_body(response: aiohttp.ClientResponse) -> bytes:
    """Returns the part of an error's body that comes soon. It serves for the error's code alone."""
    try:
        async with asyncio.timeout(ERROR_BODY_S):
            return await response.content.read(ERROR_BODY)
    except (aiohttp.ClientError, TimeoutError):
        return b""


async def body(response: aiohttp.ClientResponse, idle: float) -> bytes:
    """The whole body, of at most MAX_BODY bytes. Raises UpstreamError."""
    clock = asyncio.get_running_loop().time
    read = bytearray()
    try:
        async with asyncio.timeout(idle) as patience:
            while piece := await response.content.readany():
                read += piece
                if len(read) > MAX_BODY:
                    raise faults.too_large()
                patience.reschedule(clock() + idle)
    except TimeoutError:
        raise faults.timed_out(idle, idle=True) from None
    except aiohttp.ClientError:
        raise faults.truncated() from None
    return bytes(read)
