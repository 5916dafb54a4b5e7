"""A thousand requests at once over two processes, of which only twenty differ: each has its effect
once, runs its model once, and all who sent it get the same bytes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import pytest

from gateway.postgres.database import Database
from tests.scripted import ScriptedUpstream, say, text
from tests.scripted.exchange import ANONYMOUS
from tests.serving.crash.callers import OWNER, RPC, Caller, Rpc
from tests.serving.crash.counting import MANAGER
from tests.serving.crash.processes import Process
from tests.team import Team, make_team

REQUESTS = 1000
KEYS = 20


@dataclass(frozen=True)
class Request:
    path: str
    body: Mapping[str, object]
    headers: Mapping[str, str]


@pytest.fixture
async def team(pair: tuple[Process, Process], upstream: ScriptedUpstream) -> Team:
    upstream.always(MANAGER, lambda call: say(0, f"Yes: {call.inbound[-1][1]}", delay=0.1))
    upstream.always(ANONYMOUS, text("A title"))
    return await make_team(pair[0])  # type: ignore[arg-type]


async def send_all(pair: Sequence[Process], requests: Sequence[Request]) -> list[set[bytes]]:
    """Each of them many times, all at once, in an order of chance. The bodies of its answers."""
    numbers = [number % len(requests) for number in range(REQUESTS)]
    random.Random(0).shuffle(numbers)

    async def send(place: int, number: int) -> tuple[int, httpx.Response]:
        one = requests[number]
        http = pair[place % len(pair)].http
        return number, await http.post(one.path, json=one.body, headers=one.headers)

    sent = await asyncio.gather(*(send(place, number) for place, number in enumerate(numbers)))
    statuses = Counter(response.status_code for _, response in sent)
    assert set(statuses) == {200}, statuses
    bodies: defaultdict[int, set[bytes]] = defaultdict(set)
    for number, response in sent:
        bodies[number].add(response.content)
    return [bodies[number] for number in range(len(requests))]


def same(bodies: Sequence[set[bytes]]) -> None:
    """One answer each, and no two have the same."""
    assert [len(one) for one in bodies] == [1] * KEYS
    assert len(set().union(*bodies)) == KEYS


async def count(database: Database, table: str) -> int:
    row = await database.fetchrow(f"SELECT count(*) AS found FROM {table}")  # noqa: S608
    assert row is not None
    return int(row["found"])


async def test_conversations(
    pair: tuple[Process, Process], team: Team, upstream: ScriptedUpstream, database: Database
) -> None:
    relay = Rpc(Caller(pair, 0), team).relay
    requests = [
        Request(
            f"{RPC}/create_conversation",
            {"idempotency_key": f"key {n}", "owner": OWNER, "ai_relay_options": relay},
            {},
        )
        for n in range(KEYS)
    ]
    same(await send_all(pair, requests))
    assert await count(database, "conversation") == KEYS
    assert upstream.calls == []


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_messages(
    streamed: bool,
    pair: tuple[Process, Process],
    team: Team,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    door = Rpc(Caller(pair, 0), team)
    conversations = [await door.open() for _ in range(KEYS)]
    requests = [
        Request(
            f"{RPC}/create_conversation_message",
            door.message(conversation, f"Really, {n}?", f"key {n}", streamed=streamed),
            {},
        )
        for n, conversation in enumerate(conversations)
    ]
    same(await send_all(pair, requests))
    assert await count(database, "turn") == KEYS
    assert await count(database, "interaction") == 2 * KEYS
    assert len(upstream.calls_of(MANAGER)) == KEYS


async def test_chat_completions(
    pair: tuple[Process, Process], team: Team, upstream: ScriptedUpstream, database: Database
) -> None:
    requests = [
        Request(
            f"/api/agency/{team.id}/chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": f"Really, {n}?"}]},
            {"idempotency-key": f"key {n}"},
        )
        for n in range(KEYS)
    ]
    same(await send_all(pair, requests))
    assert await count(database, "turn") == KEYS
    assert await count(database, "conversation") == KEYS
    assert len(upstream.calls_of(MANAGER)) == KEYS
