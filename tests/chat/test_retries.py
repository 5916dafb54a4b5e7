"""A request that comes again never runs the team twice."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from openai import APIStatusError, APITimeoutError

from gateway.postgres.database import Database
from tests.chat.asking import turns, words
from tests.chat.clients import Chat, letters, retry
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, silence, status
from tests.streams.waiting import until as until_true
from tests.team import make_team


async def leave(asking: asyncio.Task[Any]) -> None:
    """Close the connection of a request."""
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking


WAITING = """
    SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
"""The server serves the databases of other tests, too."""


async def until(database: Database, *states: str) -> None:
    """Wait until the turns are in these states, oldest first."""
    found: tuple[str, ...] = ()
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while (found := tuple(state for state, _ in await turns(database))) != states:
                await asyncio.sleep(0.01)
    assert found == states


async def stuck(database: Database) -> None:
    """Wait until a statement waits for a lock."""
    async with asyncio.timeout(20):
        while not await database.fetch(WAITING):
            await asyncio.sleep(0.01)


async def test_a_retry_of_a_running_turn_waits_for_its_answer(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "Once.", hold=hold))
    again = ann.branch()
    first = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    second = asyncio.create_task(again.say("Hi", **retry()))
    await asyncio.sleep(0.1)
    hold.set()
    assert [await first, await second] == ["Once.", "Once."]
    assert ann.completion == again.completion
    assert ann.raw == again.raw


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_retry_of_an_answered_turn_is_told_the_same(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "Once, \U0001f600 and for all."))
    again = ann.branch()
    if streamed:
        assert await ann.stream("Hi") == await again.stream("Hi", **retry())
    else:
        assert await ann.say("Hi") == await again.say("Hi", **retry(2))
        assert ann.raw == again.raw
    assert ann.conversation == again.conversation


async def test_the_sdks_own_retry_goes_on_with_the_turn_that_it_began(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script("manager", say(team["programmer"], "Q"), silence(), say(0, "Late."))
    upstream.script("programmer", say(team["manager"], "A"))
    client = gateway.client(team.id, retries=2).with_options(timeout=1)
    stream = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert words([chunk async for chunk in stream]) == "Late."
    assert len(await turns(database)) == 1


@pytest.mark.parametrize("tells", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_comes_back_finds_the_finished_steps(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    database: Database,
    tells: bool,
    streamed: bool,
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script("manager", say(team["programmer"], "Q"), silence(), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "A"))
    ann = Chat(gateway, team)
    again = ann.branch()
    asking = asyncio.create_task(ann.stream("Hi") if streamed else ann.say("Hi"))
    interrupted = await upstream.arrived("manager", 2)
    await leave(asking)
    await asyncio.wait_for(interrupted.disconnected.wait(), 10)
    await until(database, "suspended")
    how = retry() if tells else {}
    assert await (again.stream("Hi", **how) if streamed else again.say("Hi", **how)) == "Done."
    assert [call.agent for call in upstream.calls] == [
        *("manager", "programmer", "manager", "manager")
    ]
    assert letters(upstream.calls[3]) == letters(upstream.calls[2])
    assert await turns(database) == [("completed", None)]


async def test_a_client_that_comes_back_at_once_is_not_turned_away(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.always("manager", silence())
    for _ in range(15):
        asking = asyncio.create_task(ann.branch().say("Hi", **retry()))
        await asyncio.sleep(0.03)
        await leave(asking)
    upstream.always("manager", say(0, "There you are."))
    assert await ann.say("Hi", **retry()) == "There you are."
    assert len(await turns(database)) == 1


async def test_a_suspended_turn_of_a_fork_is_taken_up_too(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A1"), say(0, "A2"), silence(), say(0, "A2 again"))
    await ann.say("one")
    other, again = ann.branch(), ann.branch()
    await ann.say("two")
    asking = asyncio.create_task(other.say("two!"))
    await upstream.arrived("manager", 3)
    await leave(asking)
    await until(database, "completed", "completed", "completed", "suspended")
    assert await again.say("two!") == "A2 again"


async def test_the_same_words_without_a_sign_of_a_retry_are_answered_anew(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A"), say(0, "B"))
    again = ann.branch()
    assert [await ann.say("Hi"), await again.say("Hi")] == ["A", "B"]
    assert ann.completion != again.completion


async def test_an_idempotency_key_makes_any_request_a_retry_of_its_first(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "A", delay=0.2), say(0, "B"))
    key, other = ({"extra_headers": {"idempotency-key": name}} for name in ("one", "two"))
    at_once = [ann.branch() for _ in range(5)]
    assert set(await asyncio.gather(*(chat.say("Hi", **key) for chat in at_once))) == {"A"}
    assert len({chat.raw for chat in at_once}) == 1
    assert await ann.branch().say("Hi", **other) == "B"
    with pytest.raises(APIStatusError) as refused:
        await ann.branch().say("Else", **key)
    assert refused.value.status_code == 422
    assert refused.value.code == "idempotency_key_reused"
    assert len(await turns(database)) == 2


async def test_a_failed_turn_frees_its_idempotency_key(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", status(418), say(0, "Now."))
    key = {"extra_headers": {"idempotency-key": "one"}}
    with pytest.raises(APIStatusError):
        await ann.branch().say("Hi", **key)
    assert await ann.branch().say("Hi", **key) == "Now."
    assert await ann.branch().say("Hi", **key) == "Now."


async def test_a_revoked_key_replays_nothing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    ann = Chat(gateway, await make_team(gateway, shared=True), await gateway.key("ann"))
    upstream.script("manager", say(0, "A"))
    key = {"extra_headers": {"idempotency-key": "one"}}
    assert await ann.branch().say("Hi", **key) == "A"
    for listed in (await gateway.http.get("/api/keys")).json()["data"]:
        if listed["user"] == "ann":
            await gateway.http.delete(f"/api/keys/{listed['id']}")
    with pytest.raises(APIStatusError) as refused:
        await ann.branch().say("Hi", **key)
    assert refused.value.status_code == 401


async def test_a_retry_after_a_failure_runs_again(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", status(418), say(0, "Now."))
    with pytest.raises(APIStatusError):
        await ann.branch().say("Hi")
    assert await ann.say("Hi", **retry()) == "Now."


async def test_a_retry_is_given_the_turn_of_its_own_caller_only(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, shared=True)
    ann = Chat(gateway, team, await gateway.key("ann"))
    bob = Chat(gateway, team, await gateway.key("bob"))
    second_key = Chat(gateway, team, await gateway.key("ann"))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "Ann's", hold=hold), say(0, "Bob's"))
    asking = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    assert await bob.say("Hi", **retry()) == "Bob's"
    hold.set()
    assert await asking == "Ann's"
    assert await second_key.say("Hi", **retry()) == "Ann's"
    assert bob.conversation != ann.conversation


async def test_a_retry_of_a_suspended_turn_of_another_caller_begins_its_own(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, shared=True)
    ann = Chat(gateway, team, await gateway.key("ann"))
    bob = Chat(gateway, team, await gateway.key("bob"))
    upstream.script("manager", silence(), say(0, "Bob's"))
    asking = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    await leave(asking)
    await until(database, "suspended")
    assert await bob.say("Hi", **retry()) == "Bob's"
    assert [state for state, _ in await turns(database)] == ["suspended", "completed"]


async def test_of_two_listeners_one_may_leave(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    ann = Chat(gateway, await make_team(gateway))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "Here.", hold=hold))
    again = ann.branch()
    first = asyncio.create_task(ann.say("Hi"))
    call = await upstream.arrived()
    second = asyncio.create_task(again.say("Hi", **retry()))
    (held,) = gateway.resources.engine.runner.running.held.values()
    await until_true(lambda: held.reply.followers == 2)
    await leave(first)
    await until_true(lambda: held.reply.followers == 1)
    await asyncio.sleep(0.1)
    assert not call.disconnected.is_set()
    hold.set()
    assert await second == "Here."


async def test_a_retry_that_overtakes_its_own_first_try_waits_for_it(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """The database is slow, the client's patience short."""
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "Once.", delay=0.3))
    again = ann.branch()
    async with database.transaction():
        await database.execute("LOCK TABLE conversation IN SHARE MODE")
        first = asyncio.create_task(ann.say("Hi"))
        await stuck(database)
        second = asyncio.create_task(again.say("Hi", **retry()))
        await asyncio.sleep(0.1)
    assert [await first, await second] == ["Once.", "Once."]
    assert len(await turns(database)) == 1


async def test_a_client_that_leaves_while_its_request_is_accepted_leaves_a_suspended_turn(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.always("manager", silence())
    async with database.transaction():
        await database.execute("LOCK TABLE conversation IN SHARE MODE")
        asking = asyncio.create_task(ann.branch().say("Hi"))
        await stuck(database)
        await leave(asking)
    await until(database, "suspended")
    upstream.always("manager", say(0, "Back again."))
    assert await ann.say("Hi") == "Back again."


async def test_a_turn_that_lasted_long_is_still_taken_up(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", silence(), say(0, "Done."))
    again = ann.branch()
    asking = asyncio.create_task(ann.say("Hi"))
    await upstream.arrived()
    await leave(asking)
    await until(database, "suspended")
    await database.execute("UPDATE turn SET created_at = now() - interval '1 hour'")
    assert await again.say("Hi") == "Done."


async def test_a_client_that_never_comes_back_has_its_turn_cancelled(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", silence(), say(0, "Afresh."))
    asking = asyncio.create_task(ann.branch().say("Hi"))
    await upstream.arrived()
    await leave(asking)
    await until(database, "suspended")
    row = await database.fetchrow("SELECT extract(epoch FROM lease_until - now()) FROM turn")
    assert row is not None
    assert 50 < row[0] <= 60
    await database.execute("UPDATE turn SET lease_until = now() - interval '1 second'")
    await until(database, "cancelled")
    row = await database.fetchrow(
        "SELECT i.errors FROM turn t JOIN interaction i ON i.id = t.reply_interaction_id"
    )
    assert row is not None
    assert "client went away" in row["errors"]
    assert await ann.say("Hi", **retry()) == "Afresh."


async def test_a_timeout_of_the_client_ends_the_model_call(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", silence())
    with pytest.raises(APITimeoutError):
        await ann.stream("Hi", timeout=0.2)
    await asyncio.wait_for(upstream.calls[0].disconnected.wait(), 10)
    await until(database, "suspended")


async def test_a_key_has_at_most_255_characters(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", say(0, "Once."))
    longest = {"extra_headers": {"idempotency-key": "k" * 255}}
    assert await ann.branch(0).say("Hi", **longest) == "Once."
    assert await ann.branch(0).say("Hi", **longest) == "Once."
    with pytest.raises(APIStatusError) as refused:
        await ann.say("Hi", extra_headers={"idempotency-key": "k" * 256})
    assert refused.value.status_code == 400
    assert "255" in refused.value.message
