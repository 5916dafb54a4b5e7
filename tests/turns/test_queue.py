"""Messages wait in the rows for the turns before them, whoever is there to run them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx

from gateway.postgres.database import Database
from tests.chat.asking import turns
from tests.chat.clients import Chat, named
from tests.conftest import StartGateway
from tests.rpc.asking import TITLED, Rpc, answering, prompts
from tests.running import Gateway
from tests.scripted import Call, Reply, ScriptedUpstream, Step, say, silence, status, text
from tests.team import make_team

STREAMED = {"options": {"use_streaming": True}}


async def states(database: Database) -> list[str]:
    return [row["state"] for row in await database.fetch("SELECT state FROM turn ORDER BY seq")]


async def ended(database: Database, within: float = 10.0) -> None:
    """Until no turn is open."""
    async with asyncio.timeout(within):
        while {"queued", "running", "suspended"} & set(await states(database)):
            await asyncio.sleep(0.02)


async def test_messages_sent_to_two_processes_are_answered_in_order_one_at_a_time(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    one, other = await start_gateway(), await start_gateway()
    doors = Rpc(one.http), Rpc(other.http)

    def echo(call: Call) -> Reply:
        return text(f"To {call.messages[-1]['content']}", delay=0.01)

    upstream.always("*", echo)
    conversation = await doors[0].create("gpt")
    for number in range(12):
        await doors[number % 2].say(conversation, f"m{number}", **STREAMED)
    last = await doors[1].say(conversation, "last")
    assert last["response_interaction"]["message_content"] == "To last"
    said = [f"m{number}" for number in range(12)]
    expected = [text for content in said for text in (content, f"To {content}")]
    assert await doors[0].said(conversation) == [*expected, "last", "To last"]
    asked = [told[-1][1] for told in prompts(upstream)]
    assert [content for content in asked if content.startswith(("m", "last"))] == [*said, "last"]


async def test_what_is_queued_outlives_every_process(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    first = await start_gateway()
    answering(upstream, silence(), "A")
    door = Rpc(first.http)
    conversation = await door.create("gpt")
    for content in ("one", "two", "three"):
        await door.say(conversation, content, **STREAMED)
    await upstream.arrived()
    first.resources.drain.begin()
    async with asyncio.timeout(20):
        while first.resources.engine.runner.running.held:
            await asyncio.sleep(0.01)
    assert await states(database) == ["running", "queued", "queued"]
    second = await start_gateway()
    await ended(database)
    assert await Rpc(second.http).said(conversation) == ["one", "A", "two", "A", "three", "A"]
    rows = await database.fetch("SELECT attempt FROM turn")
    assert {row["attempt"] for row in rows} == {1}  # no process was lost


async def test_a_turn_is_handed_over_before_its_lease_ends(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one, other = await start_gateway(lease=60.0), await start_gateway(lease=60.0)
    team = await make_team(one, "programmer")
    upstream.script("manager", say(team["programmer"], "Q"), say(0, "Done."))
    upstream.script("programmer", silence(), say(team["manager"], "A"))
    answering(upstream)
    door = Rpc(one.http)
    conversation = await door.create(f"agency/{team.id}")
    await door.say(conversation, "Hi", **STREAMED)
    await upstream.arrived("programmer")
    one.resources.drain.begin()
    await ended(database, within=20)
    assert await Rpc(other.http).said(conversation) == ["Hi", "Done."]
    assert len(upstream.calls_of("manager")) == 2  # what was finished is not done again
    assert len(upstream.calls_of("programmer")) == 2


async def test_a_message_to_a_process_that_ends_is_kept_for_another(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one, other = await start_gateway(lease=60.0), await start_gateway(lease=60.0)
    answering(upstream, "A")
    door = Rpc(one.http)
    conversation = await door.create("gpt")
    one.resources.drain.begin()
    with suppress(httpx.HTTPError):  # its server may have closed by now
        await door.say(conversation, "Hi", **STREAMED)
        await ended(database, within=20)
        assert await Rpc(other.http).said(conversation) == ["Hi", "A"]


async def test_a_failed_turn_does_not_hold_the_next_one_back(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    hold = asyncio.Event()
    answering(upstream, text("A", hold=hold), status(418), "C")
    door = Rpc(gateway.http)
    conversation = await door.create("gpt")
    for content in ("one", "two", "three"):
        await door.say(conversation, content, **STREAMED)
    hold.set()
    await ended(database)
    assert await states(database) == ["completed", "failed", "completed"]
    assert prompts(upstream)[-1] == [
        ("user", "one"),
        ("assistant", "A"),
        ("user", "two\n\nthree"),
    ]


async def test_a_client_that_leaves_the_queue_gives_its_place_up(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "A1"), say(0, "A2", hold=hold), say(0, "A4"))
    await ann.say("one")
    first = ann.conversation
    asking = [asyncio.create_task(ann.branch(0).say("two", **named(first)))]
    await upstream.arrived("manager", 2)
    for content in ("three", "four"):
        asking.append(asyncio.create_task(ann.branch(0).say(content, **named(first))))
        await asyncio.sleep(0.1)
    asking[1].cancel()
    async with asyncio.timeout(20):
        while (await turns(database))[2][0] != "cancelled":
            await asyncio.sleep(0.02)
    hold.set()
    assert [await asking[0], await asking[2]] == ["A2", "A4"]
    assert len(upstream.calls) == 3


async def test_a_stream_that_waits_in_the_queue_is_kept_open_by_comments(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(ping=1)
    ann = Chat(gateway, await make_team(gateway))
    hold = asyncio.Event()
    upstream.script("manager", say(0, "A1"), say(0, "A2", hold=hold), say(0, "A3"))
    await ann.say("one")
    first = ann.conversation
    second = asyncio.create_task(ann.branch(0).say("two", **named(first)))
    await upstream.arrived("manager", 2)
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "three"}]}
    path = f"/api/agency/{ann.team.id}/chat/completions"
    headers = named(first)["extra_headers"]
    async with gateway.http.stream("POST", path, json=body, headers=headers) as response:
        lines = response.aiter_lines()
        async for line in lines:
            if line.startswith(": ping"):
                break
        hold.set()
        rest = [line async for line in lines]
    assert rest[-2:] == ["data: [DONE]", ""]
    assert await second == "A2"


async def test_a_title_that_is_being_asked_for_does_not_hold_up_the_end(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway()
    answering(upstream, "A")
    said = upstream.standing["*"]

    def step(call: Call) -> Step:
        titled = TITLED in call.messages[0]["content"]
        return silence() if titled or not callable(said) else said(call)

    upstream.always("*", step)
    door = Rpc(gateway.http)
    conversation = await door.create("gpt")
    await door.say(conversation, "one")
    call = await upstream.arrived(count=2)
    async with asyncio.timeout(20):
        await gateway.resources.engine.runner.close()
    await asyncio.wait_for(call.disconnected.wait(), 10)
