"""Redis: the broker between several processes.

One connection listens for all channels of a process. It is pinged, so that a server which is frozen
or cut off is noticed like one that has died; after every reconnect what is followed is subscribed
again and each listener is told that it may have lost something. A Redis that was restarted accepts
publishes that nobody receives, so nothing here rests on an answer to a publish.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypedDict, cast

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from gateway.errors import Unavailable
from gateway.process.drain import end
from gateway.streams.brokers.broker import BrokerMessage, Listener

log = logging.getLogger(__name__)

TIMEOUT = 0.25
"""Seconds. A slow Redis is worse than a dead one."""
PING_S = 0.5
"""How often the listening connection is pinged."""
SILENCE_S = PING_S + 2 * TIMEOUT
"""A connection that was silent for so long, pings included, is given up."""
BREAK_S = 1.0
"""After a failed publish the next ones are not tried for so long."""
BACKOFF_S = 0.1, 1.0
"""The first pause before a reconnect, and the longest."""
ALIVE = "agw:alive"
"""A channel that every process listens to: without one there is no pub/sub connection to ping."""

_FAILURES = (RedisError, OSError, TimeoutError)


class _Heard(TypedDict):
    """A message of redis-py."""

    type: str
    channel: bytes
    data: bytes


def _client(url: str) -> Redis:
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        decode_responses=False,
    )


async def ping(url: str) -> None:
    """Raises Unavailable."""
    async with _client(url) as redis:
        await _ping(redis)


async def _ping(redis: Redis) -> None:
    try:
        await redis.ping()
    except Exception as error:  # whatever a driver raises: it does not answer
        raise Unavailable(f"Redis does not answer ({type(error).__name__}).") from error


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[RedisBroker]:
    """A broker that begins to listen at once. A Redis that is away is no error."""
    async with _client(url) as redis:
        broker = RedisBroker(redis)
        listening = asyncio.create_task(broker.listen(), name="listen to redis")
        try:
            yield broker
        finally:
            await end((listening,))


class RedisBroker:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pubsub: PubSub | None = None
        self.listeners: dict[str, list[Listener]] = {}
        self._acknowledged: dict[str, asyncio.Event] = {}
        self._sending = asyncio.Lock()
        self._broken_until = 0.0
        self._last_heard = 0.0

    # ---- publishing ------------------------------------------------------------------------------

    def reaches(self, channel: str) -> bool:
        return True  # maybe in another process

    async def publish(self, messages: Sequence[BrokerMessage]) -> None:
        if time.monotonic() < self._broken_until:
            return
        try:
            async with asyncio.timeout(TIMEOUT):
                try:
                    await self._send(messages)
                except RedisConnectionError:  # a connection from before a restart
                    await self._send(messages)
        except _FAILURES as error:
            self._broken_until = time.monotonic() + BREAK_S
            log.warning("redis did not take a message", extra={"error": type(error).__name__})

    async def _send(self, messages: Sequence[BrokerMessage]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for channel, payload in messages:
            pipeline.publish(channel, payload)
        await pipeline.execute()

    async def ping(self) -> None:
        await _ping(self._redis)

    # ---- subscribing -----------------------------------------------------------------------------

    async def subscribe(self, channel: str, listener: Listener) -> bool:
        listeners = self.listeners.setdefault(channel, [])
        if listener not in listeners:
            listeners.append(listener)
        if channel not in self._acknowledged:
            self._acknowledged[channel] = asyncio.Event()
            await self._tell("SUBSCRIBE", channel)
        return await self._acknowledgement(channel)

    async def _acknowledgement(self, channel: str) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT):
                if (event := self._acknowledged.get(channel)) is None:
                    return False
                await event.wait()
        except TimeoutError:
            return False
        return True

    async def unsubscribe(self, channel: str, listener: Listener) -> None:
        listeners = self.listeners.get(channel, [])
        if listener in listeners:
            listeners.remove(listener)
        if listeners or channel not in self._acknowledged:
            return
        del self.listeners[channel], self._acknowledged[channel]
        await self._tell("UNSUBSCRIBE", channel)

    async def _tell(self, command: str, channel: str) -> None:
        """Send a command on the listening connection; if that fails, the next one makes up for it,
        as it subscribes to all that is followed then."""
        try:
            async with asyncio.timeout(TIMEOUT), self._sending:
                if self._pubsub is not None:
                    await self._pubsub.execute_command(command, channel)
        except _FAILURES:
            self._last_heard = 0.0

    # ---- listening -------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Listen for ever, over as many connections as it takes."""
        pause, longest = BACKOFF_S
        while True:
            began = time.monotonic()
            try:
                await self._listen_once()
            except _FAILURES as error:
                log.warning("redis can't be listened to", extra={"error": type(error).__name__})
            if time.monotonic() - began > longest:
                pause = BACKOFF_S[0]
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  no secret
            pause = min(2 * pause, longest)

    async def _listen_once(self) -> None:
        for event in self._acknowledged.values():
            event.clear()
        pubsub = self._redis.pubsub()
        try:
            self._last_heard = time.monotonic()
            async with asyncio.timeout(2 * TIMEOUT):
                await pubsub.subscribe(ALIVE)
                # From here on `subscribe` sends its own; what was there before is sent now.
                self._pubsub = pubsub
                if self.listeners:
                    await pubsub.execute_command("SUBSCRIBE", *self.listeners)
            await self._hear_on(pubsub)
        finally:
            self._pubsub = None
            # redis-py's own `aclose` has no types.
            async with pubsub:
                pass

    async def _hear_on(self, pubsub: PubSub) -> None:
        fresh, alive = True, 0
        next_ping = time.monotonic() + PING_S
        while True:
            now = time.monotonic()
            if now - self._last_heard > SILENCE_S:
                raise TimeoutError
            if now >= next_ping:
                await pubsub.ping()
                next_ping = now + PING_S
            told = await pubsub.get_message(timeout=max(0.01, next_ping - now))
            if told is None:
                continue
            self._last_heard = time.monotonic()
            heard = cast("_Heard", told)
            alive += heard["type"] == "subscribe" and heard["channel"] == ALIVE.encode()
            if alive > 1:  # redis-py has reconnected by itself, and knows of no other channel
                raise ConnectionError
            self._take(heard)
            if fresh and all(event.is_set() for event in self._acknowledged.values()):
                fresh = False
                self._tell_lost()

    def _take(self, told: _Heard) -> None:
        if told["type"] not in ("message", "subscribe"):
            return
        channel = told["channel"].decode()
        if told["type"] == "subscribe":
            if event := self._acknowledged.get(channel):
                event.set()
            return
        for listener in tuple(self.listeners.get(channel, ())):
            listener.hear(channel, told["data"])

    def _tell_lost(self) -> None:
        for listener in {id(one): one for many in self.listeners.values() for one in many}.values():
            listener.lost()
