"""Postgres has committed, and its answer is lost on the way: what was accepted goes on at once, and
not when a lease is over that nobody renews."""

from __future__ import annotations

import asyncio

import pytest

from gateway.postgres.database import Database
from tests.scripted import ScriptedUpstream
from tests.serving.crash.callers import Caller, Rooms, Rpc
from tests.serving.crash.conftest import Spawn
from tests.serving.crash.counting import Counting
from tests.serving.crash.invariants import all_ended
from tests.serving.crash.proxy import FaultProxy

LEASE_S = 60
"""So long that whoever is answered was not kept waiting for it."""
WITHIN_S = 20.0
QUESTION = "What of the lost answer?"
COMMIT = b"COMMIT"


async def at_chat(caller: Caller, agency: int, key: str | None) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
    headers = {} if key is None else {"idempotency-key": key}
    await caller.post(f"/api/agency/{agency}/chat/completions", body, headers)


@pytest.mark.parametrize("door", ["chat", "keyed chat", "rpc", "rooms"])
async def test_what_was_accepted_goes_on_though_the_answer_of_postgres_was_lost(
    door: str,
    spawn: Spawn,
    postgres_proxy: FaultProxy,
    proxied_dsn: str,
    upstream: ScriptedUpstream,
    database: Database,
) -> None:
    process = await spawn("one", DATABASE_URL=proxied_dsn, GATEWAY_LEASE_S=LEASE_S)
    counting = Counting(upstream)
    team = await counting.make(process)
    caller = Caller([process], 0)
    rooms, rpc = Rooms(caller, team), Rpc(caller, team)
    marks = [QUESTION.encode()] if door == "chat" else [QUESTION.encode(), COMMIT]
    conversation = {"rooms": rooms.open, "rpc": rpc.open}.get(door)
    opened = "" if conversation is None else await conversation()
    async with asyncio.timeout(WITHIN_S):
        async with postgres_proxy.answer_lost(*marks):
            match door:
                case "rooms":
                    await rooms.say(opened, QUESTION)
                case "rpc":
                    await rpc.say(opened, QUESTION)
                case _:
                    await at_chat(caller, team.id, None if door == "chat" else "key")
        await all_ended(database)
    assert caller.met["503"] == 1, caller.met
    (reply,) = await database.fetch("SELECT content FROM interaction WHERE owner_type <> 'user'")
    assert reply["content"] == counting.answer(QUESTION)
    (turn,) = await database.fetch("SELECT attempt FROM turn")
    assert turn["attempt"] == 1, "it was no process that was lost"
    counting.check([process])
