"""A user's own channel: what changes in the user's lists, told within a second.

The rows say it all, so it does not matter which process writes them. Nothing is replayed: a reader
who comes, or comes back, asks the lists.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

import msgspec

from gateway.agency.model import Json
from gateway.agency.personal import sql_personal as sql
from gateway.agency.sessions.inbox import Inboxes, Waiting
from gateway.auth import Principal
from gateway.conversation.lists import sql_lists
from gateway.conversation.lists.lists import ConversationEntry, Listings
from gateway.conversation.rooms.membership import Invitation, Membership
from gateway.errors import Unavailable
from gateway.postgres.database import Database
from gateway.process.drain import Drain, end
from gateway.process.periods import regularly
from gateway.streams.feed import no_channel
from gateway.streams.follower import StreamEnd

LATEST: Final = 100
"""The conversations of a list that are looked at: those in which something was said last."""
INVITED: Final = 100
QUEUE: Final = 1000
"""News that may wait for a reader; one that is further behind is cut off, and asks the lists."""
READS: Final = 4
"""Readers for whom is looked at the same time: the pool is for those who write, too."""
EARLIER: Final = timedelta(seconds=5)
"""Clocks of a process and of the database may differ by so much."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What waits for the user, and the turns under way in the user's conversations."""

    inbox_count: int
    running: int


@dataclass(frozen=True, slots=True)
class InboxChanged:
    """`item` is what began to wait last, if that is new."""

    count: int
    item: Waiting | None


@dataclass(frozen=True, slots=True)
class Listed:
    entry: ConversationEntry


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A conversation that was deleted, or that the user has left."""

    conversation_id: UUID


@dataclass(frozen=True, slots=True)
class Invited:
    invitation: Invitation


@dataclass(frozen=True, slots=True)
class InvitationOver:
    """It was followed, turned down or withdrawn."""

    conversation_id: UUID


@dataclass(frozen=True, slots=True)
class TurnEnded:
    turn_id: UUID
    conversation_id: UUID
    responder: str
    state: str
    reply_interaction_id: UUID
    error: Mapping[str, Json] | None
    completed_at: datetime


Item: TypeAlias = Overview | InboxChanged | Listed | Unlisted | Invited | InvitationOver | TurnEnded


@dataclass(eq=False)
class NewsReader:
    """One reader, what it was told of, and what waits to be sent to it."""

    principal: Principal
    known: dict[UUID, int]
    invited: dict[UUID, Invitation]
    inbox: tuple[int, UUID | None]
    began: datetime = field(default_factory=lambda: datetime.now(UTC) - EARLIER)
    ending: StreamEnd | None = None
    _queue: deque[Item] = field(default_factory=deque)
    _waiting: asyncio.Future[None] | None = None

    def tell(self, item: Item) -> None:
        if self.ending is None:
            self._queue.append(item)
            if len(self._queue) > QUEUE:
                self.end(StreamEnd.SLOW)
            self._wake()

    def end(self, ending: StreamEnd) -> None:
        if self.ending is None:
            self.ending = ending
            if ending in (StreamEnd.SLOW, StreamEnd.RIGHTS):
                self._queue.clear()
            self._wake()

    async def next(self) -> Item | None:
        """The next news, as soon as there is any. None at the end."""
        while not self._queue:
            if self.ending is not None:
                return None
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._queue.popleft()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class News:
    """All who follow their own channel in this process."""

    def __init__(
        self,
        database: Database,
        inboxes: Inboxes,
        membership: Membership,
        drain: Drain,
        period: float,
    ) -> None:
        self._database = database
        self._inboxes = inboxes
        self._listings = Listings(database)
        self._membership = membership
        self._drain = drain
        self._period = period
        self._reading = asyncio.Semaphore(READS)
        self.readers: set[NewsReader] = set()

    @asynccontextmanager
    async def follow(self, key_id: str) -> AsyncIterator[NewsReader]:
        """Raises NotFound for a key that was revoked, Unavailable."""
        if self._drain.begun:
            raise Unavailable("The gateway is shutting down.")
        principal = (await self._principals([key_id])).get(key_id)
        if principal is None:
            raise no_channel()
        reader = NewsReader(
            principal,
            await self._latest(principal),
            await self._invitations(principal),
            await self._inboxes.newest(principal),
        )
        row = await self._database.fetchrow(sql.RUNS, list(reader.known))
        reader.tell(Overview(reader.inbox[0], 0 if row is None else row["running"]))
        self._take_in(reader)
        try:
            yield reader
        finally:
            self.readers.discard(reader)

    def _take_in(self, reader: NewsReader) -> None:
        self.readers.add(reader)
        if self._drain.begun:
            reader.end(StreamEnd.DRAIN)

    async def run(self) -> None:
        """Look, for ever. A look that fails closes no stream."""
        await regularly(self.look, self._period)

    async def look(self) -> None:
        there = [one for one in self.readers if one.ending is None]
        if not there:
            return
        found = await self._principals(list({one.principal.key_id for one in there}))
        looks = []
        for reader in there:
            if found.get(reader.principal.key_id) != reader.principal:
                reader.end(StreamEnd.RIGHTS)
            else:
                looks.append(self._look(reader))
        await asyncio.gather(*looks)

    async def _look(self, reader: NewsReader) -> None:
        async with self._reading:
            await self._look_at_lists(reader)
            await self._look_at_invitations(reader)
            await self._look_at_inbox(reader)

    async def _look_at_lists(self, reader: NewsReader) -> None:
        before, now = reader.known, await self._latest(reader.principal)
        changed = [one for one, version in now.items() if before.get(one) != version]
        missing = [one for one in before if one not in now]
        reader.known = now
        if not (changed or missing):
            return
        entries = await self._listings.some(reader.principal.user, [*changed, *missing])
        for one, entry in entries.items():
            if one in now:
                reader.tell(Listed(entry))
        for one in missing:
            if one not in entries:
                reader.tell(Unlisted(one))
        versions = [before.get(one, 0) for one in changed]
        for row in await self._database.fetch(sql.ENDED, changed, versions, reader.began):
            error = None if row["error"] is None else msgspec.json.decode(row["error"])
            reader.tell(
                TurnEnded(
                    row["id"],
                    row["conversation_id"],
                    row["responder"],
                    row["state"],
                    row["reply_interaction_id"],
                    error,
                    row["completed_at"],
                )
            )

    async def _look_at_invitations(self, reader: NewsReader) -> None:
        before, now = reader.invited, await self._invitations(reader.principal)
        reader.invited = now
        for one, invitation in now.items():
            if before.get(one) != invitation:
                reader.tell(Invited(invitation))
        for one in before:
            if one not in now:
                reader.tell(InvitationOver(one))

    async def _look_at_inbox(self, reader: NewsReader) -> None:
        before, now = reader.inbox, await self._inboxes.newest(reader.principal)
        reader.inbox = now
        if now == before:
            return
        count, newest = now
        item = None
        if newest is not None and newest != before[1]:
            item = await self._inboxes.one(reader.principal, newest)
        reader.tell(InboxChanged(count, item))

    async def _principals(self, keys: list[str]) -> dict[str, Principal]:
        rows = await self._database.fetch(sql.KEYS, keys)
        return {
            row["id"]: Principal(row["user"], frozenset(row["scopes"]), row["id"]) for row in rows
        }

    async def _latest(self, principal: Principal) -> dict[UUID, int]:
        rows = await self._database.fetch(sql_lists.LATEST, principal.user, LATEST)
        return {row["id"]: row["version"] for row in rows}

    async def _invitations(self, principal: Principal) -> dict[UUID, Invitation]:
        page = await self._membership.invitations(principal.user, INVITED, None)
        return {one.conversation_id: one for one in page.items}

    async def wind_down(self) -> None:
        """Say goodbye to all as soon as the process is told to end."""
        await self._drain.wait()
        for one in self.readers:
            one.end(StreamEnd.DRAIN)


@asynccontextmanager
async def open_news(
    database: Database, inboxes: Inboxes, membership: Membership, drain: Drain, period: float
) -> AsyncIterator[News]:
    """`period` is the time between two looks, in seconds."""
    news = News(database, inboxes, membership, drain, period)
    tasks = [
        asyncio.create_task(news.run(), name="look for news"),
        asyncio.create_task(news.wind_down(), name="wind news down"),
    ]
    try:
        yield news
    finally:
        await end(tasks)
