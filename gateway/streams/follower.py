"""One reader of a channel, and what waits to be sent to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import msgspec

from gateway import ids
from gateway.streams.events import (
    Change,
    ConversationDeleted,
    Event,
    Interaction,
    InteractionCreated,
    InteractionDeleted,
    InteractionUpdated,
    Reset,
    Snapshot,
    interaction_of,
    name_of,
)
from gateway.streams.source import Access, Changed, Reader
from gateway.streams.speech import Speeches

QUEUE = 256
"""Versions that may wait for a reader. One that is further behind is cut off; it comes back with
its position."""


class StreamEnd(StrEnum):
    """Why a stream ended, in words that are fit for its last line."""

    DRAIN = "the gateway is shutting down"
    SLOW = "too slow"
    RIGHTS = "no longer allowed"
    OVER = "over"
    GONE = "gone"


class Notice:
    """An event, encoded once for all its readers."""

    __slots__ = ("_data", "event", "name")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.name = name_of(event)
        self._data: bytes | None = None

    @property
    def data(self) -> bytes:
        if self._data is None:
            self._data = msgspec.json.encode(self.event)
        return self._data


@dataclass(slots=True)
class Moment:
    """All that one reader is told of one version, which it is sent whole or not at all. `frame` is
    what the door made of it, once for all readers that share it."""

    version: int
    notices: Sequence[Notice] = ()
    frame: bytes = b""


@dataclass(frozen=True, slots=True)
class Lens:
    """What of a version a reader is shown. `only` is the interaction of a reply's own channel."""

    access: Access
    only: UUID | None = None

    def shown(self, changed: Changed) -> Change | None:
        """Returns the change as the reader is told of it, or None."""
        if self.only is None:
            return self.access.seen(changed)
        if isinstance(changed.event, ConversationDeleted):
            return changed.event
        mine = interaction_of(changed.event) == ids.show(ids.INTERACTION, self.only)
        return changed.event if mine else None


@dataclass(frozen=True, slots=True)
class Deltas:
    """More of replies: each a delta as JSON."""

    data: Sequence[bytes]


class Follower:
    """`version` is that of the last moment that was put in the queue. With `full`, changes are not
    queued: the reader is sent the conversation as it then stands."""

    def __init__(self, reader: Reader, lens: Lens, speeches: Speeches, *, full: bool) -> None:
        self.reader = reader
        self.lens = lens
        self.full = full
        self.version = 0
        self.ending: StreamEnd | None = None
        self._speeches = speeches
        self._spoken = False
        self._told: dict[UUID, tuple[int, int]] = {}
        self._backlog: Sequence[Moment] = ()
        self._queue: list[Moment] = []
        self._waiting: asyncio.Future[None] | None = None

    # ---- the feed's side -------------------------------------------------------------------------

    def begin(self, moments: Sequence[Moment], version: int) -> None:
        """Queue what the reader is told first. Its own position bounds that, not the queue's
        length."""
        self._backlog = moments
        self.version = version
        self._spoken = True
        self._notice_end(moments)
        self._wake()

    def push(self, moment: Moment) -> None:
        self.version = moment.version
        if self.ending is not None:
            return
        if not self.full:
            if len(self._queue) >= QUEUE:
                self.end(StreamEnd.SLOW)
                return
            self._queue.append(moment)
        self._notice_end((moment,))
        self._wake()

    def speak(self) -> None:
        """A reply has grown."""
        self._spoken = True
        self._wake()

    def end(self, ending: StreamEnd) -> None:
        if self.ending is not None:
            return
        self.ending = ending
        if ending in (StreamEnd.SLOW, StreamEnd.RIGHTS):
            self._backlog = ()
            self._queue.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _sleep(self) -> None:
        """Until something has changed. There are thousands of sleepers: a bare future is a tenth of
        an event's size."""
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting
        self._waiting = None

    def _notice_end(self, moments: Sequence[Moment]) -> None:
        for moment in moments:
            for notice in moment.notices:
                if self._is_last(notice.event):
                    self.end(StreamEnd.OVER)

    def _is_last(self, event: Event) -> bool:
        match event:
            case ConversationDeleted():
                return True
            case _ if self.lens.only is None:
                return False
            case InteractionDeleted():
                return True
            case InteractionCreated(interaction) | InteractionUpdated(interaction):
                return interaction.completed_at is not None
            case Snapshot(conversation) | Reset(conversation):
                return all(map(_complete, conversation.messages))
            case _:
                return False

    # ---- the reader's side -----------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """True while the reader has not been sent all moments."""
        return bool(self._backlog or self._queue)

    def first(self) -> Sequence[Moment]:
        """Returns what the reader is told before anything else."""
        first, self._backlog = self._backlog, ()
        return first

    async def next(self) -> Sequence[Moment] | Deltas | None:
        """Wait for something to send. Returns None at the end."""
        while True:
            if self._backlog:
                return self.first()
            if self._queue:
                moments, self._queue = self._queue, []
                return moments
            if self.ending is not None:
                return None
            if deltas := self._deltas():
                return Deltas(deltas)
            await self._sleep()

    async def changed(self, version: int) -> bool:
        """Wait for a later version than this. False at the end, when it was told already."""
        while self.version <= version and self.ending is None:
            await self._sleep()
        return self.version > version

    async def ended(self, within: float) -> bool:
        """Returns True if the reader ended within so many seconds."""
        try:
            async with asyncio.timeout(within):
                while self.ending is None:
                    await self._sleep()
        except TimeoutError:
            return False
        return True

    def _deltas(self) -> list[bytes]:
        if not self._spoken or self.full:
            return []
        self._spoken = False
        return [
            delta
            for speech in self._speeches.open.values()
            if speech.known
            and self.lens.only in (None, speech.interaction_id)
            and (delta := self._continue(speech.interaction_id))
        ]

    def _continue(self, interaction_id: UUID) -> bytes | None:
        speech = self._speeches.open[interaction_id]
        attempt, told = self._told.get(interaction_id, (0, 0))
        if attempt != speech.attempt:
            told = 0
        if told == len(speech.text):
            return None
        self._told = {one: place for one, place in self._told.items() if one in self._speeches.open}
        self._told[interaction_id] = speech.attempt, len(speech.text)
        return speech.since(told)


def _complete(interaction: Interaction) -> bool:
    return interaction.completed_at is not None
