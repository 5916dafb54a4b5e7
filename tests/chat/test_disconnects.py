"""Clients that go away: the models are hung up on at once, what was said is kept, nothing leaks."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gateway.postgres.database import Database
from tests.chat.asking import ask, stream, talk, text, turns, user, words
from tests.conftest import StartGateway
from tests.running import ROOT_KEY, Gateway
from tests.scripted import ScriptedUpstream, say, say_many
from tests.scripted.exchange import Call
from tests.team import Team, make_team


async def eventually(holds: Callable[[], bool | Awaitable[bool]], within: float = 2.0) -> None:
    async with asyncio.timeout(within):
        while True:
            held = holds()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.01)


async def turned(database: Database, state: str) -> None:
    """Wait until the only turn is in this state."""

    async def has_turned() -> bool:
        return await turns(database) == [(state, None)]

    await eventually(has_turned)


@asynccontextmanager
async def nothing_left(gateway: Gateway, upstream: ScriptedUpstream) -> AsyncIterator[None]:
    """Afterwards as many tasks run as before, and every connection is back in the pool."""
    warm = await make_team(gateway)
    for _ in range(2):  # the streams' library keeps a task of its own for ever
        upstream.script("manager", say(0, "Warm."))
        await stream(gateway, warm)
    database = gateway.resources.database
    before = asyncio.all_tasks()
    yield

    def late() -> list[asyncio.Task[Any]]:
        return [task for task in asyncio.all_tasks() - before if not _of_the_upstream(task)]

    def clean() -> bool:
        return not late() and database.lent == 0

    try:
        await eventually(clean)
    except TimeoutError:
        raise AssertionError(f"still there: {late()}, {database.lent} lent") from None


def _of_the_upstream(task: asyncio.Task[Any]) -> bool:
    """The scripted upstream waits for the next request of each connection."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "scripted" in code.co_filename


async def hung_up(*calls: Call) -> None:
    async with asyncio.timeout(10):
        for call in calls:
            await call.disconnected.wait()


class Socket:
    """A client that speaks HTTP by hand, so that it can leave or stop reading when it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def leave(self) -> None:
        self.writer.transport.abort()


async def connect(
    gateway: Gateway, team: Team, *, receive_buffer: int | None = None, **body: Any
) -> Socket:
    host, port = gateway.base_url.removeprefix("http://").split(":")
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    limit = 2 if receive_buffer else 2**16
    reader, writer = await asyncio.open_connection(sock=connection, limit=limit)
    data = json.dumps({"model": "m", "messages": [user("Hi")], **body}).encode()
    head = (
        f"POST /api/agency/{team.id}/chat/completions HTTP/1.1\r\nhost: {host}\r\n"
        f"authorization: Bearer {ROOT_KEY}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    writer.write(head.encode() + data)
    await writer.drain()
    return Socket(reader, writer)


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_leaves_before_the_first_token_ends_the_call_and_suspends_the_turn(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    database: Database,
    streamed: bool,
) -> None:
    async with nothing_left(gateway, upstream):
        await database.execute("TRUNCATE conversation, interaction, turn, step, message")
        team = await make_team(gateway)
        upstream.script("manager", say(0, "Never heard", hold=asyncio.Event()))
        client = await connect(gateway, team, stream=streamed)
        call = await upstream.arrived("manager", 3)
        client.leave()
        await hung_up(call)
        await turned(database, "suspended")


async def test_who_leaves_inside_the_stream_ends_the_call_and_suspends_the_turn(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    async with nothing_left(gateway, upstream):
        await database.execute("TRUNCATE conversation, interaction, turn, step, message")
        team = await make_team(gateway)
        upstream.script("manager", say(0, "Heard in part", hold=asyncio.Event(), hold_after=5))
        client = await connect(gateway, team, stream=True)
        await asyncio.wait_for(client.reader.readuntil(b"Heard"), 5)
        client.leave()
        await hung_up(upstream.calls_of("manager")[2])
        await turned(database, "suspended")


async def test_who_leaves_a_stream_that_was_only_comments_so_far_is_noticed_too(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    gateway = await start_gateway(ping=0.05)
    async with nothing_left(gateway, upstream):
        await database.execute("TRUNCATE conversation, interaction, turn, step, message")
        team = await make_team(gateway)
        upstream.script("manager", say(0, "Never heard", hold=asyncio.Event()))
        client = await connect(gateway, team, stream=True)
        await asyncio.wait_for(client.reader.readuntil(b": ping"), 5)
        client.leave()
        await hung_up(upstream.calls_of("manager")[2])
        await turned(database, "suspended")


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_leaves_while_two_agents_speak_ends_both_calls(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    database: Database,
    streamed: bool,
) -> None:
    async with nothing_left(gateway, upstream):
        await database.execute("TRUNCATE conversation, interaction, turn, step, message")
        team = await make_team(gateway, "programmer", "tester")
        upstream.script(
            "manager", say_many((team["programmer"], "Code?"), (team["tester"], "Tests?"))
        )
        for name in ("programmer", "tester"):
            upstream.script(name, say(team["manager"], "Never", hold=asyncio.Event()))
        client = await connect(gateway, team, stream=streamed)
        calls = [await upstream.arrived(name) for name in ("programmer", "tester")]
        client.leave()
        await hung_up(*calls)
        await turned(database, "suspended")


async def test_the_sdks_own_timeout_is_a_departure_like_any_other(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    async with nothing_left(gateway, upstream):
        await database.execute("TRUNCATE conversation, interaction, turn, step, message")
        team = await make_team(gateway)
        upstream.script("manager", say(0, "Too late", hold=asyncio.Event()))
        asking = asyncio.create_task(ask(gateway, team))
        call = await upstream.arrived("manager", 3)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await hung_up(call)
        await turned(database, "suspended")


async def test_finished_steps_are_kept_and_a_retry_goes_on_where_the_turn_stopped(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "programmer", "tester")
    programmer, tester, manager = team["programmer"], team["tester"], team["manager"]
    upstream.script(
        "manager",
        say_many((programmer, "Code?"), (tester, "Tests?")),
        say(0, "Coded and tested."),
    )
    upstream.script("programmer", say(manager, "Coded."))
    upstream.script("tester", say(manager, "Never", hold=asyncio.Event()), say(manager, "Tested."))
    asking = asyncio.create_task(ask(gateway, team))
    call = await upstream.arrived("tester")

    async def has_coded() -> bool:
        return len(await talk(database, programmer)) == 2

    await eventually(has_coded)
    asking.cancel()
    await hung_up(call)
    await turned(database, "suspended")
    retry = {"x-stainless-retry-count": "1"}
    assert text(await ask(gateway, team, extra_headers=retry)) == "Coded and tested."
    assert [call.agent for call in upstream.calls] == [
        "manager",
        *sorted(["programmer", "tester"]),
        "tester",
        "manager",
    ]
    assert upstream.calls[-2].inbound == [(manager, "Tests?")]
    assert sorted(upstream.calls[-1].inbound[1:]) == [(programmer, "Coded."), (tester, "Tested.")]
    assert await turns(database) == [("completed", None)]


async def test_a_retry_of_a_stream_hears_the_answer_from_its_beginning(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway)
    upstream.script(
        "manager",
        say(0, "A first attempt", hold=asyncio.Event(), hold_after=5),
        say(0, "A second attempt"),
    )
    client = await connect(gateway, team, stream=True)
    await asyncio.wait_for(client.reader.readuntil(b"A"), 5)
    client.leave()
    await turned(database, "suspended")
    retry = {"x-stainless-retry-count": "1"}
    client_body = {"model": "m", "messages": [user("Hi")], "stream": True}
    path = f"/api/agency/{team.id}/chat/completions"
    answer = await gateway.http.post(path, json=client_body, headers=retry)
    heard = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line[6:7] == "{"]
    deltas = [event["choices"][0]["delta"].get("content") or "" for event in heard]
    assert "".join(deltas) == "A second attempt"


async def test_an_agent_that_was_deleted_while_the_turn_was_suspended_is_told_of(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "tester")
    upstream.script("manager", say(team["tester"], "Tests?"), say(0, "Without tests."))
    upstream.script("tester", say(team["manager"], "Never", hold=asyncio.Event()))
    asking = asyncio.create_task(ask(gateway, team))
    await upstream.arrived("tester")
    asking.cancel()
    await turned(database, "suspended")
    await gateway.http.delete(f"/api/agencies/{team.id}/agents/{team['tester']}")
    assert text(await ask(gateway, team)) == "Without tests."
    assert upstream.calls[-1].inbound[-1] == (
        -2,
        f"#{team['tester']} can't answer: The agent is no longer part of the team.",
    )


async def test_a_slow_reader_hears_everything(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    said = "word " * 20_000
    upstream.script("manager", say(0, said, chunk=50))
    client = await connect(gateway, team, stream=True, receive_buffer=4096)
    heard = b""
    async with asyncio.timeout(10):
        while b"data: [DONE]" not in heard:
            heard += await client.reader.read(2**16)
            await asyncio.sleep(0.001)
    events = [line for line in heard.split(b"\n") if line.startswith(b"data: {")]
    assert len(events) > 2000
    client.leave()


async def test_a_client_that_stops_reading_is_cut_off_in_time(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    gateway = await start_gateway(send_timeout=0.5, ping=0.2)
    async with nothing_left(gateway, upstream):
        await database.execute("TRUNCATE conversation, interaction, turn, step, message")
        team = await make_team(gateway)
        upstream.script("manager", say(0, "word " * 2_000_000, chunk=20_000, pace=0.002))
        client = await connect(gateway, team, stream=True, receive_buffer=4096)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        call = await upstream.arrived("manager", 3)
        async with asyncio.timeout(6):
            await call.disconnected.wait()
        await turned(database, "suspended")
        # The connection is of no more use, and the gateway has let it go.
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                heard = await client.reader.read(-1)
                assert b"[DONE]" not in heard
        client.leave()


async def test_answers_leave_nothing_behind_while_their_clients_stay_connected(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    path = f"/api/agency/{team.id}/chat/completions"
    async with nothing_left(gateway, upstream):
        for n in range(20):
            upstream.script("manager", say(team["programmer"], "Code?"), say(0, f"Answer {n}"))
            upstream.script("programmer", say(team["manager"], "Coded."))
            body = {"model": "m", "messages": [user(str(n))], "stream": bool(n % 2)}
            answer = await gateway.http.post(path, json=body)
            assert answer.status_code == 200


async def test_many_clients_that_come_and_go_leave_nothing_behind(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    async with nothing_left(gateway, upstream):
        team = await make_team(gateway, "programmer")
        upstream.always("manager", say(team["programmer"], "Code?", delay=0.01))
        upstream.always("programmer", say(team["manager"], "Coded.", delay=0.03))
        clients = [await connect(gateway, team, stream=bool(n % 2), user=str(n)) for n in range(40)]
        for number, client in enumerate(clients):
            await asyncio.sleep(0.002 * (number % 5))
            client.leave()
        await eventually(lambda: not upstream.open_calls)


async def test_a_client_that_leaves_at_the_very_end_does_no_harm(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    async with nothing_left(gateway, upstream):
        team = await make_team(gateway)
        for n in range(20):
            upstream.script("manager", say(0, f"Answer {n}"))
            client = await connect(gateway, team, stream=bool(n % 2), user=str(n))
            await asyncio.wait_for(client.reader.read(1), 5)
            client.leave()
        await eventually(lambda: not upstream.open_calls)
    states = {state for state, _ in await turns(database)}
    assert states <= {"completed", "suspended"}


async def test_after_all_that_the_next_client_is_served(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Here.", delay=0.02))
    for n in range(10):
        client = await connect(gateway, team, stream=True, user=str(n))
        client.leave()
    assert words(await stream(gateway, team, "Anyone?")) == "Here."


async def test_who_leaves_while_the_body_is_read_leaves_one_quiet_line(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    host, port = gateway.base_url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = (
        "POST /api/agency/1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        f"authorization: Bearer {gateway.root_key}\r\ncontent-length: 1000\r\n\r\n"
    )
    writer.write(head.encode() + b'{"model": "m"')
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    async with asyncio.timeout(20):
        while not (lines := [r for r in caplog.records if r.name == "gateway.access"]):
            await asyncio.sleep(0.01)
    assert [line.status for line in lines] == [499]  # type: ignore[attr-defined]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
