"""One call of a plain model, from the client's body to the row that is kept of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from uuid import UUID

from gateway.agency.models.passing.passage import UpstreamResponse
from gateway.agency.models.passing.passed import Passed, passed_report
from gateway.agency.models.upstream import faults
from gateway.agency.models.upstream.client import Upstream
from gateway.agency.models.upstream.sse import EventReader
from gateway.agency.plain.calls import CallEnding, Calls
from gateway.agency.plain.counting import Counting
from gateway.agency.plain.request import PlainRequest
from gateway.errors import GatewayError, Unavailable, UpstreamError

log = logging.getLogger(__name__)

USAGE_S: Final = 5.0
"""How long the usage of an answer that is complete is waited for, once its client is gone."""

CLIENT_GONE: Final = 499
MAX_REMEMBERED: Final = 1000


class Uncounted:
    """Models whose upstream refuses to be asked for the usage of a stream."""

    def __init__(self) -> None:
        self._models: set[str] = set()

    def __contains__(self, model: str) -> bool:
        return model in self._models

    def add(self, model: str) -> None:
        if len(self._models) < MAX_REMEMBERED:
            self._models.add(model)
            log.info("the upstream takes no stream_options", extra={"model": model})


class PassedCall:
    """`whole` or `events` gives the answer; `settle` must be awaited in the end, whatever became of
    it. Both raise UpstreamError, and Unavailable once the process has to end."""

    def __init__(
        self,
        call_id: UUID,
        request: PlainRequest,
        upstream: Upstream,
        uncounted: Uncounted,
        seconds: float,
    ) -> None:
        self.request = request
        self._id = call_id
        self._upstream = upstream
        self._uncounted = uncounted
        self._counting = Counting(request.choices)
        self._reader = EventReader()
        self._passage: UpstreamResponse | None = None
        self._reached = False
        self._adds = False
        self._status, self._error = CLIENT_GONE, ""  # unless something else becomes of it
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._waiting: asyncio.Timeout | None = None
        self._stopped = False

    async def whole(self) -> bytes:
        """The answer as the upstream wrote it."""
        async with self._bounded():
            passage = await self._open()
            body = await passage.whole()
            self._counting.take(body)
            self._refuse_report(passage)
        self._status = HTTPStatus.OK
        return body

    async def events(self) -> bytes:
        """The next events of a stream as the upstream wrote them; empty at the end."""
        async with self._bounded():
            passage = self._passage or await self._open()
            self._refuse_report(passage)
            while not self._counting.done and (blocks := await self._next(passage)):
                if shown := self._read(blocks):
                    return shown
                self._refuse_report(passage)
            if not (self._counting.done or self._counting.finished):
                raise faults.truncated()
        return b""

    def stop(self) -> None:
        """End the call now: the process has to."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.reschedule(0)

    async def settle(self, calls: Calls) -> None:
        """Close the upstream's answer and complete the row."""
        at = datetime.now(UTC)
        if self._passage is not None:
            await self._close(self._passage)
        tokens = None
        if self._reached:  # the estimate reads all that was sent
            messages = self.request.members.get("messages")
            tokens = await asyncio.to_thread(self._counting.tokens, messages)
        await calls.end(self._id, CallEnding(self._status, self._error or None, tokens, at))

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """Keeps the deadline, and takes the row's status from what is raised."""
        try:
            async with asyncio.timeout_at(self._deadline) as self._waiting:
                if self._stopped:
                    raise _ending()
                yield
        except TimeoutError:
            error = _ending() if self._stopped else faults.timed_out(self._seconds, idle=False)
            self._fail(error)
            raise error from None
        except GatewayError as error:
            self._fail(error)
            raise
        finally:
            self._waiting = None

    def _fail(self, error: GatewayError) -> None:
        self._status, self._error = error.status, error.code or ""

    async def _open(self) -> UpstreamResponse:
        model, request = self.request.model, self.request
        self._adds = request.streamed and not request.counts and model not in self._uncounted
        try:
            self._passage = await self._ask(counted=self._adds)
        except Passed as refused:
            if not self._adds or not _may_mean_usage(refused):
                raise
            self._adds = False
            self._passage = await self._ask(counted=False)
            self._uncounted.add(model)
        return self._passage

    async def _ask(self, *, counted: bool) -> UpstreamResponse:
        """Unless it refuses, or can't be reached, the upstream's model may be at work."""
        self._reached = True
        try:
            body = self.request.body(counted=counted)
            return await self._upstream.pass_on(body, streams=self.request.streamed)
        except GatewayError as error:
            self._reached = error.code == "upstream_timeout"
            raise

    async def _next(self, passage: UpstreamResponse) -> list[bytes]:
        """Returns the next events. After the last finish reason only the usage comes, which may be
        missing."""
        if not self._counting.finished:
            return await passage.events()
        try:
            async with asyncio.timeout(USAGE_S):
                return await passage.events()
        except (UpstreamError, TimeoutError):
            log.info("a plain call's usage did not come", extra={"model": self.request.model})
            return []

    def _read(self, blocks: Sequence[bytes]) -> bytes:
        """Read events as they pass, up to an error; without the usage that only we asked for."""
        shown = []
        for block in blocks:
            (payload,) = self._reader.feed(block) or (None,)
            usage_alone = payload is not None and self._counting.take(payload)
            if self._counting.error is not None:
                break
            if not (usage_alone and self._adds):
                shown.append(block)
        if self._counting.done or self._counting.finished:
            self._status = HTTPStatus.OK
        return b"".join(shown)

    def _refuse_report(self, passage: UpstreamResponse) -> None:
        """An error under status 200."""
        if self._counting.error is not None:
            self._reached = self._counting.spoken
            raise passed_report(self._counting.error, passage.secret)

    async def _close(self, passage: UpstreamResponse) -> None:
        """A model that is still at work stops. One that has ended may yet tell the usage, and the
        connection can be used again."""
        counting = self._counting
        if self._status != HTTPStatus.OK:
            return passage.cut()
        if self.request.streamed:
            while not counting.done and counting.counted is None:
                if not (blocks := await self._next(passage)):
                    break
                self._read(blocks)
        return await passage.close()


def _ending() -> Unavailable:
    return Unavailable("The gateway is shutting down; try again.")


def _may_mean_usage(refused: Passed) -> bool:
    """Returns True if the upstream may have refused `stream_options`, which the client did not
    send."""
    told = f"{refused.param or ''} {refused.message}"
    return refused.status in (400, 422) and (
        refused.param is None or "stream_options" in told or "include_usage" in told
    )
