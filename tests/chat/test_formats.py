"""A first start without a key answers in whatever format a program asks for."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from tests.agency.test_filling import Cat, Everything, Node
from tests.chat.asking import stream, user, words
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.team import make_team


@pytest.fixture
async def rehearsing(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(openai_api_key=None, openai_base_url=None)


@pytest.mark.parametrize("model", [Cat, Node, Everything])
async def test_the_openai_client_parses_a_rehearsals_answer(
    rehearsing: Gateway, model: type[BaseModel]
) -> None:
    team = await make_team(rehearsing, "programmer")
    client = rehearsing.client(team.id)
    answer = await client.chat.completions.parse(
        model="m", messages=[user("Tell me.")], response_format=model
    )
    assert isinstance(answer.choices[0].message.parsed, model)
    assert answer.usage is not None


async def test_an_object_is_answered_with_an_object_also_as_a_stream(rehearsing: Gateway) -> None:
    team = await make_team(rehearsing, "programmer")
    wanted = {"type": "json_object"}
    answer = words(await stream(rehearsing, team, "Tell me.", response_format=wanted))
    assert "no real model" in json.loads(answer)["answer"]
    assert "programmer" in json.loads(answer)["answer"]
