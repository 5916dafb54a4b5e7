"""The plain models of a process: what is offered, the calls in progress, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from gateway.agency.models.passing.passage import Listed
from gateway.agency.models.upstream.client import Upstream
from gateway.agency.plain.call import PassedCall, Uncounted
from gateway.agency.plain.calls import Calls
from gateway.agency.plain.offer import Offer
from gateway.agency.plain.request import PlainRequest
from gateway.auth import Principal
from gateway.errors import NotFound
from gateway.postgres.database import Database
from gateway.process.drain import Drain, end

TOTAL_S: Final = 600.0
"""Seconds for all of a call, which is how long OpenAI's own SDKs wait."""

LAST_S: Final = 5.0
"""What calls in progress get when the process is told to end, as turns do."""

ROWS_S: Final = 5.0
"""How long the rows that are still to be completed are waited for then."""


class PlainModels:
    """`upstream` is None in a rehearsal, which has none to offer."""

    def __init__(self, upstream: Upstream | None, names: Sequence[str], calls: Calls) -> None:
        self._upstream = upstream
        self._offer = Offer(names, upstream.models) if upstream is not None and names else None
        self._calls = calls
        self._uncounted = Uncounted()
        self.total = TOTAL_S
        self.last = LAST_S
        self._open: set[PassedCall] = set()
        self._settling: set[asyncio.Task[None]] = set()

    async def listed(self) -> list[Listed]:
        """Raises UpstreamError if the upstream's list could never be read."""
        return [] if self._offer is None else await self._offer.models()

    async def find(self, name: str) -> Listed:
        """Raises NotFound, or UpstreamError as `listed` does."""
        found = None if self._offer is None else await self._offer.find(name)
        if found is None:
            raise NotFound(
                f"There is no model {name[:64]!r} here. An agency is named agency/<id>.",
                param="model",
                code="model_not_found",
            )
        return found

    async def begin(self, request: PlainRequest, principal: Principal) -> PassedCall | None:
        """A call, with its row; None if the key is gone. `end` must be called in the end. Raises
        NotFound, UpstreamError, and Unavailable if no row can be written."""
        await self.find(request.model)
        if self._upstream is None:
            raise LookupError("a model is offered, and there is no upstream")
        call_id = await self._calls.begin(request, principal.key_id)
        if call_id is None:
            return None
        call = PassedCall(call_id, request, self._upstream, self._uncounted, self.total)
        self._open.add(call)
        return call

    def end(self, call: PassedCall) -> None:
        """Settle a call whose answer was sent, or whose client has gone. Nobody waits for the
        row."""
        self._open.discard(call)
        task = asyncio.create_task(call.settle(self._calls), name="settle a plain call")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def wind_down(self, drain: Drain) -> None:
        """When the process has to end, calls in progress get a few seconds more."""
        await drain.wait()
        await asyncio.sleep(self.last)
        for call in self._open:
            call.stop()

    async def close(self) -> None:
        if self._settling:
            _, late = await asyncio.wait(self._settling, timeout=ROWS_S)
            await end(late)


@asynccontextmanager
async def open_plain(
    upstream: Upstream | None, names: Sequence[str], database: Database, drain: Drain
) -> AsyncIterator[PlainModels]:
    models = PlainModels(upstream, names, Calls(database))
    keeper = asyncio.create_task(models.wind_down(drain), name="wind plain calls down")
    try:
        yield models
    finally:
        await end([keeper])
        await models.close()
