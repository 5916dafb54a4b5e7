"""Agencies as models, through the real openai SDK."""

from __future__ import annotations

import pytest
from openai import NotFoundError

from tests.chat.reading import calling, refused
from tests.running import Gateway
from tests.team import make_team


@pytest.mark.parametrize("version", ["", "/v1"])
async def test_an_agency_is_a_model(gateway: Gateway, version: str) -> None:
    team = await make_team(gateway)
    client = gateway.client(path=f"/api/agency/{team.id}{version}")
    (model,) = [model async for model in client.models.list()]
    assert (model.id, model.object, model.owned_by) == (f"agency/{team.id}", "model", "root")
    assert await client.models.retrieve(model.id) == model
    for name in ("gpt-4o-mini", "ft:gpt-4o:org::7p4", "meta/llama/3"):
        assert (await client.models.retrieve(name)).id == name
    for name in (f"agency/{team.id}", f"agency%2F{team.id}"):
        base = f"/api/agency/{team.id}{version}/models"
        assert (await gateway.http.get(f"{base}/{name}")).json()["id"] == model.id


async def test_all_agencies_that_one_may_use_are_models(gateway: Gateway) -> None:
    async with calling(gateway, "alice") as (_, alice), calling(gateway, "bob") as (_, bob):
        hers = await make_team(gateway, owner_key=alice)
        shared = await make_team(gateway, owner_key=alice, shared=True)
        his = await make_team(gateway, owner_key=bob)
        client = gateway.client(key=bob, path="/v1")
        listed = [model async for model in client.models.list()]
        assert [model.id for model in listed] == [f"agency/{shared.id}", f"agency/{his.id}"]
        assert [model.owned_by for model in listed] == ["alice", "bob"]
        assert await client.models.retrieve(f"agency/{shared.id}") == listed[0]
        for unknown in (
            f"agency/{hers.id}",
            "agency/999999",
            "agency/x",
            f"agency/0{shared.id}",
            "gpt-4o",
        ):
            with pytest.raises(NotFoundError) as raised:
                await client.models.retrieve(unknown)
            assert raised.value.code == "model_not_found"
        with pytest.raises(NotFoundError):
            await gateway.client(hers.id, key=bob).models.list()


async def test_more_than_a_page_of_agencies_is_listed_whole(gateway: Gateway) -> None:
    teams = [await make_team(gateway) for _ in range(103)]
    listed = [model.id async for model in gateway.client(path="/v1").models.list()]
    assert listed == [f"agency/{team.id}" for team in teams]


async def test_models_are_not_deleted(gateway: Gateway) -> None:
    team = await make_team(gateway)
    for base in (f"/api/agency/{team.id}", f"/api/agency/{team.id}/v1", "/v1"):
        refused(await gateway.http.delete(f"{base}/models/agency/1"), 405, "method_not_allowed")
        refused(await gateway.anonymous.get(f"{base}/models"), 401)
