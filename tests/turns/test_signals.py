"""Processes tell each other of turns to be stopped or taken up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chat.clients import Chat, retry
from tests.conftest import StartGateway
from tests.rpc.asking import Rpc, answering
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, silence
from tests.streams.reading import Subscription, following
from tests.streams.servers import RedisServer
from tests.team import make_team

STREAMED = {"options": {"use_streaming": True}}


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    server = RedisServer(tmp_path)
    server.start()
    yield server.url
    server.stop()


def _states(told: Subscription) -> list[str]:
    return [one["turn"]["state"] for one in told.of("turn.updated")]


async def test_a_cancel_stops_the_upstream_call_of_another_process_at_once(
    start_gateway: StartGateway, upstream: ScriptedUpstream, redis_url: str
) -> None:
    one = await start_gateway(lease=600.0, redis_url=redis_url)
    other = await start_gateway(lease=600.0, redis_url=redis_url)
    answering(upstream, silence(), "B")
    door = Rpc(one.http)
    conversation = await door.create("gpt")
    first = await door.say(conversation, "one", **STREAMED)
    second = asyncio.create_task(door.say(conversation, "two"))
    call = await upstream.arrived()
    listed = await other.resources.database.fetch("SELECT id FROM turn WHERE state = 'running'")
    turn = f"turn_{listed[0]['id'].hex}"
    cancelled = await other.http.post(f"/api/turns/{turn}/cancel")
    assert cancelled.status_code == 200, cancelled.text
    await asyncio.wait_for(call.disconnected.wait(), 10)
    assert (await second)["response_interaction"]["message_content"] == "B"
    interactions = (await door.read(conversation))["interactions"]
    reply = next(i for i in interactions if i["id"] == first["response_interaction"]["id"])
    assert [error["code"] for error in reply["errors"]] == ["turn_cancelled"]


async def test_a_turn_that_a_process_hands_over_is_taken_up_at_once(
    start_gateway: StartGateway, upstream: ScriptedUpstream, redis_url: str
) -> None:
    one = await start_gateway(lease=600.0, redis_url=redis_url)
    other = await start_gateway(lease=600.0, redis_url=redis_url)
    answering(upstream, silence(), "A")
    conversation = await Rpc(one.http).create("gpt")
    await Rpc(one.http).say(conversation, "one", **STREAMED)
    await upstream.arrived()
    one.resources.drain.begin()
    await upstream.arrived(count=2, within=2)
    async with asyncio.timeout(20):
        while await Rpc(other.http).said(conversation) != ["one", "A"]:
            await asyncio.sleep(0.02)


async def test_a_channel_tells_that_a_turn_is_suspended_and_resumed(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A1"), silence(), say(0, "A2"))
    await ann.say("one")
    again = ann.branch()
    async with following(gateway.http, ann.conversation) as told:
        asking = asyncio.create_task(ann.say("two"))
        await upstream.arrived("manager", 2)
        asking.cancel()
        # Told before the turn goes on: a state that is overtaken before it is read is never told.
        await told.until(
            lambda s: "suspended" in [t["turn"]["state"] for t in s.of("turn.updated")]
        )
        again.history.append({"role": "user", "content": "two"})
        assert await again.send(**retry()) == "A2"
        await told.until(
            lambda s: "completed" in [t["turn"]["state"] for t in s.of("turn.updated")]
        )
    states = [one["turn"]["state"] for one in told.of("turn.updated")]
    assert states[-1] == "completed"
