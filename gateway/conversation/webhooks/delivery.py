"""Sends what is due to webhooks, and keeps what their receivers answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import aiohttp

from gateway import ids
from gateway.conversation.webhooks import sql_webhooks as sql
from gateway.conversation.webhooks.payloads import body
from gateway.conversation.webhooks.signing import headers
from gateway.network.egress import Guard, was_refused
from gateway.postgres.database import Database, Row
from gateway.process.drain import end
from gateway.process.periods import regularly

PAUSES: Final = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 28800)
"""Seconds before the next attempt after each that failed; within a day, then no more."""
JITTER: Final = 0.1
GIVE_UP_S: Final = 86400.0
ANSWER_S: Final = 15.0
"""The time for one attempt."""
LEASE_S: Final = 20.0
"""Within this an attempt is over, or its process is lost: then another makes it."""
AT_ONCE: Final = 50
OF_ONE: Final = 5
"""Attempts at one webhook that are under way at once: a slow receiver keeps no other waiting."""
EVENTS: Final = 200
"""Events that become deliveries in one statement."""
KEPT_DAYS: Final = 30
ANSWER_LENGTH: Final = 500
"""Characters of an answer that are kept."""
PRUNE_S: Final = 3600.0
LETTING_GO_S: Final = 2.0
GONE: Final = 410


@dataclass(frozen=True, slots=True)
class _Outcome:
    """`error` is None if the receiver has taken it."""

    status: int | None
    answer: str | None
    error: str | None


class Deliverer:
    """The deliveries of one process. Each is made by whichever process claims it first."""

    def __init__(self, database: Database, session: aiohttp.ClientSession) -> None:
        self._database = database
        self._session = session
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: Counter[UUID] = Counter()

    async def look(self) -> None:
        """Make deliveries of what happened, and begin those that are due."""
        while await self._fan_out() == EVENTS:
            pass
        room = AT_ONCE - len(self._tasks)
        if room <= 0:
            return
        busy = [one for one, count in self._under_way.items() if count >= OF_ONE]
        for row in await self._database.fetch(sql.CLAIM, room, OF_ONE, busy, LEASE_S):
            self._under_way[row["webhook_id"]] += 1
            task = asyncio.create_task(self._deliver(row), name=f"delivery {row['id']}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fan_out(self) -> int:
        """Returns how many events have become deliveries."""
        if await self._database.fetchrow(sql.ANY_EVENT) is None:
            return 0  # as mostly: one statement, and no transaction
        async with self._database.transaction():
            events = [row["id"] for row in await self._database.fetch(sql.EVENTS, EVENTS)]
            if events:
                told = await self._database.fetch(sql.TOLD, events)
                await self._database.execute(
                    sql.FAN_OUT,
                    events,
                    [ids.new() for _ in told],
                    [row["webhook_id"] for row in told],
                    [row["event"] for row in told],
                    [body(row) for row in told],
                )
        return len(events)

    async def prune(self) -> None:
        await self._database.execute(sql.PRUNE, KEPT_DAYS)

    async def close(self) -> None:
        """Let what is under way end. What does not is sent again by another process."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LETTING_GO_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, row: Row) -> None:
        try:
            outcome = await self._attempt(row)
            failed = outcome.error is not None
            pause = _pause(row["attempts"], row["age"]) if failed else None
            if outcome.status == GONE:
                pause = None
                await self._database.execute(sql.DISABLE, row["webhook_id"])
            await self._database.execute(
                sql.ATTEMPTED,
                row["id"],
                row["attempts"],
                outcome.status,
                outcome.answer,
                outcome.error,
                pause,
            )
        finally:
            self._under_way[row["webhook_id"]] -= 1
            if not self._under_way[row["webhook_id"]]:
                del self._under_way[row["webhook_id"]]

    async def _attempt(self, row: Row) -> _Outcome:
        sent = row["body"].encode()
        signed = headers(row["secret"], ids.show(ids.DELIVERY, row["id"]), int(time.time()), sent)
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._session.post(
                    row["url"],
                    data=sent,
                    headers={"content-type": "application/json", **signed},
                    allow_redirects=False,
                ) as response,
            ):
                answer = await response.content.read(4 * ANSWER_LENGTH)
        except TimeoutError:
            return _Outcome(None, None, "timeout")
        except aiohttp.ClientError as error:
            refused = was_refused(error)
            return _Outcome(None, None, "address_refused" if refused else "no_connection")
        except ValueError:  # a host that no name server could be asked for
            return _Outcome(None, None, "no_connection")
        text = answer.decode(errors="replace").replace("\0", "")[:ANSWER_LENGTH]
        taken = 200 <= response.status < 300
        return _Outcome(response.status, text, None if taken else "refused")


def _pause(attempts: int, age: float) -> float | None:
    """Seconds until the next attempt, or None if there is none."""
    if attempts > len(PAUSES):
        return None
    pause = PAUSES[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return pause if age + pause < GIVE_UP_S else None


@asynccontextmanager
async def open_deliverer(
    database: Database, guard: Guard, period: float
) -> AsyncIterator[Deliverer]:
    """A deliverer that looks every `period` seconds."""
    async with aiohttp.ClientSession(
        connector=guard.connector(),
        headers={"Accept-Encoding": "identity", "User-Agent": "agency-gateway"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        deliverer = Deliverer(database, session)
        keepers = [
            asyncio.create_task(regularly(deliverer.look, period), name="deliver"),
            asyncio.create_task(regularly(deliverer.prune, PRUNE_S), name="prune deliveries"),
        ]
        try:
            yield deliverer
        finally:
            await end(keepers)
            await deliverer.close()
