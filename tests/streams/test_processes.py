"""Two gateways over one Postgres and one Redis: what is written at one is told by the other,
whatever befalls Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from gateway import ids
from gateway.streams.announcer import Voice
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.streams.reading import following
from tests.streams.servers import RedisServer
from tests.streams.test_channels import Announcing, room
from tests.streams.waiting import until

WITHIN = 2.0
"""Seconds that a Redis in trouble may cost."""


@pytest.fixture
async def pair(start_gateway: StartGateway, redis_server: RedisServer) -> tuple[Gateway, Gateway]:
    return (
        await start_gateway(redis_url=redis_server.url),
        await start_gateway(redis_url=redis_server.url),
    )


async def test_what_is_written_at_one_is_told_by_the_other(pair: tuple[Gateway, Gateway]) -> None:
    here, there = pair
    writer = await room(here)
    async with following(there.http, writer.channel) as told:
        await told.until(lambda one: one.told)
        took = []
        for n in range(20):
            await writer.say(f"Fruit {n}")
            took.append(await told.until_version(writer.version))
        assert sorted(took)[10] < 0.1, took
        assert told.names() == ["snapshot", *["interaction.created"] * 20]


async def killed(redis: RedisServer) -> None:
    redis.kill()


async def restarted(redis: RedisServer) -> None:
    redis.kill()
    redis.start()


async def frozen(redis: RedisServer) -> None:
    redis.freeze()


async def frozen_for_a_while(redis: RedisServer) -> None:
    redis.freeze()
    await asyncio.sleep(0.7)
    redis.thaw()


async def flushed(redis: RedisServer) -> None:
    redis.flush()


async def cut(redis: RedisServer) -> None:
    assert redis.drop_clients() == 2, "the connections that listen were not cut"


Fault = Callable[[RedisServer], Awaitable[None]]


@pytest.mark.parametrize(
    "fault", [killed, restarted, frozen, frozen_for_a_while, flushed, cut], ids=lambda f: f.__name__
)
async def test_a_redis_in_trouble_costs_no_event_and_two_seconds_at_most(
    pair: tuple[Gateway, Gateway], redis_server: RedisServer, fault: Fault
) -> None:
    here, there = pair
    writer = await room(here)
    written: dict[int, float] = {}

    enough = asyncio.Event()

    async def write() -> None:
        while not enough.is_set():
            await writer.say("Fruit")
            written[writer.version] = time.monotonic()
            await asyncio.sleep(0.04)

    async with following(there.http, writer.channel) as told:
        await told.until(lambda one: one.told)
        writing = asyncio.create_task(write())
        await asyncio.sleep(0.5)
        await fault(redis_server)
        await asyncio.sleep(2.5)
        enough.set()  # not cancelled: a version may be committed that it has not heard of
        await writing
        await told.until_version(writer.version, within=WITHIN)
        assert told.ids == list(range(1, writer.version + 1))
        delays = {one.id: one.at - written[one.id] for one in told.told[1:] if one.id in written}
        assert max(delays.values()) < WITHIN, delays
        assert len(written) > 20, "nothing was written meanwhile"


async def test_a_reader_may_come_while_redis_is_away(
    pair: tuple[Gateway, Gateway], redis_server: RedisServer
) -> None:
    here, there = pair
    writer = await room(here)
    redis_server.kill()
    async with following(there.http, writer.channel, last=1) as told:
        await writer.say("Fruit")
        assert await told.until_version(2, within=WITHIN) < WITHIN
        redis_server.start()
        await asyncio.sleep(1.5)
        await writer.say("More fruit")
        assert await told.until_version(3, within=WITHIN) < WITHIN


# ---- replies while they grow --------------------------------------------------------------------


class Speaker:
    """A reply that is being given in one of the gateways."""

    def __init__(self, writer: Announcing, reply: object, attempt: int = 1) -> None:
        self.text = ""
        self.wanted = 0
        self.reply = reply
        self.shown = ids.show(ids.INTERACTION, reply)  # type: ignore[arg-type]
        self.announcer = writer.gateway.resources.announcer
        self.voice = Voice(
            writer.conversation_id,
            reply,  # type: ignore[arg-type]
            attempt,
            lambda: self.text,
            self._want,
        )
        self.announcer.speak(self.voice)

    def _want(self) -> None:
        self.wanted += 1

    def silent(self) -> None:
        voice = self.voice
        self.announcer.fall_silent(voice.conversation_id, voice.interaction_id, voice.attempt)


@pytest.fixture(params=["alone", "pair"])
async def gateways(
    request: pytest.FixtureRequest, start_gateway: StartGateway
) -> tuple[Gateway, Gateway]:
    """Where it is written, and where it is read: the same gateway, or two."""
    if request.param == "alone":
        alone = await start_gateway()
        return alone, alone
    server: RedisServer = request.getfixturevalue("redis_server")
    return (
        await start_gateway(redis_url=server.url),
        await start_gateway(redis_url=server.url),
    )


async def test_a_reply_is_told_while_it_grows(gateways: tuple[Gateway, Gateway]) -> None:
    here, there = gateways
    writer = await room(here)
    async with following(there.http, writer.channel) as told:
        await told.until(lambda one: one.told)
        speaker = Speaker(writer, await writer.say("", done=False))
        for word in ("Apples ", "and ", "pears \U0001f350 ", "are ", "fruit."):
            speaker.text += word
            await asyncio.sleep(0.04)
        await told.until(lambda one: one.text(speaker.shown) == speaker.text)
        assert len(told.of("interaction.delta")) > 2
        assert all(one.id is None for one in told.told if one.name == "interaction.delta")
        async with following(there.http, f"{writer.channel}.{speaker.shown}") as late:
            await late.until(lambda one: one.text(speaker.shown) == speaker.text)
            assert late.of("interaction.delta")[0]["offset"] == 0
            speaker.text += " More."
            for one in (told, late):
                await one.until(lambda one: one.text(speaker.shown) == speaker.text)
            await writer.complete(speaker.voice.interaction_id, speaker.text)
            speaker.silent()
            await late.until(lambda one: one.ended)
        await told.until_version(writer.version)
        assert told.told[-1].name == "interaction.updated"


async def test_words_are_gathered(gateways: tuple[Gateway, Gateway]) -> None:
    here, there = gateways
    writer = await room(here)
    speaker = Speaker(writer, await writer.say("", done=False))
    async with following(there.http, writer.channel) as told:
        await until(lambda: speaker.wanted)
        began = time.monotonic()
        for n in range(400):
            speaker.text += f"{n} "
            await asyncio.sleep(0.001)
        await told.until(lambda one: one.text(speaker.shown) == speaker.text)
        ticks = (time.monotonic() - began) / 0.025
        assert len(told.of("interaction.delta")) <= ticks + 2


async def test_a_new_attempt_begins_anew_and_the_old_one_is_heard_no_more(
    gateways: tuple[Gateway, Gateway],
) -> None:
    here, there = gateways
    writer = await room(here)
    reply = await writer.say("", done=False)
    old = Speaker(writer, reply)
    async with following(there.http, writer.channel, last=1) as told:
        old.text = "Apples are"
        await told.until(lambda one: one.text(old.shown) == "Apples are")
        new = Speaker(writer, reply, attempt=2)
        new.text = "Pears"
        await told.until(lambda one: one.text(new.shown) == "Pears")
        old.text += " what I meant"
        new.text += ", no doubt."
        await told.until(lambda one: one.text(new.shown) == "Pears, no doubt.")
        await asyncio.sleep(0.1)
        attempts = [one["attempt"] for one in told.of("interaction.delta")]
        assert attempts == sorted(attempts)


async def test_nothing_is_told_to_nobody(gateways: tuple[Gateway, Gateway]) -> None:
    here, _ = gateways
    writer = await room(here)
    speaker = Speaker(writer, await writer.say("", done=False))
    speaker.text = "Apples"
    await asyncio.sleep(0.3)
    assert not speaker.wanted


async def test_words_lost_on_the_way_are_told_again(
    pair: tuple[Gateway, Gateway], redis_server: RedisServer
) -> None:
    here, there = pair
    writer = await room(here)
    speaker = Speaker(writer, await writer.say("", done=False))
    async with following(there.http, writer.channel) as told:
        speaker.text = "Apples "
        await told.until(lambda one: one.text(speaker.shown) == "Apples ")
        redis_server.kill()
        speaker.text += "and pears "
        await asyncio.sleep(0.3)
        redis_server.start()
        await asyncio.sleep(1.5)
        speaker.text += "are fruit."
        await told.until(lambda one: one.text(speaker.shown) == speaker.text, within=20)
