"""Documents that are followed in this process: how far they are, read for all of them at once.

The rows say it all, so it does not matter which process indexes, nor whether there is a broker. Of
what a reader was not told yet only the newest is kept: each state of a document stands for itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from gateway.errors import Unavailable
from gateway.postgres.database import Database, Row
from gateway.process.drain import Drain, end
from gateway.process.periods import regularly
from gateway.retrieval.documents import sql
from gateway.retrieval.documents.shelves import Document, DocumentState, document_of
from gateway.streams.feed import Position, no_channel
from gateway.streams.follower import StreamEnd

log = logging.getLogger(__name__)

PATIENCE_S = 0.1
"""Looks that this process's own writing asks for are at least so far apart."""


@dataclass(frozen=True, slots=True)
class Onlooker:
    """Who follows which document, with which key."""

    document_id: UUID
    key_id: str


@dataclass(frozen=True, slots=True)
class Sight:
    """A document as it was found; None is a deleted one. `version` rises when it is begun again and
    when it ends, and `mark` is another one after each writing of its row."""

    document: Document | None
    version: int
    mark: str = ""

    @property
    def ended(self) -> bool:
        return self.document is None or self.document.state in (
            DocumentState.READY,
            DocumentState.FAILED,
        )


class Lookout:
    """One reader of a document's channel, and what it was not told yet."""

    def __init__(self, onlooker: Onlooker, sight: Sight) -> None:
        self.onlooker = onlooker
        self.sight = sight
        self.ending = StreamEnd.OVER if sight.ended else None
        self._untold = True
        self._waiting: asyncio.Future[None] | None = None

    def show(self, sight: Sight) -> None:
        if self.ending is not None:
            return
        self._untold = self._untold or sight.document != self.sight.document
        self.sight = sight
        if sight.ended:
            self.end(StreamEnd.OVER)
        self._wake()

    def end(self, ending: StreamEnd) -> None:
        if self.ending is not None:
            return
        self.ending = ending
        if ending in (StreamEnd.SLOW, StreamEnd.RIGHTS):
            self._untold = False
        self._wake()

    async def next(self) -> Sight | None:
        """The newest, as soon as there is something new. None at the end."""
        while True:
            if self._untold:
                self._untold = False
                return self.sight
            if self.ending is not None:
                return None
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Watch:
    def __init__(self, database: Database, drain: Drain, look: float) -> None:
        self._every = look
        self._database = database
        self._drain = drain
        self.lookouts: set[Lookout] = set()
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def follow(self, onlooker: Onlooker, position: Position) -> AsyncIterator[Lookout | None]:
        """Raises NotFound. None if the document has ended, and its reader has been told so."""
        if self._drain.begun:
            raise Unavailable("The gateway is shutting down.")
        sight = await self.find(onlooker)
        if sight.ended and sight.version == position:
            yield None
            return
        lookout = Lookout(onlooker, sight)
        self._take_in(lookout)
        try:
            yield lookout
        finally:
            self.lookouts.discard(lookout)

    def _take_in(self, lookout: Lookout) -> None:
        if not self.lookouts:
            self._asked.set()
        self.lookouts.add(lookout)
        if self._drain.begun:
            lookout.end(StreamEnd.DRAIN)

    async def find(self, onlooker: Onlooker) -> Sight:
        """Raises NotFound, also for what this key's user may not see."""
        found = (await self._read({onlooker: ""})).get(onlooker)
        if found is None or found.document is None:
            raise no_channel()
        return found

    def look(self) -> None:
        """Something was written to documents: look at once."""
        if self.lookouts:
            self._asked.set()

    async def run(self) -> None:
        """Look, for ever. A look that fails closes no stream."""
        await regularly(self._look, self._every, self._asked, PATIENCE_S)

    async def _look(self) -> None:
        """Shows rows only to those who were there before they were read: who came meanwhile has
        seen newer ones."""
        there = [one for one in self.lookouts if one.ending is None]
        known: dict[Onlooker, str] = {}
        for one in there:
            same = known.get(one.onlooker, one.sight.mark) == one.sight.mark
            known[one.onlooker] = one.sight.mark if same else ""
        if not known:
            return
        found = await self._read(known)
        for one in there:
            if one.onlooker in found:
                _tell(one, found[one.onlooker])

    async def _read(self, known: Mapping[Onlooker, str]) -> Mapping[Onlooker, Sight | None]:
        """Returns what has changed since these marks; None for those who may see nothing any
        more."""
        readers: Sequence[Onlooker] = list(known)
        rows = await self._database.fetch(
            sql.WATCHED,
            [one.document_id for one in readers],
            [one.key_id for one in readers],
            list(known.values()),
        )
        return {Onlooker(row["asked"], row["key_id"]): _sight(row) for row in rows}

    async def wind_down(self) -> None:
        """Say goodbye to all as soon as the process is told to end."""
        await self._drain.wait()
        for one in self.lookouts:
            one.end(StreamEnd.DRAIN)


def _tell(lookout: Lookout, found: Sight | None) -> None:
    if found is None:
        lookout.end(StreamEnd.RIGHTS)
    elif found.document is None:
        lookout.show(Sight(None, lookout.sight.version + 1))
    else:
        lookout.show(found)


def _sight(row: Row) -> Sight | None:
    if not row["allowed"]:
        return None
    if row["deleted"]:
        return Sight(None, 0)
    document = document_of(row)
    ended = document.state in (DocumentState.READY, DocumentState.FAILED)
    return Sight(document, 2 * row["fence"] + ended, row["mark"])


@asynccontextmanager
async def open_watch(database: Database, drain: Drain, look: float) -> AsyncIterator[Watch]:
    """`look` is the time between two looks, in seconds."""
    watch = Watch(database, drain, look)
    tasks = [
        asyncio.create_task(watch.run(), name="watch documents"),
        asyncio.create_task(watch.wind_down(), name="wind watching down"),
    ]
    try:
        yield watch
    finally:
        await end(tasks)
