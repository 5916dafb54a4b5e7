"""Feeds under whatever order of events: every transcript is complete and in order.

The rows are a model, the broker loses what the machine wants it to lose; the feed is the real one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway import ids
from gateway.errors import NotFound, Unavailable
from gateway.process.drain import Drain
from gateway.streams.announcer import Announcer
from gateway.streams.brokers.broker import BrokerMessage
from gateway.streams.brokers.memory import MemoryBroker
from gateway.streams.brokers.signals import VersionRaised as VersionRaised
from gateway.streams.brokers.signals import channel_of, encode
from gateway.streams.events import (
    Interaction,
    InteractionCreated,
    InteractionDeleted,
    InteractionUpdated,
    Owner,
    WholeConversation,
)
from gateway.streams.feed import Feed, Wish
from gateway.streams.follower import QUEUE, Follower, Moment, StreamEnd
from gateway.streams.source import Access, Changed, Changes, Reader, Source
from tests.running import QUICK

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def interaction(key: int, content: str, version: int) -> Interaction:
    return Interaction(
        f"int_{UUID(int=key).hex}",
        Owner("user", "ann"),
        content,
        [],
        [],
        None,
        None,
        [],
        None,
        NOW,
        NOW,
        None,
        False,
        NOW,
        version,
    )


async def unseen(readers: Sequence[Reader]) -> None:
    """Nobody takes note of who follows."""


class Rows:
    """One conversation, as its rows would stand. Reading takes a moment, and may fail."""

    def __init__(self) -> None:
        self.id = ids.new()
        self.version = 1
        self.content: dict[int, tuple[int, str | None]] = {}
        self.access: dict[str, Access] = {}
        self.fails = False
        self.random = random.Random(1)

    def write(self, changes: Mapping[int, str | None]) -> int:
        self.version += 1
        for key, content in changes.items():
            self.content[key] = self.version, content
        return self.version

    async def _moment(self) -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        if self.fails:
            raise Unavailable("The database is away.")

    async def changes(self, conversation_id: UUID, since: int) -> Changes | None:
        await self._moment()
        items = [
            Changed(version, self._event(key, version, content))
            for key, (version, content) in self.content.items()
            if version > since
        ]
        told = Changes(self.version, sorted(items, key=lambda one: one.version))
        await self._moment()
        return told

    def _event(
        self, key: int, version: int, content: str | None
    ) -> InteractionCreated | InteractionDeleted:
        if content is None:
            return InteractionDeleted(f"int_{UUID(int=key).hex}")
        return InteractionCreated(interaction(key, content, version))

    async def whole(self, conversation_id: UUID, newest: int | None) -> WholeConversation | None:
        await self._moment()
        shown = ids.show(ids.CONVERSATION, self.id)
        whole = WholeConversation(
            id=shown,
            title=None,
            owner=Owner("user", "ann"),
            drive="auto",
            provider_id=None,
            model_id=None,
            parent_id=None,
            stream_channel_id=shown,
            created_at=NOW,
            updated_at=NOW,
            version=self.version,
            participants=[],
            messages=[
                interaction(key, content, version)
                for key, (version, content) in self.content.items()
                if content is not None
            ],
        )
        await self._moment()
        return whole

    async def one(self, conversation_id: UUID, interaction_id: UUID) -> WholeConversation | None:
        raise NotImplementedError

    async def versions(self, conversations: Sequence[UUID]) -> Mapping[UUID, int]:
        await self._moment()
        return dict.fromkeys(conversations, self.version)

    async def read_access(self, readers: Sequence[Reader]) -> Mapping[Reader, Access]:
        await self._moment()
        return {one: self.access.get(one.key_id, Access()) for one in readers}

    def source(self) -> Source:
        return Source(self.changes, self.whole, self.one, self.versions, self.read_access, unseen)


async def settled(feed: Feed) -> None:
    """Wait until all is read that it knows of."""
    await asyncio.gather(*feed.readers.values())


class Client:
    """What a reader has put together of what it was told, over all its connections."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.versions: list[int] = []
        self.state: dict[str, str] = {}
        self.follower: Follower | None = None
        self.connection = AsyncExitStack()

    async def connect(self, feed: Feed, rows: Rows) -> None:
        await self.leave()
        wish = Wish(Reader(rows.id, "key"), self.position)
        self.follower = await self.connection.enter_async_context(feed.follow(wish))

    async def leave(self) -> None:
        self.follower = None
        await self.connection.aclose()
        self.connection = AsyncExitStack()

    async def read(self, most: int = 10_000) -> None:
        """Take what waits, up to so many versions; what was cut off from the rest is lost."""
        while self.follower is not None and most > 0:
            if not self.follower.waits:
                return
            told = await self.follower.next()
            assert isinstance(told, Sequence)
            for moment in told[:most]:
                self.take(moment)
            if len(told) > most:
                await self.leave()
            most -= len(told)

    def take(self, moment: Moment) -> None:
        if self.position is None:
            assert [one.name for one in moment.notices] == ["snapshot"]
        else:
            assert moment.version == self.position + 1, "a hole, or a version twice"
            self.versions.append(moment.version)
        self.position = moment.version
        for notice in moment.notices:
            match notice.event:
                case InteractionCreated(one) | InteractionUpdated(one):
                    self.state[one.id] = one.content
                case InteractionDeleted(gone):
                    self.state.pop(gone, None)
                case event:
                    assert notice.name == "snapshot"
                    messages = event.conversation.messages  # type: ignore[union-attr]
                    self.state = {one.id: one.content for one in messages}


class FeedMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.broker = MemoryBroker()
        self.rows = Rows()
        self.clients: list[Client] = []
        self.feed = self.runner.run(self._new_feed())

    async def _new_feed(self) -> Feed:
        return Feed(self.broker, self.rows.source(), Announcer(self.broker), Drain(), QUICK)

    def run(self, *what: object) -> None:
        async def all_of_it() -> None:
            for one in what:
                await one  # type: ignore[misc]
            for _ in range(3):
                await asyncio.sleep(0)

        self.runner.run(all_of_it())

    async def _publish(self, version: int) -> None:
        told = BrokerMessage(channel_of(self.rows.id), encode(VersionRaised(version)))
        await self.broker.publish([told])

    # ---- what may happen -------------------------------------------------------------------------

    @rule(
        changes=st.dictionaries(st.integers(0, 5), st.text(max_size=3) | st.none(), max_size=3),
        lost=st.booleans(),
    )
    def write(self, changes: dict[int, str | None], *, lost: bool) -> None:
        version = self.rows.write(changes)
        if not lost:
            self.run(self._publish(version))

    @rule(count=st.integers(2, 30), lost=st.booleans())
    def write_many(self, count: int, *, lost: bool) -> None:
        for n in range(count):
            version = self.rows.write({n % 5: str(n)})
            if not lost:
                self.run(self._publish(version))

    @rule(version=st.integers(0, 200))
    def hear_nonsense(self, version: int) -> None:
        self.run(self._publish(version))

    @precondition(lambda self: len(self.clients) < 4)
    @rule()
    def join(self) -> None:
        client = Client()
        self.clients.append(client)
        self._connect(client)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), writes=st.integers(0, 3))
    def reconnect(self, data: st.DataObject, writes: int) -> None:
        """While it comes back, the conversation changes."""
        client = data.draw(st.sampled_from(self.clients))

        async def meanwhile() -> None:
            for n in range(writes):
                await asyncio.sleep(0)
                await self._publish(self.rows.write({n: "meanwhile"}))

        async def both() -> None:
            await asyncio.gather(self._try(client), meanwhile())

        self.run(both())

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.run(data.draw(st.sampled_from(self.clients)).leave())

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), most=st.integers(1, 20))
    def read(self, data: st.DataObject, most: int) -> None:
        self.run(data.draw(st.sampled_from(self.clients)).read(most))

    @rule()
    def restart(self) -> None:
        for client in self.clients:
            self.run(client.leave())
        self.broker = MemoryBroker()
        self.feed = self.runner.run(self._new_feed())

    @rule()
    def poll(self) -> None:
        self.run(self._poll())

    @rule(fails=st.booleans())
    def break_database(self, *, fails: bool) -> None:
        self.rows.fails = fails

    async def _poll(self) -> None:
        try:
            await self.feed.poll()
        except Unavailable:
            assert self.rows.fails
        await settled(self.feed)

    async def _try(self, client: Client) -> None:
        try:
            await client.connect(self.feed, self.rows)
        except Unavailable:
            assert self.rows.fails

    def _connect(self, client: Client) -> None:
        self.run(self._try(client))

    # ---- what holds then -------------------------------------------------------------------------

    def teardown(self) -> None:
        self.rows.fails = False
        self.run(self._poll(), self._poll())
        for client in self.clients:
            self.run(client.read())
            if client.follower is None or client.follower.ending is not None:
                self._connect(client)
                self.run(client.read())
            expected = {
                f"int_{UUID(int=key).hex}": content
                for key, (_, content) in self.rows.content.items()
                if content is not None
            }
            assert client.position == self.rows.version
            assert client.state == expected
            self.run(client.leave())
        assert not self.feed.channels, "a channel was left behind"
        assert not self.broker.listeners
        self.runner.close()


FeedMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestFeeds = FeedMachine.TestCase


# ---- single things ------------------------------------------------------------------------------


class Standing:
    """A feed over a model, polled only when a test says so."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.broker = MemoryBroker()
        self.drain = Drain()
        self.feed = Feed(self.broker, self.rows.source(), Announcer(self.broker), self.drain, QUICK)

    def wish(self, position: int | None = None) -> Wish:
        return Wish(Reader(self.rows.id, "key"), position)


@pytest.fixture
def standing() -> Standing:
    return Standing()


async def test_a_reader_that_takes_nothing_is_cut_off_when_its_queue_is_full(
    standing: Standing,
) -> None:
    async with standing.feed.follow(standing.wish()) as slow:
        assert slow is not None
        for n in range(QUEUE + 1):
            standing.rows.write({0: str(n)})
            await standing.feed.poll()
            await settled(standing.feed)
        assert slow.ending is StreamEnd.SLOW
        assert await slow.next() is None


async def test_one_read_serves_all_who_follow(standing: Standing) -> None:
    reads = 0
    changes = standing.rows.changes

    async def counted(conversation_id: UUID, since: int) -> Changes | None:
        nonlocal reads
        reads += 1
        return await changes(conversation_id, since)

    source = standing.rows.source()
    feed = Feed(
        standing.broker,
        Source(counted, source.whole, source.one, source.versions, source.access, unseen),
        Announcer(standing.broker),
        standing.drain,
        QUICK,
    )
    async with AsyncExitStack() as stack:
        many = [await stack.enter_async_context(feed.follow(standing.wish())) for _ in range(50)]
        assert reads == 0
        standing.rows.write({1: "Apples"})
        await feed.poll()
        await settled(feed)
        assert reads == 1
        frames = set()
        for follower in many:
            assert follower is not None
            assert len(follower.first()) == 1
            told = await follower.next()
            assert isinstance(told, list)
            frames.add(id(told[0]))
        assert len(frames) == 1, "they share what they are told"


async def test_who_may_not_read_is_told_that_there_is_nothing(standing: Standing) -> None:
    async def nobody(readers: Sequence[Reader]) -> Mapping[Reader, Access]:
        return {}

    source = standing.rows.source()
    feed = Feed(
        standing.broker,
        Source(source.changes, source.whole, source.one, source.versions, nobody, unseen),
        Announcer(standing.broker),
        standing.drain,
        QUICK,
    )
    with pytest.raises(NotFound):
        async with feed.follow(standing.wish()):
            pass
    assert not feed.channels


async def test_nobody_is_taken_in_any_more_when_the_process_ends(standing: Standing) -> None:
    standing.drain.begin()
    with pytest.raises(Unavailable):
        async with standing.feed.follow(standing.wish()):
            pass


async def test_what_changes_while_a_reader_is_brought_up_is_merged_in(standing: Standing) -> None:
    """Another reader's channel has moved on by the time that its snapshot has been read."""
    rows, read, go_on = standing.rows, asyncio.Event(), asyncio.Event()
    go_on.set()

    async def slow(conversation_id: UUID, newest: int | None) -> WholeConversation | None:
        whole = await rows.whole(conversation_id, newest)
        read.set()
        await go_on.wait()
        return whole

    source = rows.source()
    slowly = Source(source.changes, slow, source.one, source.versions, source.access, unseen)
    feed = Feed(standing.broker, slowly, Announcer(standing.broker), standing.drain, QUICK)
    async with feed.follow(standing.wish()), AsyncExitStack() as late:
        read.clear()
        go_on.clear()
        joining = asyncio.create_task(late.enter_async_context(feed.follow(standing.wish())))
        await read.wait()
        rows.write({1: "Apples"})
        await feed.poll()
        await settled(feed)
        go_on.set()
        follower = await joining
        assert follower is not None
        assert [moment.version for moment in follower.first()] == [1, 2]
