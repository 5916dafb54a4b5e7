"""Where an agent lives is part of its agency's document, and for admins to say."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.document_file import parse, render
from gateway.postgres.database import Database
from tests.client import bearer
from tests.remote.asking import team_with
from tests.running import Gateway

ADDRESS = "https://agents.example.com/api/agents/143"


async def put(gateway: Gateway, key: str | None, agency: int, **changes: Any) -> httpx.Response:
    """Change the expert, by the whole document."""
    path = f"/api/agencies/{agency}"
    made = (await gateway.http.get(path)).json()
    known = {"name", "manager", "agents", "settings", "shared"}
    document = {name: value for name, value in made.items() if name in known}
    fields = ("id", "name", "instructions", "remote")
    document["agents"] = [{name: one[name] for name in fields} for one in made["agents"]]
    document["agents"][1] |= changes
    headers = {} if key is None else bearer(key)
    return await gateway.http.put(path, json=document, headers=headers)


def forbidden(answer: httpx.Response, param: str = "agents[1].remote") -> None:
    assert answer.status_code == 403, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, "insufficient_scope")


async def test_only_an_admin_sets_and_changes_it(gateway: Gateway) -> None:
    alice = bearer(await gateway.key("alice", "agencies"))
    agents: list[dict[str, Any]] = [
        {"name": "manager", "instructions": ""},
        {"name": "expert", "instructions": "", "remote": ADDRESS},
    ]
    body = {"name": "Team", "manager": "manager", "agents": agents}
    forbidden(await gateway.http.post("/api/agencies", json=body, headers=alice))
    agents[1]["remote"] = None
    made = await gateway.http.post("/api/agencies", json=body, headers=alice)
    path = f"/api/agencies/{made.json()['id']}/agents"
    agent = f"{path}/{made.json()['agents'][1]['id']}"
    forbidden(await gateway.http.patch(agent, json={"remote": ADDRESS}, headers=alice), "remote")
    new = {"name": "new", "instructions": "", "remote": ADDRESS}
    forbidden(await gateway.http.post(path, json=new, headers=alice), "remote")

    set_ = await gateway.http.patch(agent, json={"remote": ADDRESS})
    assert set_.json()["remote"] == ADDRESS
    forbidden(await gateway.http.patch(agent, json={"remote": None}, headers=alice), "remote")
    other = {"remote": "https://elsewhere.example/api/agents/1"}
    forbidden(await gateway.http.patch(agent, json=other, headers=alice), "remote")
    emptied = await gateway.http.patch(agent, json={"remote": None})
    assert emptied.json()["remote"] is None


async def test_others_edit_the_rest_of_such_an_agency(gateway: Gateway) -> None:
    key = await gateway.key("root", "agencies")
    team = await team_with(gateway, ADDRESS)
    changed = await put(gateway, key, team.id, instructions="Be long.", name="sage")
    assert changed.status_code == 200, changed.text
    agent = changed.json()["agents"][1]
    assert (agent["name"], agent["remote"]) == ("sage", ADDRESS)
    forbidden(await put(gateway, key, team.id, remote=None))
    forbidden(await put(gateway, key, team.id, remote=f"{ADDRESS}4"))
    assert (await put(gateway, None, team.id, remote=f"{ADDRESS}4")).status_code == 200
    headers = bearer(key)
    gone = f"/api/agencies/{team.id}/agents/{team['expert']}"
    assert (await gateway.http.delete(gone, headers=headers)).status_code == 204


@pytest.mark.parametrize(
    "address",
    [
        "https://agents.example.com/api/agents/143",
        "http://gateway_b:8080/api/agents/1",
        "https://example.com/team/one/api/agents/9",
        "http://10.0.0.1/api/agents/1",
        "http://[::1]:8080/api/agents/1",
    ],
)
async def test_an_address_is_kept_as_it_is(gateway: Gateway, address: str) -> None:
    team = await team_with(gateway, address)
    made = await gateway.http.get(f"/api/agencies/{team.id}")
    assert made.json()["agents"][1]["remote"] == address


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "looks like"),
        ("ftp://x/api/agents/1", "looks like"),
        ("HTTPS://x/api/agents/1", "looks like"),
        ("https:///api/agents/1", "looks like"),
        ("https://ann:secret@x/api/agents/1", "looks like"),
        ("https://x/api/agents/1?key=1", "looks like"),
        ("https://x/api/agents/1#a", "looks like"),
        ("https://x/api/agents/1/", "looks like"),
        ("https://x/api/agents/0", "looks like"),
        ("https://x/api/agents/one", "looks like"),
        ("https://x/api/agency/1", "looks like"),
        ("https://x/../api/agents/1", "looks like"),
        ("https://x\\@y/api/agents/1", "looks like"),
        ("https://x y/api/agents/1", "looks like"),
        ("https://x/api/agents/1\n", "looks like"),
        ("https://b\u00fccher.example/api/agents/1", "looks like"),
        ("https://[fe80::1%25lo]/api/agents/1", "looks like"),
        ("https://x:0/api/agents/1", "a port"),
        ("https://x:65536/api/agents/1", "a port"),
        ("https://0177.0.0.1/api/agents/1", "usual spelling"),
        ("https://2130706433/api/agents/1", "usual spelling"),
        ("https://0x7f.1/api/agents/1", "usual spelling"),
        ("https://127.1/api/agents/1", "usual spelling"),
        ("https://[::g]/api/agents/1", "looks like"),
        ("https://[:::1]/api/agents/1", "usual spelling"),
    ],
)
async def test_what_is_no_address_is_refused(gateway: Gateway, address: str, said: str) -> None:
    agents = [
        {"name": "manager", "instructions": ""},
        {"name": "expert", "instructions": "", "remote": address},
    ]
    body = {"name": "Team", "manager": "manager", "agents": agents}
    answer = await gateway.http.post("/api/agencies", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("agents[1].remote", "invalid_remote")
    assert said in error["message"]
    assert "secret" not in error["message"]


async def test_it_survives_export_and_apply(gateway: Gateway, database: Database) -> None:
    team = await team_with(gateway, ADDRESS)
    catalog = Catalog(database)
    admin = gateway.resources.callers
    exported = render(
        await catalog.export(team.id, await admin.identify(gateway.root_key), ids=False)
    )
    assert f"remote: {ADDRESS}" in exported
    again = await catalog.apply(parse(exported), "bob")
    assert [agent.remote for agent in again.agency.agents] == [None, ADDRESS]
    assert (await catalog.apply(parse(exported), "bob")).outcome == "unchanged"
    moved = exported.replace("143", "144")
    updated = await catalog.apply(parse(moved), "bob")
    assert updated.told[-1].endswith("(expert): remote")
