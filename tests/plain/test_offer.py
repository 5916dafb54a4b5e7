"""Which plain models there are: those of `GATEWAY_MODELS`, listed after the agencies."""

from __future__ import annotations

import pytest
from openai import NotFoundError

from gateway.agency.models.passing.passage import Listed
from gateway.agency.plain.offer import Offer
from gateway.errors import InvalidRequest, UpstreamError
from gateway.settings import read
from tests.chat.reading import refused
from tests.conftest import StartGateway
from tests.plain.asking import ASKED, MODEL, OTHER, sdk
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, status, text
from tests.team import make_team


async def test_they_are_listed_after_the_agencies(gateway: Gateway) -> None:
    team = await make_team(gateway, name="Studio")
    client = sdk(gateway)
    listed = [model async for model in client.models.list()]
    assert [model.id for model in listed] == [f"agency/{team.id}", MODEL, OTHER]
    assert listed[0].model_extra == {"name": "Studio"}, "which chat UIs show"
    assert (listed[1].owned_by, listed[1].object) == ("open_ai", "model")
    assert await client.models.retrieve(MODEL) == listed[1]
    with pytest.raises(NotFoundError) as raised:
        await client.models.retrieve("gpt-other")
    assert raised.value.code == "model_not_found"
    alone = gateway.client(team.id)
    assert [model.id async for model in alone.models.list()] == [f"agency/{team.id}"]


async def test_without_the_setting_there_is_none(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway()
    assert [model async for model in sdk(gateway).models.list()] == []
    body = {"model": "scripted", "messages": ASKED}
    refused(await gateway.http.post("/v1/chat/completions", json=body), 404, "model_not_found")


async def test_a_star_offers_what_the_upstream_lists(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    entries = [{"id": "b", "created": 5}, {"id": "a", "created": "x"}, {"name": "odd"}, 7]
    upstream.models = status(200, body={"data": [*entries, {"id": "agency/7"}]})
    gateway = await start_gateway(models=("*",))
    listed = [model async for model in sdk(gateway).models.list()]
    assert [(model.id, model.created) for model in listed] == [("b", 5), ("a", 0)]
    upstream.models = status(200, body={"data": [{"id": "new"}]})
    upstream.script("*", text("A title"))
    answer = await sdk(gateway).chat.completions.create(model="a", messages=ASKED)  # type: ignore[call-overload]
    assert answer.choices[0].message.content == "A title"
    with pytest.raises(NotFoundError):
        await sdk(gateway).models.retrieve("new")


async def test_a_list_that_can_not_be_read_leaves_the_agencies(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    upstream.models = status(500)
    gateway = await start_gateway(models=("*",))
    team = await make_team(gateway)
    assert [m.id async for m in sdk(gateway).models.list()] == [f"agency/{team.id}"]
    body = {"model": "scripted", "messages": ASKED}
    answer = await gateway.http.post("/v1/chat/completions", json=body)
    refused(answer, 503, "upstream_unavailable")


async def test_the_upstreams_list_is_kept_for_a_minute_and_after_a_failure() -> None:
    now, asked = [0.0], 0
    answers = [[Listed("a")], [Listed("b")], None, [Listed("c")]]

    async def lister() -> list[Listed]:
        nonlocal asked
        asked += 1
        if (found := answers[asked - 1]) is None:
            raise UpstreamError("away")
        return found

    offer = Offer(("*",), lister, clock=lambda: now[0])
    for now[0], name in ((0, "a"), (59, "a"), (61, "b"), (122, "b"), (126, "b"), (128, "c")):
        assert [one.id for one in await offer.models()] == [name]
    assert asked == 4


@pytest.mark.parametrize("value", ["*,gpt", "agency/1", "gpt, agency/x"])
def test_a_setting_that_can_not_be_used_is_named(value: str) -> None:
    with pytest.raises(InvalidRequest, match="GATEWAY_MODELS"):
        read({"GATEWAY_MODELS": value, "OPENAI_API_KEY": "x"})


def test_plain_models_need_an_upstream() -> None:
    with pytest.raises(InvalidRequest, match=r"GATEWAY_MODELS.*OPENAI_API_KEY"):
        read({"GATEWAY_MODELS": "gpt-4o-mini"})
    told = read({"GATEWAY_MODELS": " gpt-4o-mini,b , b", "OPENAI_API_KEY": "x"})
    assert told.models == ("gpt-4o-mini", "b")
