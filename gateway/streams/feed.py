"""Everything that is followed in this process: who is told what, and how nothing is missed.

A reader is added in three steps: its channel is subscribed and the broker has said so; what it
missed is read; what came meanwhile is merged in. From then on a signal that a conversation has
changed makes the feed read what changed, once for all who follow it. Signals may be lost: once a
second the versions of all followed conversations are compared with what was told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from gateway import ids
from gateway.errors import GatewayError, NotFound, Unavailable
from gateway.process.drain import Drain, end
from gateway.process.periods import regularly
from gateway.process.telemetry import causes
from gateway.settings import Polls
from gateway.streams.announcer import Announcer
from gateway.streams.brokers import signals
from gateway.streams.brokers.broker import Broker
from gateway.streams.brokers.signals import channel_of
from gateway.streams.channel import Channel, replay
from gateway.streams.events import (
    ConversationDeleted,
    Interaction,
    Reset,
    Snapshot,
    WholeConversation,
)
from gateway.streams.follower import Follower, Lens, Moment, Notice, StreamEnd
from gateway.streams.source import Access, Changes, Reader, Source

log = logging.getLogger(__name__)

READS = 4
"""Conversations that are read at once: the pool is for those who write, too."""
SNAPSHOT = 200
"""The newest interactions that a snapshot holds, as the body of a conversation's GET."""
WHOLE_S = 1.0
"""With `view=full` at most one conversation in so many seconds is sent."""
PATIENCE_S = 0.05
"""Polls that something asked for are at least so far apart."""


class Unusable:
    """A position that was given and means nothing."""


Position: TypeAlias = int | Unusable | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a reader asks for. `only` is the interaction of a reply's own channel."""

    reader: Reader
    position: Position = None
    only: UUID | None = None
    full: bool = False


class Feed:
    def __init__(
        self, broker: Broker, source: Source, announcer: Announcer, drain: Drain, polls: Polls
    ) -> None:
        self._broker = broker
        self._source = source
        self._announcer = announcer
        self._drain = drain
        self.channels: dict[str, Channel] = {}
        self._reading = asyncio.Semaphore(READS)
        self.readers: dict[str, asyncio.Task[None]] = {}
        self._look = asyncio.Event()
        self._polls = polls
        self._rights_due = time.monotonic() + polls.rights

    @property
    def followers(self) -> list[Follower]:
        return [one for channel in self.channels.values() for one in channel.followers]

    # ---- following -------------------------------------------------------------------------------

    @asynccontextmanager
    async def follow(self, wish: Wish) -> AsyncIterator[Follower | None]:
        """Raises NotFound. None if it is the channel of a reply that has ended, and its reader has
        been told so."""
        if self._drain.begun:
            raise Unavailable("The gateway is shutting down.")
        lens = Lens(await self.access(wish.reader), wish.only)
        await self._source.seen([wish.reader])
        async with self._channel(wish.reader.conversation_id) as channel:
            follower = Follower(wish.reader, lens, channel.speeches, full=wish.full)
            if not await self._bring_up(channel, follower, wish):
                yield None
                return
            try:
                yield follower
            finally:
                channel.followers.discard(follower)

    async def access(self, reader: Reader) -> Access:
        """Raises NotFound."""
        access = (await self._source.access([reader])).get(reader)
        if access is None:
            raise no_channel()
        return access

    @asynccontextmanager
    async def _channel(self, conversation_id: UUID) -> AsyncIterator[Channel]:
        """Subscribed, as far as the broker can tell. The poll makes up for one that can't."""
        name = channel_of(conversation_id)
        channel = self.channels.setdefault(name, Channel(conversation_id))
        channel.users += 1
        try:
            if not await self._broker.subscribe(name, self):
                self._look.set()
            yield channel
        finally:
            channel.users -= 1
            if not channel.users and self.channels.get(name) is channel:
                del self.channels[name]
                await self._broker.unsubscribe(name, self)

    async def _bring_up(self, channel: Channel, follower: Follower, wish: Wish) -> bool:
        """Read what it missed, and then what changed while that was read, until it is level with
        the channel; only then it joins, without a wait in between."""
        moments, changes = await self._first(wish, follower.lens)
        while changes.version < channel.head:
            since = changes.version
            changes = await self._changes(channel.conversation_id, since)
            moments += replay(changes, since, follower.lens)
        fresh = not channel.followers
        if wish.only and wish.only not in changes.speaking:
            follower.end(StreamEnd.OVER)
            if not any(moment.notices for moment in moments):
                return False  # versions in which nothing was about this reply are nothing to tell
        channel.join(follower, moments, changes)
        if self._drain.begun:
            follower.end(StreamEnd.DRAIN)
        if fresh:
            self._announcer.ask((), afresh=(channel.conversation_id,))
        self._catch_up(channel)
        return True

    async def _first(self, wish: Wish, lens: Lens) -> tuple[list[Moment], Changes]:
        """Returns the moments that a new reader is told first."""
        conversation_id, position = wish.reader.conversation_id, wish.position
        if isinstance(position, int) and not wish.full:
            changes = await self._changes(conversation_id, position)
            if position <= changes.version and not changes.behind:
                if wish.only and not await self._source.one(conversation_id, wish.only):
                    raise no_channel()
                return replay(changes, position, lens), changes
        whole = await self._whole(conversation_id, wish)
        event = Snapshot(whole) if position is None or wish.full else Reset(whole)
        changes = Changes(whole.version, speaking=_speaking(whole.messages))
        return [Moment(whole.version, [Notice(event)])], changes

    async def _whole(self, conversation_id: UUID, wish: Wish) -> WholeConversation:
        if wish.only:
            whole = await self._source.one(conversation_id, wish.only)
        else:
            whole = await self._source.whole(conversation_id, None if wish.full else SNAPSHOT)
        if whole is None:
            raise no_channel()
        return whole

    async def _changes(self, conversation_id: UUID, since: int) -> Changes:
        changes = await self._source.changes(conversation_id, since)
        if changes is None or changes.deleted:
            raise no_channel()
        return changes

    async def wholes(self, follower: Follower) -> AsyncIterator[Moment]:
        """Yields what a reader with `view=full` is sent after its first snapshot."""
        told = follower.version
        channel = self.channels[channel_of(follower.reader.conversation_id)]
        while not await follower.ended(WHOLE_S) and await follower.changed(told):
            try:
                moment = await self._whole_of(channel, follower.version)
            except Unavailable:
                continue
            told = moment.version
            yield moment
        if follower.ending is StreamEnd.OVER:
            yield await self._whole_of(channel, follower.version)

    async def _whole_of(self, channel: Channel, version: int) -> Moment:
        """The conversation as it stands, at this version or later; read once for all."""
        async with channel.reading_whole:
            if channel.whole is None or channel.whole.version < version:
                whole = await self._source.whole(channel.conversation_id, None)
                if whole is None:
                    shown = ids.show(ids.CONVERSATION, channel.conversation_id)
                    channel.whole = Moment(version, [Notice(ConversationDeleted(shown))])
                else:
                    channel.whole = Moment(whole.version, [Notice(Snapshot(whole))])
            return channel.whole

    # ---- the broker's side -----------------------------------------------------------------------

    def hear(self, channel: str, payload: bytes) -> None:
        found = self.channels.get(channel)
        if found is None:
            return
        match signals.decode(payload):
            case signals.VersionRaised(version):
                found.target = max(found.target, version)
                self._catch_up(found)
            case signals.Spoke() as spoke:
                self._take_in(found, spoke)
            case _:
                pass

    def _take_in(self, channel: Channel, spoke: signals.Spoke) -> None:
        if channel.speeches.take(spoke):
            channel.torn = False
            for follower in channel.followers:
                follower.speak()
        else:
            channel.torn = True
            self._announcer.ask((), afresh=(channel.conversation_id,))

    def lost(self) -> None:
        self._look.set()

    # ---- catching up -----------------------------------------------------------------------------

    def _catch_up(self, channel: Channel) -> None:
        name = channel_of(channel.conversation_id)
        if channel.is_behind() and name not in self.readers:
            task = asyncio.create_task(self._read_on(channel, name), name=f"read {name}")
            self.readers[name] = task

    async def _read_on(self, channel: Channel, name: str) -> None:
        try:
            while channel.is_behind() and channel.users:
                async with self._reading:
                    changes = await self._source.changes(channel.conversation_id, channel.head)
                if changes is None:
                    channel.end(StreamEnd.OVER)
                    return
                channel.deliver(changes)
                if channel.is_behind() and changes.version == channel.head:
                    channel.target = channel.head  # a signal that was ahead of its commit
                if channel.speeches.open:
                    self._announcer.ask((channel.conversation_id,))
        except GatewayError as error:
            log.warning("a channel can't be read", extra={"reason": error.message})
        except Exception as error:
            log.error("a feed broke", extra={"causes": causes(error)})  # noqa: TRY400
        finally:
            del self.readers[name]

    async def run(self) -> None:
        """Poll, for ever: that makes up for everything else."""
        await regularly(self.poll, self._polls.channels, self._look, PATIENCE_S)

    async def poll(self) -> None:
        channels = {one.conversation_id: one for one in self.channels.values() if one.followers}
        if not channels:
            return
        speaking = {one: channel for one, channel in channels.items() if channel.speeches.open}
        torn = [one for one, channel in speaking.items() if channel.torn]
        self._announcer.ask(list(speaking), afresh=torn)
        for conversation_id, version in (await self._source.versions(list(channels))).items():
            channel = channels[conversation_id]
            channel.target = max(channel.target, version)
            self._catch_up(channel)
        if time.monotonic() >= self._rights_due:
            self._rights_due = time.monotonic() + self._polls.rights
            await self._check_rights()

    # ---- rights ----------------------------------------------------------------------------------

    async def _check_rights(self) -> None:
        followers = self.followers
        found = await self._source.access(list({one.reader for one in followers}))
        for follower in followers:
            access = found.get(follower.reader)
            if access is None:
                follower.end(StreamEnd.RIGHTS)
            elif access != follower.lens.access:
                await self._show_anew(follower, access)
        await self._source.seen(list(found))

    async def _show_anew(self, follower: Follower, access: Access) -> None:
        """Sends the conversation anew to readers who may now see more, or less, than before."""
        wish = Wish(follower.reader, only=follower.lens.only)
        with suppress(NotFound):
            whole = await self._whole(follower.reader.conversation_id, wish)
            follower.lens = Lens(access, follower.lens.only)
            if whole.version >= follower.version:
                follower.push(Moment(whole.version, [Notice(Snapshot(whole))]))

    async def wind_down(self) -> None:
        """Say goodbye to all as soon as the process is told to end."""
        await self._drain.wait()
        for follower in self.followers:
            follower.end(StreamEnd.DRAIN)


def no_channel() -> NotFound:
    return NotFound("There is no such channel.", code="channel_not_found")


def _speaking(interactions: Sequence[Interaction]) -> frozenset[UUID]:
    return frozenset(
        ids.read(ids.INTERACTION, one.id) for one in interactions if one.completed_at is None
    )


@asynccontextmanager
async def open_feed(
    broker: Broker, source: Source, announcer: Announcer, drain: Drain, polls: Polls
) -> AsyncIterator[Feed]:
    feed = Feed(broker, source, announcer, drain, polls)
    tasks = [
        asyncio.create_task(feed.run(), name="poll channels"),
        asyncio.create_task(feed.wind_down(), name="wind channels down"),
    ]
    try:
        yield feed
    finally:
        await end(tasks)
