"""The topology of compose.yaml behind nginx and Caddy as `deploy/` sets them up, over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import asyncpg
import httpx
import pytest
import pytest_asyncio

from gateway.routes.http.errors import MAX_BODY
from tests import postgres
from tests.client import bearer
from tests.deploy.topology import GATEWAYS, KEY, Proxy, Stack, caddy, nginx
from tests.ports import free_port
from tests.scripted import ScriptedUpstream, say
from tests.streams.servers import RedisServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
RecordProperty = Callable[[str, object], None]
TEAM = {
    "name": "Solo",
    "manager": "lead",
    "agents": [{"name": "lead", "instructions": "Answer."}],
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty_database(postgres_server: str) -> AsyncIterator[str]:
    administrator = await asyncpg.connect(postgres_server)
    name = f"topology_{free_port()}"
    await administrator.execute(f"CREATE DATABASE {name}")
    yield postgres.database_dsn(postgres_server, name)
    await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await administrator.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: str,
    redis: RedisServer,
    upstream: ScriptedUpstream,
) -> AsyncIterator[Stack]:
    """Migrated once, then two gateways that begin at the same moment on an empty database."""
    secrets = {"database_url": empty_database, "root_key": KEY, "openai_api_key": "sk-test"}
    hosts = {"redis:6379": f"127.0.0.1:{redis.port}"}
    stack = Stack(tmp_path_factory.mktemp("stack"), hosts, secrets)
    migrated = await asyncio.to_thread(stack.command, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert "ran " in migrated.stdout
    try:
        for name in GATEWAYS:
            stack.serve(name, free_port(), OPENAI_BASE_URL=upstream.base_url)
        for name in GATEWAYS:
            await asyncio.to_thread(stack.await_ready, name)
        yield stack
        for name in tuple(stack.running):
            assert await asyncio.to_thread(stack.end, name) == 0
    finally:
        for process in stack.running.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def agency(stack: Stack) -> int:
    base = f"http://127.0.0.1:{stack.ports[GATEWAYS[0]]}"
    told = httpx.post(f"{base}/api/agencies", json=TEAM, headers={"x-api-key": KEY}, timeout=30)
    assert told.status_code == 201, told.text
    return int(told.json()["id"])


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stack: Stack
) -> Iterator[Proxy]:
    start = {"nginx": nginx, "caddy": caddy}[request.param]
    ports = [stack.ports[name] for name in GATEWAYS]
    with start(tmp_path_factory.mktemp(request.param), ports, free_port(), free_port()) as proxy:
        _await_proxy(proxy)
        yield proxy


def _await_proxy(proxy: Proxy) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            assert httpx.get(f"{proxy.base_url}/health/live", verify=proxy.tls).status_code == 200
        except (httpx.TransportError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


@pytest_asyncio.fixture(loop_scope="module")
async def client(proxy: Proxy) -> AsyncIterator[httpx.AsyncClient]:
    headers = bearer(KEY)
    async with httpx.AsyncClient(
        base_url=proxy.base_url, verify=proxy.tls, headers=headers, timeout=60
    ) as client:
        yield client


async def test_gateways_that_begin_at_once_make_one_example(stack: Stack) -> None:
    for name in GATEWAYS:
        base = f"http://127.0.0.1:{stack.ports[name]}"
        async with httpx.AsyncClient(headers={"x-api-key": KEY}) as direct:
            listed = (await direct.get(f"{base}/api/agencies")).json()["data"]
        assert [one["name"] for one in listed].count("Studio") == 1


def asking(agency: int, content: str, *, stream: bool = False) -> dict[str, object]:
    messages = [{"role": "user", "content": content}]
    return {"model": f"agency/{agency}", "messages": messages, "stream": stream}


async def test_a_chat_passes_and_tls_is_remembered(
    client: httpx.AsyncClient, upstream: ScriptedUpstream, agency: int
) -> None:
    upstream.script("lead", say(0, "Here I am."))
    told = await client.post("/v1/chat/completions", json=asking(agency, "Hello?"))
    assert told.json()["choices"][0]["message"]["content"] == "Here I am."
    assert told.headers["strict-transport-security"] == "max-age=31536000"
    assert told.headers["x-request-id"].startswith("req_")


async def test_clients_get_http_2(proxy: Proxy) -> None:
    offering = ssl.create_default_context()
    offering.check_hostname = False
    offering.verify_mode = ssl.CERT_NONE
    offering.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", proxy.port)) as plain,
        offering.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        assert wrapped.selected_alpn_protocol() == "h2"


async def test_the_first_words_of_a_stream_arrive_while_the_model_still_speaks(
    client: httpx.AsyncClient,
    upstream: ScriptedUpstream,
    agency: int,
    proxy: Proxy,
    record_property: RecordProperty,
) -> None:
    hold = asyncio.Event()
    upstream.script("lead", say(0, "One word, and then a pause.", hold=hold, hold_after=4))
    body = asking(agency, "Speak slowly.", stream=True)
    async with asyncio.timeout(60):
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            if proxy.name == "caddy":  # nginx keeps it for itself
                assert answer.headers["x-accel-buffering"] == "no"
            lines = answer.aiter_lines()
            async for line in lines:
                if '"content":"O' in line:
                    break
            assert upstream.calls_of("lead")[-1].open, "the model has said all"
            behind = asyncio.get_running_loop().time() - upstream.calls_of("lead")[-1].started_at
            hold.set()
            rest = [line async for line in lines]
    assert "data: [DONE]" in rest
    record_property(f"{proxy.name}: ms from the model's call to the first word", behind * 1000)


async def test_a_channel_tells_at_once(
    client: httpx.AsyncClient, upstream: ScriptedUpstream, agency: int
) -> None:
    upstream.script("lead", say(0, "Noted."))
    told = await client.post("/v1/chat/completions", json=asking(agency, "Follow me."))
    channel = f"/streams/{told.headers['x-conversation-id']}"
    async with asyncio.timeout(30), client.stream("GET", channel) as followed:
        async for line in followed.aiter_lines():
            if line.startswith("data:"):
                break


async def test_a_client_that_leaves_is_noticed(
    client: httpx.AsyncClient, upstream: ScriptedUpstream, agency: int
) -> None:
    upstream.script("lead", say(0, "Wait for it.", hold=asyncio.Event(), hold_after=4))
    body = asking(agency, "Tell me.", stream=True)
    async with asyncio.timeout(60):
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if '"content":"W' in line:
                    break
        await upstream.calls_of("lead")[-1].disconnected.wait()


@pytest.mark.parametrize("size", [MAX_BODY + 4096, MAX_BODY * 2])
async def test_a_body_too_large_is_refused_in_words(
    client: httpx.AsyncClient, agency: int, size: int
) -> None:
    told = await client.post("/v1/chat/completions", json=asking(agency, "x" * size))
    assert told.status_code == 413
    assert told.json()["error"]["code"] == "request_too_large"


async def test_a_gateway_that_ends_costs_no_request(
    stack: Stack, client: httpx.AsyncClient, proxy: Proxy, upstream: ScriptedUpstream, agency: int
) -> None:
    port = stack.ports[GATEWAYS[1]]
    upstream.always("lead", say(0, "Still here."))
    assert await asyncio.to_thread(stack.end, GATEWAYS[1]) == 0
    if proxy.name == "caddy":  # before 2.11.2 it can't send a body again: caddyserver/caddy#7546
        await asyncio.sleep(5)  # so wait for its check
    try:
        for number in range(10):
            told = await client.post("/v1/chat/completions", json=asking(agency, f"{number}?"))
            assert told.status_code == 200, told.text
    finally:
        stack.serve(GATEWAYS[1], port, OPENAI_BASE_URL=upstream.base_url)
        await asyncio.to_thread(stack.await_ready, GATEWAYS[1])


async def test_headers_that_do_not_come_end_the_connection(proxy: Proxy) -> None:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", proxy.port, ssl=proxy.tls, server_hostname="localhost"
        )
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        await writer.drain()
        with suppress(ConnectionResetError):
            assert b"200 OK" not in await reader.read()
        writer.close()


async def test_the_access_log_holds_no_stream_token(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    await client.get("/streams/conv_1?token=a-secret-token")
    if proxy.name == "nginx":  # Caddy writes none unless it is told to
        async with asyncio.timeout(10):  # the line is written after the answer
            while "GET /streams/conv_1" not in (written := proxy.log.read_text()):
                await asyncio.sleep(0.02)
        assert "a-secret-token" not in written
