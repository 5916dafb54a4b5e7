"""What each door costs the database: the statements of a request, counted in Postgres' own log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.chat.clients import named
from tests.conftest import StartGateway, server_directory
from tests.rpc.asking import calling
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, text
from tests.team import make_team

TIMES = 6
"""The gateway also looks after itself, once a second and after a reply: the least is the request's
own."""
_STATEMENT = re.compile(r"\[(\d+)\] LOG:  duration: [\d.]+ ms  (?:parse|execute|statement)")


class Counting:
    """The statements of one database's sessions."""

    def __init__(self, log: Path, connection: asyncpg.Connection) -> None:
        self._log = log
        self._connection = connection

    async def least(self, ask: Callable[[], Awaitable[object]]) -> int:
        """Of one request. A statement that had to be parsed took another round trip."""
        return min([await self._of(ask) for _ in range(TIMES)])

    async def _of(self, ask: Callable[[], Awaitable[object]]) -> int:
        ours = await self._sessions()
        start = self._log.stat().st_size
        await ask()
        await asyncio.sleep(0.1)
        with self._log.open(errors="replace") as log:
            log.seek(start)
            told = _STATEMENT.findall(log.read())
        counted = sum(int(pid) in ours for pid in told)
        assert counted, "nothing was logged"
        return counted

    async def _sessions(self) -> set[int]:
        rows = await self._connection.fetch(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return {row["pid"] for row in rows}


@pytest.fixture
async def counting(dsn: str, testrun_uid: str) -> AsyncIterator[Counting]:
    """Before the gateway: what a database logs is said to a session when it begins."""
    connection = await asyncpg.connect(dsn)
    try:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET log_min_duration_statement = 0")
        await connection.execute(f"ALTER DATABASE {name} SET log_parameter_max_length = 0")
        yield Counting(server_directory(testrun_uid) / "postgres" / "log", connection)
    finally:
        await connection.close()


@pytest.fixture
async def counted_gateway(counting: Counting, start_gateway: StartGateway) -> Gateway:
    return await start_gateway()


def answering(upstream: ScriptedUpstream) -> None:
    upstream.always("manager", say(0, "Hello."))
    upstream.always("*", text("Hello."))


@pytest.mark.parametrize(
    ("who", "streamed", "most"),
    [
        pytest.param("agency", False, 10, id="an agency"),
        pytest.param("agency", True, 10, id="an agency, followed on a channel"),
        pytest.param("model", False, 10, id="a model"),
    ],
)
async def test_a_message_of_the_rpc_door(
    counting: Counting,
    counted_gateway: Gateway,
    upstream: ScriptedUpstream,
    who: str,
    streamed: bool,
    most: int,
) -> None:
    """BEGIN and COMMIT counted."""
    gateway = counted_gateway
    answering(upstream)
    responder = "gpt" if who == "model" else f"agency/{(await make_team(gateway)).id}"
    rpc = await calling(gateway, "root", "conversations", "chat", "act_as")
    conversation = await rpc.create(responder)
    await rpc.say(conversation)

    async def ask() -> None:
        await rpc.say(conversation, options={"use_streaming": streamed})

    assert await counting.least(ask) <= most


async def test_a_chat(
    counting: Counting, counted_gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    answering(upstream)
    client = counted_gateway.client((await make_team(counted_gateway)).id)
    numbers = count()

    async def ask() -> None:
        messages: Any = [{"role": "user", "content": f"Question {next(numbers)}"}]
        await client.chat.completions.create(model="team", messages=messages)

    assert await counting.least(ask) <= 3


async def test_a_chat_that_goes_on(
    counting: Counting, counted_gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    answering(upstream)
    client = counted_gateway.client((await make_team(counted_gateway)).id)
    messages: Any = []

    async def ask() -> None:
        messages.append({"role": "user", "content": "And now?"})
        made = await client.chat.completions.create(model="team", messages=messages)
        messages.append({"role": "assistant", "content": made.choices[0].message.content})

    assert await counting.least(ask) <= 3


async def test_a_chat_in_a_conversation_that_is_named(
    counting: Counting, counted_gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    answering(upstream)
    team = await make_team(counted_gateway)
    client = counted_gateway.client(team.id)
    made = await client.chat.completions.with_raw_response.create(
        model="team", messages=[{"role": "user", "content": "Hi"}]
    )
    name = made.headers["x-conversation-id"]
    numbers = count()

    async def ask() -> None:
        await client.chat.completions.create(
            model="team",
            messages=[{"role": "user", "content": f"Question {next(numbers)}"}],
            **named(name),
        )

    assert await counting.least(ask) <= 7
