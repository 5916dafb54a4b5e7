"""What an agency does, as a reader of its channel sees it."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway import ids
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say
from tests.streams.reading import following
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
