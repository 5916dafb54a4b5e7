"""What every broker does."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.errors import Unavailable
from gateway.streams.brokers.broker import Broker, BrokerMessage
from gateway.streams.brokers.redis import BREAK_S, TIMEOUT, open_redis
from tests.streams.servers import RedisServer
from tests.streams.waiting import until


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.losses = 0

    def hear(self, channel: str, payload: bytes) -> None:
        self.heard.append((channel, payload))

    def lost(self) -> None:
        self.losses += 1


async def subscribed(broker: Broker, channel: str, ear: Ear) -> None:
    """A broker that has just been opened may still be on its way."""
    async with asyncio.timeout(20):
        while not await broker.subscribe(channel, ear):
            pass


# ---- the contract -------------------------------------------------------------------------------


async def test_what_is_published_after_the_acknowledgement_is_heard_in_order(
    broker: Broker,
) -> None:
    ear = Ear()
    await subscribed(broker, "a", ear)
    await broker.publish([BrokerMessage("a", b"%d" % n) for n in range(500)])
    await broker.publish([BrokerMessage("a", b"last")])
    await until(lambda: len(ear.heard) == 501)
    assert [payload for _, payload in ear.heard] == [*(b"%d" % n for n in range(500)), b"last"]


async def test_only_ones_own_channels_are_heard(broker: Broker) -> None:
    one, other = Ear(), Ear()
    await subscribed(broker, "a", one)
    await subscribed(broker, "b", other)
    await broker.publish(
        [BrokerMessage("a", b"1"), BrokerMessage("b", b"2"), BrokerMessage("c", b"3")]
    )
    await until(lambda: one.heard and other.heard)
    assert (one.heard, other.heard) == ([("a", b"1")], [("b", b"2")])


async def test_several_listeners_of_a_channel_each_hear_it_once(broker: Broker) -> None:
    ears = [Ear(), Ear()]
    for ear in (*ears, ears[0]):
        await subscribed(broker, "a", ear)
    await broker.publish([BrokerMessage("a", b"1")])
    await until(lambda: all(ear.heard for ear in ears))
    await asyncio.sleep(0.05)
    assert [len(ear.heard) for ear in ears] == [1, 1]


async def test_who_leaves_hears_nothing_more_and_the_others_do(broker: Broker) -> None:
    left, stays = Ear(), Ear()
    await subscribed(broker, "a", left)
    await subscribed(broker, "a", stays)
    await broker.unsubscribe("a", left)
    await broker.unsubscribe("a", left)
    await broker.publish([BrokerMessage("a", b"1")])
    await until(lambda: stays.heard)
    assert not left.heard
    await broker.unsubscribe("a", stays)
    await broker.unsubscribe("nothing", stays)


async def test_a_channel_can_be_left_and_taken_up_again(broker: Broker) -> None:
    ear = Ear()
    for n in range(20):
        await subscribed(broker, "a", ear)
        await broker.publish([BrokerMessage("a", b"%d" % n)])
        await until(lambda expected=n + 1: len(ear.heard) == expected)
        await broker.unsubscribe("a", ear)
    assert [payload for _, payload in ear.heard] == [b"%d" % n for n in range(20)]


async def test_payloads_are_bytes_of_any_kind(broker: Broker) -> None:
    ear = Ear()
    payload = bytes(range(256)) * 400
    await subscribed(broker, "a", ear)
    await broker.publish([BrokerMessage("a", payload), BrokerMessage("a", b"")])
    await until(lambda: len(ear.heard) == 2)
    assert ear.heard == [("a", payload), ("a", b"")]


async def test_nothing_is_published_to_nobody(broker: Broker) -> None:
    await broker.publish([])
    await broker.publish([BrokerMessage("nobody", b"1")])
    await broker.ping()


# ---- Redis that fails ---------------------------------------------------------------------------


async def hears(server: RedisServer, ear: Ear, channel: str = "a") -> None:
    """Another process publishes until it is heard."""
    seen = len(ear.heard)
    async with open_redis(server.url) as other:
        began = time.monotonic()
        while len(ear.heard) == seen:
            assert time.monotonic() - began < 20, "nothing is heard any more"
            await other.publish([BrokerMessage(channel, b"again")])
            await asyncio.sleep(0.05)


async def test_a_redis_that_is_away_at_the_start_is_no_error(redis_server: RedisServer) -> None:
    redis_server.kill()
    ear = Ear()
    async with open_redis(redis_server.url) as broker:
        began = time.monotonic()
        assert not await broker.subscribe("a", ear)
        await broker.publish([BrokerMessage("a", b"1")])
        assert time.monotonic() - began < 10 * TIMEOUT
        with pytest.raises(Unavailable):
            await broker.ping()
        redis_server.start()
        await until(lambda: ear.losses, within=20)
        await hears(redis_server, ear)


async def test_after_a_restart_all_is_subscribed_again_and_said_to_be_lost(
    redis_server: RedisServer,
) -> None:
    ear, other = Ear(), Ear()
    async with open_redis(redis_server.url) as broker:
        await subscribed(broker, "a", ear)
        await subscribed(broker, "b", ear)
        await subscribed(broker, "c", other)
        before = ear.losses, other.losses
        redis_server.kill()
        redis_server.start()
        await until(lambda: ear.losses > before[0] and other.losses > before[1], within=20)
        for channel, whose in (("a", ear), ("b", ear), ("c", other)):
            await hears(redis_server, whose, channel)
        assert await broker.subscribe("d", ear)


async def test_a_listening_connection_that_is_cut_is_replaced(redis_server: RedisServer) -> None:
    ear = Ear()
    async with open_redis(redis_server.url) as broker:
        await subscribed(broker, "a", ear)
        before = ear.losses
        assert redis_server.drop_clients() == 1
        await until(lambda: ear.losses > before, within=20)
        await hears(redis_server, ear)


async def test_a_frozen_redis_holds_nobody_up_and_is_noticed(redis_server: RedisServer) -> None:
    ear = Ear()
    async with open_redis(redis_server.url) as broker:
        await subscribed(broker, "a", ear)
        before = ear.losses
        redis_server.freeze()
        began = time.monotonic()
        await broker.publish([BrokerMessage("a", b"1")])
        assert time.monotonic() - began < 10 * TIMEOUT
        began = time.monotonic()
        for _ in range(100):
            await broker.publish([BrokerMessage("a", b"1")])
        assert time.monotonic() - began < 20 * TIMEOUT, "the breaker is not open"
        assert not await broker.subscribe("b", ear)
        await asyncio.sleep(1.5)
        redis_server.thaw()
        await until(lambda: ear.losses > before, within=20)
        await hears(redis_server, ear)
        await hears(redis_server, ear, "b")


async def test_a_flush_takes_nothing_away(redis_server: RedisServer) -> None:
    ear = Ear()
    async with open_redis(redis_server.url) as broker:
        await subscribed(broker, "a", ear)
        redis_server.flush()
        await broker.publish([BrokerMessage("a", b"1")])
        await until(lambda: ear.heard)


async def test_the_breaker_closes_again(redis_server: RedisServer) -> None:
    ear = Ear()
    async with open_redis(redis_server.url) as broker:
        await subscribed(broker, "a", ear)
        redis_server.kill()
        await broker.publish([BrokerMessage("a", b"lost")])
        redis_server.start()
        await asyncio.sleep(BREAK_S)
        await broker.publish([BrokerMessage("a", b"1")])
        await until(lambda: ear.losses > 1, within=20)
        await broker.publish([BrokerMessage("a", b"2")])
        await until(lambda: ("a", b"2") in ear.heard)


async def test_crowds_that_come_and_go_are_all_heard(redis_server: RedisServer) -> None:
    async with open_redis(redis_server.url) as broker, open_redis(redis_server.url) as other:
        ears = [Ear() for _ in range(300)]
        await subscribed(broker, "0", ears[0])
        await asyncio.gather(
            *(broker.subscribe(str(number % 50), ear) for number, ear in enumerate(ears))
        )
        await other.publish([BrokerMessage(str(n), b"1") for n in range(50)])
        await until(lambda: all(ear.heard for ear in ears))
        await asyncio.gather(
            *(broker.unsubscribe(str(number % 50), ear) for number, ear in enumerate(ears))
        )
        await other.publish([BrokerMessage(str(n), b"2") for n in range(50)])
        await asyncio.sleep(0.1)
        assert {len(ear.heard) for ear in ears} == {1}
