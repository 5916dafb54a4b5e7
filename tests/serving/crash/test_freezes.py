"""A frozen process loses its turns to the other one. When it wakes up it writes nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gateway import ids
from gateway.postgres.database import Database
from tests.conftest import StartGateway
from tests.scripted import ScriptedUpstream, say
from tests.serving.crash.conftest import Spawn
from tests.serving.crash.invariants import all_ended
from tests.serving.crash.processes import LEASE_S, Process
from tests.serving.crash.proxy import FaultProxy, Mode
from tests.serving.crash.scenes import staged
from tests.team import make_team

TABLES = ("conversation", "interaction", "turn", "step", "message", "idempotency_key")
# The server serves the databases of other tests, too.
_HERE = "SELECT FROM pg_stat_activity WHERE datname = current_database()"
_BLOCKED = f"{_HERE} AND wait_event_type = 'Lock'"
_IN_TRANSACTION = f"{_HERE} AND state = 'idle in transaction'"
_RUNNING = "SELECT FROM turn WHERE state = 'running'"
DELAY_S = 0.15
LATE_S = 2.5
"""How long each word to and from the database takes: three leases."""
LOCKED_S = 30.0
"""Well below what its callers have patience for; it is told to let go after a few seconds."""
ASK_S = 3.0
"""How long its clients wait until they go to the other one."""
AWAKE_S = LEASE_S + 1.0
"""Time enough for whatever it would still do: its calls, its keepers, its saved texts."""


async def rows(database: Database) -> dict[str, list[str]]:
    return {
        table: sorted(
            row["row"]
            for row in await database.fetch(f"SELECT x::text AS row FROM {table} x")  # noqa: S608
        )
        for table in TABLES
    }


@pytest.mark.parametrize(("door", "seed"), [("rpc", 0), ("rpc", 1), ("chat", 2)])
async def test_a_frozen_process_that_wakes_up_writes_nothing(
    door: str,
    seed: int,
    pair: tuple[Process, Process],
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    one, other = pair
    async with staged(pair, upstream, database, door=door, seed=seed, silent=ASK_S) as scene:
        scene.ask(f"{seed}.warm", most=1)
        await scene.titled()
        scene.counting.slow = 2.0
        scene.door.caller.processes = [one]
        scene.door.caller.timeout = ASK_S
        scene.ask(f"{seed}", most=1)
        await scene.counting.next_call(one)
        await asyncio.sleep(scene.chance.uniform(0, 1.0))
        scene.note_hits(one)
        await one.freeze()
        assert scene.hits, "it was frozen while it did nothing"
        scene.door.caller.processes = [other]
        await scene.answered()
        await all_ended(database)
        before = await rows(database)
        await one.thaw()
        await asyncio.sleep(AWAKE_S)
        assert await rows(database) == before
        # It works as before.
        scene.door.caller.processes = [one]
        assert await scene.door.say(scene.conversations[0], f"And {seed}?")
        scene.door.caller.processes = list(pair)
        await scene.check()
        assert len(scene.waits()) >= len(scene.hits), "not all that it ran was taken up"


async def test_what_a_frozen_process_had_locked_does_not_hold_the_others_up(
    pair: tuple[Process, Process], upstream: ScriptedUpstream, database: Database
) -> None:
    """It was frozen between two statements of a transaction, in which it accepts a message."""
    one, other = pair
    async with staged(pair, upstream, database, conversations=1, silent=ASK_S) as scene:
        (conversation,) = scene.conversations
        scene.door.caller.processes = [one]
        scene.door.caller.timeout = ASK_S
        held = ids.read(ids.CONVERSATION, conversation)
        async with database.transaction():
            await database.execute("SELECT FROM conversation WHERE id = $1 FOR UPDATE", held)
            scene.ask("the frozen", most=1)
            async with asyncio.timeout(10):
                while not await database.fetch(_BLOCKED):
                    await asyncio.sleep(0.01)
            await one.freeze()
        async with asyncio.timeout(4):  # its server gets the lock now, and finishes a statement
            while not await database.fetch(_IN_TRANSACTION):
                await asyncio.sleep(0.01)
        scene.door.caller.processes = [other]
        began = time.monotonic()
        await scene.answered()
        assert time.monotonic() - began < LOCKED_S
        await one.thaw()
        await scene.check()


async def test_a_first_turn_that_was_taken_up_before_its_process_heard_of_it_is_run_once(
    start_gateway: StartGateway,
    postgres_proxy: FaultProxy,
    proxied_dsn: str,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    """Its process was held up for longer than its lease, in the statement that accepts a chat."""
    one = await start_gateway(dsn=proxied_dsn, lease=LATE_S / 3)
    await start_gateway(lease=LATE_S / 3)
    team = await make_team(one)
    upstream.always("manager", say(0, "Hello."))
    client = one.client(team.id)
    ask: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    # Its key and its agency are remembered, and a connection is free beside those of its keepers:
    # to open one through the proxy would take longer than the lease.
    first = [client.chat.completions.create(**ask, user=f"{n}") for n in range(12)]
    await asyncio.gather(*first)
    async with postgres_proxy.fault(Mode.DELAY, seconds=LATE_S):
        ask["messages"][0]["content"] = "Hi again"
        asking = asyncio.create_task(client.chat.completions.create(**ask))
        async with asyncio.timeout(20):
            while len(upstream.calls) <= len(first):  # the other has it
                await asyncio.sleep(0.05)
    assert (await asking).choices[0].message.content == "Hello."
    await asyncio.sleep(AWAKE_S)
    assert len(upstream.calls) == len(first) + 1


@pytest.mark.parametrize("door", ["rpc", "chat"])
@pytest.mark.parametrize("when", ["while it runs", "when it has ended"])
async def test_a_turn_that_was_taken_up_before_its_process_had_begun_it_is_not_begun_twice(
    when: str,
    door: str,
    spawn: Spawn,
    postgres_proxy: FaultProxy,
    proxied_dsn: str,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    """The process was frozen between its claim of the turn and the news that it has it."""
    one, other = await asyncio.gather(spawn("one", DATABASE_URL=proxied_dsn), spawn("other"))
    stage = staged(
        (one, other),
        upstream,
        database,
        door=door,
        conversations=1,
        slow=6.0,
        silent=ASK_S,
        readers_at=[1],
    )
    async with stage as scene:
        scene.door.caller.processes = [one]
        async with postgres_proxy.fault(Mode.DELAY, seconds=DELAY_S):
            scene.ask("the frozen", most=1)
            async with asyncio.timeout(30):
                while not await database.fetch(_RUNNING):
                    await asyncio.sleep(0.01)
            # It has not heard yet that this was committed.
            await one.freeze()
        assert {asked.caller for asked in scene.counting.log} <= {other.caller}, "too late"
        scene.door.caller.processes = [other]
        async with asyncio.timeout(20):
            while not scene.counting.open_calls(other):
                await asyncio.sleep(0.01)
        if when == "when it has ended":
            await all_ended(database)
        await one.thaw()
        await scene.answered()
        await asyncio.sleep(AWAKE_S)
        await scene.check()
