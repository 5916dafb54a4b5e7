"""What an agency does, as a reader of its channel sees it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from gateway import ids
from tests.conftest import StartGateway
from tests.rooms.asking import calling
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say
from tests.sessions.asking import Driver
from tests.streams.reading import Subscription, following
from tests.streams.servers import RedisServer
from tests.team import make_team


@pytest.fixture(params=["alone", "pair"])
async def gateways(
    request: pytest.FixtureRequest, start_gateway: StartGateway
) -> tuple[Gateway, Gateway]:
    """Where it is asked, and where it is read: the same gateway, or two."""
    if request.param == "alone":
        alone = await start_gateway()
        return alone, alone
    server: RedisServer = request.getfixturevalue("redis_server")
    return (
        await start_gateway(redis_url=server.url),
        await start_gateway(redis_url=server.url),
    )


async def test_a_turn_is_told_from_its_question_to_its_answer(
    gateways: tuple[Gateway, Gateway], upstream: ScriptedUpstream
) -> None:
    here, there = gateways
    team = await make_team(here, "programmer")
    question = {"role": "user", "content": "How long?"}
    upstream.script("manager", say(0, "Ask me."))
    first = await _asked(here, team.id, [question])
    channel = first.headers["x-conversation-id"]
    async with following(there.http, channel) as told:
        await told.until(lambda one: one.told)
        snapshot = told.told[0].data["conversation"]
        assert [one["content"] for one in snapshot["messages"]] == ["How long?", "Ask me."]
        begun = told.told[0].id
        assert begun is not None
        upstream.script("manager", say(team["programmer"], "How hard is it?"), say(0, "Two days."))
        upstream.script("programmer", say(team["manager"], "Not very."))
        answer = {"role": "assistant", "content": "Ask me."}
        again = {"role": "user", "content": "How long is it, then?"}
        second = await _asked(here, team.id, [question, answer, again])
        assert second.headers["x-conversation-id"] == channel
        await told.until(
            lambda one: any(turn["turn"]["state"] == "completed" for turn in one.of("turn.updated"))
        )
        assert told.ids == list(range(begun, told.ids[-1] + 1))
        assert told.of("interaction.updated")[-1]["interaction"]["content"] == "Two days."
        said = [one["message"]["text"] for one in told.of("message.created")]
        assert said.count("How hard is it?") == said.count("Not very.") == 2
        reply = told.of("turn.updated")[-1]["turn"]["reply_interaction_id"]
    async with following(there.http, f"{channel}.{reply}") as one:
        await one.until(lambda one: one.ended)
        assert one.told[0].data["conversation"]["messages"][0]["content"] == "Two days."


async def test_a_step_that_waits_is_announced_to_those_who_may_answer_it(
    gateways: tuple[Gateway, Gateway], upstream: ScriptedUpstream
) -> None:
    """To others of the conversation it is told that it waits, and no more."""
    here, there = gateways
    mine = await here.key("ann", "agencies")
    team = await make_team(here, "baker", owner_key=mine, shared=True)
    upstream.script("manager", say(team["baker"], "A secret?"), say(team["baker"], "And?"))
    bob = await calling(here, "bob", "chat", "conversations")
    ann = await calling(there, "ann", "conversations")
    room = (await bob.create(("agency", team.id), drive="manual"))["id"]
    await bob.say(room, "Rye?")
    driver = Driver(ann.http, team["manager"])
    (session,) = await driver.until_waiting()
    awaits = {key: session[key] for key in ("agent_id", "step", "state")}
    awaits["session_id"] = session["id"]
    async with AsyncExitStack() as stack:
        readers = bob.http, ann.http, there.http
        told = [await stack.enter_async_context(following(one, room, last=1)) for one in readers]
        assert [await _awaited(one, 1) for one in told] == [None, awaits, awaits]
        await driver.answer(session, 1, context="Yes.")
        awaits["step"] = 2
        assert [await _awaited(one, 2) for one in told] == [None, awaits, awaits]
        assert "secret" not in str(told[0].told)


async def _awaited(reader: Subscription, count: int) -> Any:
    """What is told of the last of so many steps that a turn waits for."""

    def waiting() -> list[Any]:
        turns = [told["turn"] for told in reader.of("turn.updated")]
        return [turn["awaits"] for turn in turns if turn["state"] == "waiting"]

    await reader.until(lambda _: len(waiting()) == count)
    return waiting()[-1]


async def _asked(gateway: Gateway, agency: int, messages: list[dict[str, str]]) -> httpx.Response:
    response = await gateway.http.post(
        f"/api/agency/{agency}/chat/completions", json={"model": "m", "messages": messages}
    )
    assert response.status_code == 200, response.text
    return response


async def test_an_answer_is_told_word_by_word_and_kept_meanwhile(
    gateways: tuple[Gateway, Gateway], upstream: ScriptedUpstream
) -> None:
    here, there = gateways
    team = await make_team(here)
    question = {"role": "user", "content": "How long?"}
    upstream.script("manager", say(0, "Ask me."))
    channel = (await _asked(here, team.id, [question])).headers["x-conversation-id"]
    text = " ".join(str(n) for n in range(120))
    upstream.script("manager", say(0, text, chunk=4, pace=0.03))
    async with following(there.http, channel) as told:
        await told.until(lambda one: one.told)
        client = here.client(team.id)
        history = [question, {"role": "assistant", "content": "Ask me."}]
        stream = await client.chat.completions.create(
            model="m", messages=[*history, {"role": "user", "content": "Well?"}], stream=True
        )

        async def read() -> str:
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        reading = asyncio.create_task(read())
        await told.until(lambda one: len(one.of("interaction.created")) == 2)
        reply = told.of("interaction.created")[-1]["interaction"]["id"]
        await told.until(lambda one: one.text(reply))
        async with following(there.http, f"{channel}.{reply}") as late:
            await told.until(lambda one: len(one.text(reply)) > 250)
            row = await here.resources.database.fetchrow(
                "SELECT content, version FROM interaction WHERE id = $1",
                ids.read(ids.INTERACTION, reply),
            )
            assert row is not None
            assert row["content"], "what was said so far is not kept"
            assert text.startswith(row["content"])
            assert await reading == text
            await late.until(lambda one: one.ended)
            assert text.startswith(late.text(reply))
            assert late.of("interaction.updated")[-1]["interaction"]["content"] == text
        assert len(told.of("interaction.delta")) > 10
        assert text.startswith(told.text(reply))
        await told.until(lambda one: one.of("interaction.updated"))
        assert told.of("interaction.updated")[-1]["interaction"]["content"] == text
