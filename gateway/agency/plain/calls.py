"""One row for each call of a plain model: who called which, when, and what it used. No words.

The row is written before the call and completed after it; `docs/decisions/0014` says why.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from gateway import ids
from gateway.agency.plain.counting import CountedTokens
from gateway.agency.plain.request import PlainRequest
from gateway.agency.plain.sql_calls import BEGIN, END
from gateway.errors import Unavailable
from gateway.postgres.database import Database

log = logging.getLogger(__name__)

PAUSES: Final = (0.5, 2.0, 5.0)
"""Seconds before each further try to complete a row: a database that fails over is back by then."""


@dataclass(frozen=True, slots=True)
class CallEnding:
    """How a call ended. `status` is the HTTP status that its client got or, once an answer had
    begun, would have got; `tokens` is None if no model was reached."""

    status: int
    error: str | None
    tokens: CountedTokens | None
    at: datetime


class Calls:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, request: PlainRequest, key_id: str) -> UUID | None:
        """The id of the new row; None if the key is gone. Raises Unavailable."""
        call_id = ids.new()
        row = await self._database.fetchrow(
            BEGIN,
            call_id,
            key_id,
            request.end_user,
            request.model,
            request.provider,
            request.streamed,
        )
        return None if row is None else call_id

    async def end(self, call_id: UUID, ending: CallEnding) -> None:
        """Complete the row. If that fails, or takes too long, a log line holds what it lacks."""
        written = False
        try:
            await self._persist(call_id, ending)
            written = True
        finally:
            if not written:
                told = {"call": str(call_id), "ending": ending}
                log.error("a plain call's row could not be completed", extra=told)

    async def _persist(self, call_id: UUID, ending: CallEnding) -> None:
        for pause in PAUSES:
            try:
                return await self._end(call_id, ending)
            except Unavailable:
                log.warning("a plain call's row is tried again", extra={"call": str(call_id)})
            await asyncio.sleep(pause)
        return await self._end(call_id, ending)

    async def _end(self, call_id: UUID, ending: CallEnding) -> None:
        used = ending.tokens
        counts = (
            (None, None, None, False)
            if used is None
            else (used.input, used.cached, used.output, used.counted)
        )
        await self._database.execute(END, call_id, ending.status, ending.error, *counts, ending.at)
