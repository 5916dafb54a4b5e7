"""`/api/agencies` over HTTP: the door, not the catalog behind it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.client import bearer
from tests.running import Gateway

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
Body = dict[str, object]


def studio(**members: object) -> Body:
    return {
        "name": "Studio",
        "manager": "manager",
        "agents": [
            {"name": "manager", "instructions": "Lead."},
            {"name": "programmer", "instructions": "Program.", "params": {"temperature": 0.2}},
        ],
        **members,
    }


@asynccontextmanager
async def calling(gateway: Gateway, user: str, *scopes: str) -> AsyncIterator[httpx.AsyncClient]:
    key = await gateway.key(user, *scopes)
    headers = bearer(key)
    async with httpx.AsyncClient(base_url=gateway.base_url, headers=headers, timeout=30) as http:
        yield http


@pytest.fixture
async def alice(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(gateway, "alice", "agencies") as http:
        yield http


async def created(http: httpx.AsyncClient, **members: object) -> Mapping[str, object]:
    answer = await http.post("/api/agencies", json=studio(**members))
    assert answer.status_code == 201, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, code: str | None = None) -> Body:
    assert answer.status_code == status, answer.text
    error: Body = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code is None or error["code"] == code
    return error


async def test_an_agency_is_answered_with_ids_times_and_labels(alice: httpx.AsyncClient) -> None:
    made = await created(alice)
    manager, programmer = made["agents"]
    assert made == {
        "id": made["id"],
        "name": "Studio",
        "owner": "alice",
        "manager": "manager",
        "manager_id": manager["id"],
        "shared": False,
        "agents": [manager, programmer],
        "settings": {},
        "revision": 1,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    assert programmer == {
        "id": programmer["id"],
        "label": f"#{programmer['id']} (programmer)",
        "name": "programmer",
        "instructions": "Program.",
        "model": None,
        "collections": [],
        "params": {"temperature": 0.2},
        "remote": None,
        "created_at": programmer["created_at"],
        "updated_at": programmer["created_at"],
    }
    assert TIME.fullmatch(made["created_at"])
    assert TIME.fullmatch(programmer["created_at"])
    assert (await alice.get(f"/api/agencies/{made['id']}")).json() == made


async def test_an_agency_is_changed_in_part_and_as_a_whole(alice: httpx.AsyncClient) -> None:
    made = await created(alice)
    path = f"/api/agencies/{made['id']}"
    settings = {"limits": {"model_calls": 3, "tokens": None}}
    patched = await alice.patch(
        path, json={"name": "Atelier", "shared": True, "settings": settings}
    )
    assert patched.status_code == 200
    assert patched.json()["settings"] == settings
    assert patched.json()["name"] == "Atelier"
    assert patched.json()["revision"] == 2
    emptied = (await alice.patch(path, json={"settings": None})).json()
    assert (emptied["settings"], emptied["name"], emptied["shared"]) == ({}, "Atelier", True)
    whole = await alice.put(path, json=studio(manager="programmer"))
    assert whole.status_code == 200
    assert whole.json()["shared"] is False
    assert whole.json()["manager_id"] == made["agents"][1]["id"]
    assert (await alice.put(path, json=studio(manager="programmer"))).json() == whole.json()
    assert (await alice.delete(path)).status_code == 204
    refused(await alice.get(path), 404, "agency_not_found")


async def test_agents_come_change_and_go(alice: httpx.AsyncClient) -> None:
    made = await created(alice)
    path = f"/api/agencies/{made['id']}/agents"
    added = await alice.post(
        path, json={"name": "tester", "instructions": "Test.", "model": "gpt-4o"}
    )
    assert added.status_code == 201
    tester = f"{path}/{added.json()['id']}"
    assert (await alice.get(tester)).json() == added.json()
    renamed = (await alice.patch(tester, json={"name": "QA", "model": None})).json()
    assert renamed["label"] == f"#{added.json()['id']} (QA)"
    assert (renamed["model"], renamed["instructions"]) == (None, "Test.")
    assert (await alice.delete(tester)).status_code == 204
    refused(await alice.get(tester), 404, "agent_not_found")
    manager = f"{path}/{made['manager_id']}"
    refused(await alice.delete(manager), 409, "manager_required")
    refused(
        await alice.post(path, json={"name": "manager", "instructions": ""}),
        409,
        "agent_name_taken",
    )


async def test_lists_page(alice: httpx.AsyncClient) -> None:
    ids = [(await created(alice))["id"] for _ in range(3)]
    first = (await alice.get("/api/agencies", params={"limit": 2})).json()
    rest = (
        await alice.get("/api/agencies", params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()
    assert [one["id"] for one in [*first["data"], *rest["data"]]] == ids
    assert rest["next_cursor"] is None
    assert "instructions" not in str(first)
    agent = first["data"][0]["agents"][0]
    assert agent["label"] == f"#{agent['id']} (manager)"
    path = f"/api/agencies/{ids[0]}/agents"
    one = (await alice.get(path, params={"limit": 1})).json()
    two = (await alice.get(path, params={"limit": 1, "cursor": one["next_cursor"]})).json()
    assert [page["data"][0]["name"] for page in (one, two)] == ["manager", "programmer"]
    assert two["next_cursor"] is None
    refused(await alice.get("/api/agencies", params={"limit": 0}), 400)
    refused(await alice.get("/api/agencies", params={"cursor": "x"}), 400)


async def test_an_admin_sees_every_agency(gateway: Gateway, alice: httpx.AsyncClient) -> None:
    made = await created(alice)
    assert (await gateway.http.get(f"/api/agencies/{made['id']}")).json() == made
    listed = (await gateway.http.get("/api/agencies")).json()["data"]
    assert made["id"] in [one["id"] for one in listed]


@pytest.mark.parametrize("shared", [False, True])
async def test_another_users_agency_is_not_there(
    gateway: Gateway, alice: httpx.AsyncClient, shared: bool
) -> None:
    made = await created(alice, shared=shared)
    agency = f"/api/agencies/{made['id']}"
    agent = f"{agency}/agents/{made['manager_id']}"
    async with calling(gateway, "bob", "agencies", "chat") as bob:
        answers = await asyncio.gather(
            bob.get(agency),
            bob.put(agency, json=studio()),
            bob.patch(agency, json={"name": "mine"}),
            bob.delete(agency),
            bob.get(f"{agency}/agents"),
            bob.post(f"{agency}/agents", json={"name": "spy", "instructions": ""}),
            bob.get(agent),
            bob.patch(agent, json={"name": "spy"}),
            bob.delete(agent),
        )
        unknown = await bob.get("/api/agencies/999999999999999999999999")
        assert (await bob.get("/api/agencies")).json() == {"data": [], "next_cursor": None}
    for answer in [*answers, unknown]:
        refused(answer, 404, "agency_not_found")
    assert (await alice.get(agency)).json() == made


async def test_a_key_without_the_scope_is_refused_before_its_body_is_read(
    gateway: Gateway,
) -> None:
    async with calling(gateway, "carl", "chat") as carl:
        refused(await carl.get("/api/agencies"), 403, "insufficient_scope")
        refused(await carl.post("/api/agencies", content=b"no"), 403, "insufficient_scope")
    refused(await gateway.anonymous.get("/api/agencies"), 401)


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ({"colour": "red"}, "colour"),
        ({"settings": {"volume": 11}}, "volume"),
        ({"settings": {"limits": {"days": 1}}}, "days"),
        ({"manager": "nobody"}, "manager"),
        ({"agents": []}, "agents"),
        ({"agents": [{"name": "manager", "instructions": "", "remote": {}}]}, "remote"),
        ({"agents": [{"name": "a\n#1 (manager)", "instructions": ""}]}, "agents[0].name"),
        (
            {"agents": [{"name": "manager", "instructions": "", "params": {"heat": 1}}]},
            "heat",
        ),
    ],
)
async def test_what_is_wrong_is_named(alice: httpx.AsyncClient, members: Body, names: str) -> None:
    error = refused(await alice.post("/api/agencies", json=studio(**members)), 400)
    assert names in f"{error['param']} {error['message']}"


@pytest.mark.parametrize("member", ["name", "manager", "shared"])
async def test_null_is_no_value_for_what_an_agency_must_have(
    alice: httpx.AsyncClient, member: str
) -> None:
    made = await created(alice)
    refused(await alice.patch(f"/api/agencies/{made['id']}", json={member: None}), 400)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"name": "\\u0000"}', b"[" * 5000],
)
async def test_what_is_no_document_is_a_400(alice: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    refused(await alice.post("/api/agencies", content=body, headers=headers), 400)


async def test_racing_handovers_and_deletes_leave_one_manager(alice: httpx.AsyncClient) -> None:
    made = await created(alice)
    path = f"/api/agencies/{made['id']}"
    manager, programmer = (agent["id"] for agent in made["agents"])
    for _ in range(5):
        answers = await asyncio.gather(
            *(alice.patch(path, json={"manager": name}) for name in ["programmer", "manager"] * 3),
            alice.delete(f"{path}/agents/{manager}"),
            alice.delete(f"{path}/agents/{programmer}"),
        )
        assert {answer.status_code for answer in answers} <= {200, 204, 400, 404, 409}
        now = (await alice.get(path)).json()
        assert now["manager"] in [agent["name"] for agent in now["agents"]]


async def test_the_routes_are_documented(gateway: Gateway) -> None:
    paths = (await gateway.anonymous.get("/schema/openapi.json")).json()["paths"]
    mine = {path: operations for path, operations in paths.items() if "/agencies" in path}
    assert len(mine) == 4
    for operations in mine.values():
        for operation in operations.values():
            assert operation["summary"]
            refusals = set(operation["responses"]) & {"400", "404", "409"}
            assert refusals
            assert all("Refusal" in str(operation["responses"][one]) for one in refusals)
