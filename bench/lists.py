"""`python -m bench.lists`: what it takes to list a thousand conversations with all that was said.

The gateway is a process of its own over a real database. Targets are marked, not asserted.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import servers
from bench.servers import KEY
from bench.streams import show
from gateway.postgres import embedded
from gateway.postgres.database import open_database
from gateway.postgres.migrate import migrate

CONVERSATIONS = 1000
INTERACTIONS = 10
RUNS = 15

_FILL = (
    """
    CREATE UNLOGGED TABLE made AS
    SELECT gen_random_uuid() AS id FROM generate_series(1, $1::int) n
    """,
    """
    INSERT INTO conversation (id, owner_type, owner_identifier, title, provider_id, model_id,
                              version, length, root_id)
    SELECT id, 'user', 'root', 'A title of some words', 'open_ai', 'gpt-4o', $1, $1, id FROM made
    """,
    """
    INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier, content,
                             provider_id, model_id, completed_at, version)
    SELECT gen_random_uuid(), made.id, n, CASE n % 2 WHEN 1 THEN 'user' ELSE 'bot' END,
           CASE n % 2 WHEN 1 THEN 'root' ELSE 'gpt-4o' END, repeat('word ', 40), 'open_ai',
           'gpt-4o', now(), n
    FROM made, generate_series(1, $1::int) n
    """,
)


async def fill(dsn: str) -> None:
    await migrate(dsn)
    async with open_database(dsn) as database:
        made, conversations, interactions = _FILL
        await database.execute(made.replace("$1::int", str(CONVERSATIONS)))
        await database.execute(conversations, INTERACTIONS)
        await database.execute(interactions, INTERACTIONS)
        await database.execute("ANALYZE conversation, interaction")


def ask(port: int) -> tuple[float, bytes]:
    """Milliseconds from the request to the last byte, and the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    body = json.dumps({"owner": {"type": "user", "identifier": "root"}})
    began = time.perf_counter()
    connection.request(
        "POST", "/rpc/2025-02-12/list_conversations_with_interactions", body, headers
    )
    answer = connection.getresponse().read()
    took = (time.perf_counter() - began) * 1000
    connection.close()
    return took, answer


def lag(port: int, stop: float) -> list[float]:
    """Milliseconds that a request takes which costs nothing, asked all the while."""
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.perf_counter() < stop:
        began = time.perf_counter()
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(0.001)
    connection.close()
    return took


async def measure(port: int) -> None:
    _, answer = ask(port)
    listed = json.loads(answer)["conversations"]
    assert len(listed) == CONVERSATIONS
    assert {len(one["interactions"]) for one in listed} == {INTERACTIONS}
    took = [(await asyncio.to_thread(ask, port))[0] for _ in range(RUNS)]
    show(
        f"list of {CONVERSATIONS} conversations with {INTERACTIONS} interactions each, median",
        statistics.median(took),
        "ms",
        300,
    )
    watching = asyncio.create_task(asyncio.to_thread(lag, port, time.perf_counter() + 4))
    for _ in range(5):
        await asyncio.to_thread(ask, port)
    show("the longest that another request waited meanwhile", max(await watching), "ms", 50)
    print(f"     {len(answer) / 1e6:.1f} MB of JSON", flush=True)


def main() -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        dsn = stack.enter_context(embedded.running(directory / "postgres"))
        asyncio.run(fill(dsn))
        environment = {
            "DATABASE_URL": dsn,
            "GATEWAY_DATA_DIR": str(directory / "data"),
            "GATEWAY_ROOT_KEY": KEY,
        }
        log = directory / "gateway.log"
        _, port = stack.enter_context(servers.started(["gateway", "serve"], environment, log))
        asyncio.run(measure(port))


if __name__ == "__main__":
    main()
