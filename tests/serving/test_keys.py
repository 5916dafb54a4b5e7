"""Keys belong to users, have scopes, are shown once and can be revoked."""

from __future__ import annotations

import pytest

from gateway.auth import Scope
from tests.client import bearer
from tests.running import Gateway


async def test_a_key_is_shown_once_and_opens_the_door(gateway: Gateway) -> None:
    answer = await gateway.http.post("/api/keys", json={"user": "ann", "scopes": ["chat"]})
    assert answer.status_code == 201
    made = answer.json()
    assert set(made) == {"id", "key", "user", "scopes", "created_at"}
    assert made["key"].startswith(f"agw_{made['id']}_")
    assert made["created_at"].endswith("Z")
    me = await gateway.anonymous.get("/api/me", headers=bearer(made["key"]))
    assert me.json() == {"user": "ann", "scopes": ["chat"], "key_id": made["id"]}
    listed = await gateway.http.get("/api/keys")
    assert listed.json()["next_cursor"] is None
    assert {item["id"] for item in listed.json()["data"]} == {"root", made["id"]}
    assert made["key"] not in listed.text


async def test_x_api_key_is_as_good_as_bearer(gateway: Gateway) -> None:
    key = await gateway.key("ann")
    answer = await gateway.anonymous.get("/api/me", headers={"x-api-key": key})
    assert answer.json()["user"] == "ann"


async def test_a_revoked_key_is_dead_at_once(gateway: Gateway) -> None:
    key = await gateway.key("ann")
    assert (await gateway.anonymous.get("/api/me", headers=bearer(key))).status_code == 200
    answer = await gateway.http.delete(f"/api/keys/{key.split('_')[1]}")
    assert answer.status_code == 200
    assert answer.json()["revoked_at"] is not None
    again = await gateway.anonymous.get("/api/me", headers=bearer(key))
    assert (again.status_code, again.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_an_unknown_key_is_404(gateway: Gateway) -> None:
    answer = await gateway.http.delete("/api/keys/nobody")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "key_not_found")


async def test_the_root_key_cannot_be_revoked_over_http(gateway: Gateway) -> None:
    answer = await gateway.http.delete("/api/keys/root")
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    assert (await gateway.http.get("/api/me")).json()["user"] == "root"


async def test_keys_are_for_admins(gateway: Gateway) -> None:
    headers = bearer(await gateway.key("ann", Scope.CHAT, Scope.AGENCIES))
    made = await gateway.anonymous.post(
        "/api/keys", json={"user": "ann", "scopes": ["admin"]}, headers=headers
    )
    listed = await gateway.anonymous.get("/api/keys", headers=headers)
    revoked = await gateway.anonymous.delete("/api/keys/root", headers=headers)
    for answer in (made, listed, revoked):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"user": "ann", "scopes": []}, "scopes"),
        ({"user": "ann", "scopes": ["everything"]}, "scopes"),
        ({"user": "a b", "scopes": ["chat"]}, "user"),
        ({"user": "", "scopes": ["chat"]}, "user"),
        ({"user": "x" * 129, "scopes": ["chat"]}, "user"),
    ],
)
async def test_a_key_that_makes_no_sense_is_400(
    gateway: Gateway, body: dict[str, object], param: str
) -> None:
    answer = await gateway.http.post("/api/keys", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_azures_api_key_is_as_good_as_bearer(gateway: Gateway) -> None:
    key = await gateway.key("ann")
    answer = await gateway.anonymous.get("/api/me", headers={"api-key": key})
    assert answer.json()["user"] == "ann"
