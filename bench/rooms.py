"""`python -m bench.rooms`: a room of 50 people and 3 agents in which 5,000 messages were said, an
inbox in which 1,000 steps wait, and a search through 100,000 messages.

The gateway is a process of its own; the models are a mock that answers at once. Targets are marked,
not asserted: a noisy machine is no failure.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench import servers
from bench.load import Target
from bench.servers import KEY
from bench.streams import Reader, connect, show, until
from gateway import ids
from gateway.auth import Callers
from gateway.postgres.database import Database, open_database

PEOPLE = 50
SAID = 5000
MESSAGES = 100
WAITING = 1000
RUNS = 30
PATIENCE = 1000
"""Looks until something that goes on by itself has not happened."""

_SAY = """
    WITH c AS (
        UPDATE conversation SET version = version + 1, length = length + $2 WHERE id = $1
        RETURNING id, length - $2 AS base, version
    )
    INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier, content,
                             completed_at, version)
    SELECT gen_random_uuid(), c.id, c.base + n, 'user', 'root', repeat('word ', 40), now(),
           c.version
    FROM c, generate_series(1, $2::bigint) n
"""


_LIBRARY = """
    WITH c AS (
        INSERT INTO conversation (id, owner_type, owner_identifier, title, version, length, root_id)
        SELECT id, 'user', 'reader' || n % 200, 'Talk ' || n, 1, 100, id
        FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, 1000) n) made
        RETURNING id, owner_identifier
    ), p AS (
        -- Each of 200 users owns 5 and has joined 45.
        INSERT INTO participant (conversation_id, kind, identifier, ordinal, status, joined_at,
                                 version)
        SELECT id, 'user', 'reader' || (substr(owner_identifier, 7)::int + k * 7) % 200, k, 'idle',
               now(), 1
        FROM c, generate_series(0, 9) k
    )
    INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier, content,
                             completed_at, version)
    SELECT gen_random_uuid(), c.id, n, 'user', c.owner_identifier,
           array_to_string(ARRAY(SELECT 'w' || (random() * 5000 + n * 0)::int
                                 FROM generate_series(1, 40)), ' ') || ' common', now(), 1
    FROM c, generate_series(1, 100) n
"""


class Person:
    """Calls the gateway; a connection is opened before the time is taken."""

    def __init__(self, port: int, key: str) -> None:
        self.key = key
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def _call(self, method: str, path: str, body: object) -> tuple[Any, float]:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        self._connection.close()  # the gateway has closed one that was idle for long
        self._connection.connect()
        began = time.perf_counter()
        told = None if body is None else json.dumps(body)
        self._connection.request(method, path, told, headers)
        response = self._connection.getresponse()
        answer = response.read()
        took = time.perf_counter() - began
        if response.status >= 300:
            raise RuntimeError(f"{method} {path} answered {response.status}: {answer.decode()}")
        return json.loads(answer or b"null"), took

    async def call(self, method: str, path: str, body: object = None) -> tuple[Any, float]:
        """The answer, and the seconds that it took."""
        return await asyncio.to_thread(self._call, method, path, body)


async def furnished(found: servers.Servers, database: Database) -> tuple[str, list[Person]]:
    """The room, and all people in it."""
    port, keys = found.single.port, Callers(database)
    root = Person(port, KEY)
    names = [f"person{number}" for number in range(PEOPLE - 1)]
    users = [{"kind": "user", "identifier": name, "rights": ["add_message"]} for name in names]
    bots = [
        {"kind": "model", "identifier": "answer"},
        {"kind": "agency", "identifier": number(found.single)},
        {"kind": "agent", "identifier": str(await agent(found, "worker"))},
    ]
    body = {"title": "Bench", "participants": [*users, *bots]}
    room = (await root.call("POST", "/api/conversations", body))[0]["id"]
    await database.execute(_SAY, ids.read(ids.CONVERSATION, room), SAID)
    people = [root]
    for name in names:
        _, key = await keys.create(name, ["conversations"])
        person = Person(port, key)
        await person.call("POST", f"/api/conversations/{room}/join")
        people.append(person)
    await database.execute("ANALYZE")
    return room, people


def number(target: Target) -> str:
    """Of an agency."""
    return target.path.split("/")[3]


async def agent(found: servers.Servers, name: str) -> int:
    """An agent of the agency of two."""
    path = f"/api/agencies/{number(found.pair)}"
    agency, _ = await Person(found.pair.port, KEY).call("GET", path)
    return next(int(one["id"]) for one in agency["agents"] if one["name"] == name)


async def talk(port: int, room: str, people: list[Person], database: Database) -> None:
    """What it takes to say something, and until everybody has it. Bots answer in between."""
    readers = [await connect(port, room, key=person.key) for person in people]
    await until(lambda: all(one.arrived for one in readers))
    path, took, lags = f"/api/conversations/{room}/messages", [], []
    chance = random.Random(1)
    for number in range(MESSAGES):
        began = time.perf_counter()
        said, seconds = await chance.choice(people).call("POST", path, {"content": f"{number}?"})
        took.append(seconds)
        await until(lambda version=said["version"]: _all_have(readers, version))
        lags += [_when(one.arrived, said["version"]) - began for one in readers]
        await _settled(database)
    lags.sort()
    show("add message, p50", statistics.median(took) * 1000, "ms", 8)
    show(f"until all {PEOPLE} streams have it, p50", lags[len(lags) // 2] * 1000, "ms", 100)
    show(f"until all {PEOPLE} streams have it, p99", lags[int(len(lags) * 0.99)] * 1000, "ms", 100)
    for one in readers:
        one.transport.close()


def _all_have(readers: list[Reader], version: int) -> bool:
    return all(max(one.arrived) >= version for one in readers)


def _when(arrived: Mapping[int, float], version: int) -> float:
    """A reader may be told of several versions at once, by the last of them."""
    return min(at for told, at in arrived.items() if told >= version)


async def _settled(database: Database) -> None:
    """Look until nobody answers any more."""
    for _ in range(PATIENCE):
        if not await database.fetch("SELECT FROM turn WHERE completed_at IS NULL"):
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("the bots did not answer")


async def opening(room: str, person: Person) -> None:
    took = [(await person.call("GET", f"/api/conversations/{room}"))[1] for _ in range(RUNS)]
    show("open the room, median", statistics.median(took) * 1000, "ms", 30)


async def inbox(found: servers.Servers) -> None:
    """Sessions whose agent has asked a colleague, and waits."""
    root = Person(found.pair.port, KEY)
    manager = await agent(found, "manager")
    body = {"messages": [{"role": "user", "content": "Which fruit?"}]}
    for _ in range(WAITING):
        await root.call("POST", f"/api/agents/{manager}/sessions?wait=0", body)
    for _ in range(PATIENCE):
        if (await root.call("GET", "/api/inbox?limit=1"))[0]["count"] == WAITING:
            break
        await asyncio.sleep(0.1)
    took = [(await root.call("GET", "/api/inbox"))[1] for _ in range(RUNS)]
    show(f"inbox with {WAITING} waiting steps, median", statistics.median(took) * 1000, "ms", 50)


async def search(port: int, database: Database) -> None:
    """Through 1,000 conversations of 200 users, of which the asker may read 50."""
    await database.execute(_LIBRARY)
    await database.execute("ANALYZE")
    _, key = await Callers(database).create("reader3", ["conversations"])
    reader = Person(port, key)
    for words in ("w77", "common", "w1 w2", "nothing"):
        query = urlencode({"q": words})
        took = [(await reader.call("GET", f"/api/conversations?{query}"))[1] for _ in range(RUNS)]
        show(f"search for {words!r}, median", statistics.median(took) * 1000, "ms", 100)


async def measure(found: servers.Servers) -> None:
    port = found.single.port
    async with open_database(found.dsn) as database:
        room, people = await furnished(found, database)
        await talk(port, room, people, database)
        await opening(room, people[-1])
        await inbox(found)
        await search(port, database)


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        servers.running(Path(directory)) as found,
    ):
        asyncio.run(measure(found))


if __name__ == "__main__":
    main()
