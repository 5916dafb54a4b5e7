"""GATEWAY_PING_S and GATEWAY_SEND_TIMEOUT_S on channels, over real sockets."""

from __future__ import annotations

import socket

from tests.conftest import StartGateway
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say
from tests.streams.reading import following
from tests.streams.rows import new_conversation
from tests.streams.waiting import until
from tests.team import make_team


async def test_a_silent_channel_is_pinged_again_and_again(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(ping=0.1)
    writer = await new_conversation(gateway.resources.database, "root")
    async with following(gateway.http, writer.channel) as told:
        await told.until(lambda one: one.comments.count("ping") >= 3)


async def test_nothing_on_the_way_may_keep_a_stream_whatever_it_tells(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Hello."))
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    chat = await gateway.http.post(f"/api/agency/{team.id}/chat/completions", json=body)
    writer = await new_conversation(gateway.resources.database, "root")
    async with following(gateway.http, writer.channel) as told:
        for answer in (chat, told.response):
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-accel-buffering"] == "no"
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_a_reader_that_takes_nothing_is_cut_off_after_the_time_that_is_set(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(ping=0.05, send_timeout=0.5)
    writer = await new_conversation(gateway.resources.database, "root")
    for _ in range(5):
        await writer.say("x" * 1_000_000)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", int(gateway.base_url.rpartition(":")[2])))
        reader.sendall(
            f"GET /streams/{writer.channel} HTTP/1.1\r\nhost: x\r\n"
            f"authorization: Bearer {gateway.root_key}\r\n\r\n".encode()
        )
        feed = gateway.resources.feed
        await until(lambda: feed.followers, within=20)
        await until(lambda: not feed.followers, within=20)
