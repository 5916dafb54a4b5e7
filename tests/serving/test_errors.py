"""Failures have one form at every address, and tell strangers nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import httpx
import pytest
from litestar.routes import HTTPRoute

from gateway.app import create_app
from gateway.routes.http.errors import MAX_BODY
from gateway.routes.http.guards import is_public
from tests.client import bearer
from tests.rpc.asking import refusal
from tests.running import Gateway

PARAMETER = re.compile(r"\{[^}]+\}")


def addresses() -> list[tuple[str, str]]:
    """Every (method, path) that asks for a key, with parameters filled in."""
    app = create_app(lambda: pytest.fail("only looked at"))
    return sorted(
        (method, PARAMETER.sub("1", route.path))
        for route in app.routes
        if isinstance(route, HTTPRoute) and not is_public(route.path)
        for method in route.methods
    )


UNKNOWN = [
    ("GET", "/api/nothing/here"),
    ("POST", "/v1/nothing"),
    ("GET", "/api"),
    ("DELETE", "/api/me"),
    ("PATCH", "/v1/chat/completions"),
    ("HEAD", "/api/nothing"),
    ("OPTIONS", "/api/nothing"),
]


def is_openai_error(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"]
    error: dict[str, object] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["code"] is None or isinstance(error["code"], str)
    return error


@pytest.mark.parametrize("kind", ["no", "wrong", "mangled", "revoked"])
async def test_nobody_gets_past_any_address_without_a_live_key(gateway: Gateway, kind: str) -> None:
    headers = await _credentials(gateway, kind)
    for method, path in addresses() + UNKNOWN:
        answer = await gateway.anonymous.request(method, path, headers=headers)
        if method == "HEAD":
            assert answer.status_code == 401
        else:
            told = refusal if path.startswith("/rpc/") else is_openai_error
            error = told(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert error["code"] == ("missing_api_key" if kind == "no" else "invalid_api_key")


async def _credentials(gateway: Gateway, kind: str) -> dict[str, str]:
    if kind == "no":
        return {}
    key = await gateway.key("ann", "chat", "agencies", "admin")
    if kind == "revoked":
        headers = bearer(key)
        assert (await gateway.anonymous.get("/api/me", headers=headers)).status_code == 200
        await gateway.resources.callers.revoke(key.split("_")[1])
    return {
        "wrong": {"authorization": "Bearer agw_0123456789abcdef_nonsense"},
        "mangled": {"authorization": f"Bearer {key[:-1]}!"},
        "revoked": {"x-api-key": key},
    }[kind]


async def test_a_body_is_not_read_before_its_sender_is_known(gateway: Gateway) -> None:
    answer = await gateway.anonymous.post("/api/keys", content=b"{nonsense")
    is_openai_error(answer, 401)


async def test_an_unknown_address_is_404_to_a_caller(gateway: Gateway) -> None:
    assert is_openai_error(await gateway.http.get("/v1/nothing"), 404)["code"] == "not_found"


async def test_a_wrong_method_is_405_and_names_the_right_ones(gateway: Gateway) -> None:
    answer = await gateway.http.put("/api/keys")
    assert is_openai_error(answer, 405)["code"] == "method_not_allowed"
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


async def test_head_is_get_without_a_body(gateway: Gateway) -> None:
    answer = await gateway.http.head("/api/me")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{nonsense", "can't be read"),
        (b'{"user": "ann", "scopes": ["chat"]', "can't be read"),
        (b'{"user": "\xff", "scopes": ["chat"]}', "not UTF-8"),
        (b'{"user": ' + b"[" * 5000 + b"]" * 5000 + b"}", "too deep"),
        (b'{"user": "a\\u0000", "scopes": ["chat"]}', "user"),
        (b'{"scopes": ["chat"]}', "user"),
        (b"[]", "object"),
        (b"", ""),
    ],
)
async def test_a_body_that_makes_no_sense_is_400(
    gateway: Gateway, content: bytes, says: str
) -> None:
    answer = await gateway.http.post("/api/keys", content=content)
    assert says in str(is_openai_error(answer, 400)["message"])


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/api/keys", {"user": 1, "scopes": []}, "user"),
        ("/api/keys", {"scopes": []}, "user"),
        ("/api/keys", [], None),
        ("/api/conversations", {"sauce": 1}, "sauce"),
        ("/api/conversations", {"participants": [{"kind": "user"}]}, "participants[0].identifier"),
    ],
)
async def test_a_violation_names_the_parameter(
    gateway: Gateway, path: str, body: object, param: str | None
) -> None:
    """By the name that the caller gave it: a body has none."""
    error = is_openai_error(await gateway.http.post(path, json=body), 400)
    assert error["param"] == param
    assert "data:" not in str(error["message"])


async def test_text_that_postgres_cannot_hold_is_400(gateway: Gateway) -> None:
    document = {"name": "a\x00b", "manager": "m", "agents": [{"name": "m", "instructions": ""}]}
    is_openai_error(await gateway.http.post("/api/agencies", json=document), 400)


async def test_a_number_too_large_for_an_id_is_no_failure_of_ours(gateway: Gateway) -> None:
    answer = await gateway.http.get(f"/api/agencies/{10**30}")
    is_openai_error(answer, 400 if answer.status_code == 400 else 404)


async def test_a_body_above_the_limit_is_413(gateway: Gateway) -> None:
    answer = await gateway.http.post("/api/keys", content=b" " * (MAX_BODY + 1))
    assert is_openai_error(answer, 413)["code"] == "request_too_large"


async def test_a_database_that_is_away_is_503_with_retry_after(gateway: Gateway) -> None:
    await gateway.resources.database.close_connection_pool()
    answer = await gateway.http.get("/api/me")
    is_openai_error(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_bug_says_nothing_but_its_request_id_finds_the_log_line(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    database = gateway.resources.database
    await database.execute("ALTER TABLE api_key RENAME TO mislaid")
    answer = await gateway.http.get("/api/me", headers={"x-request-id": "look-me-up"})
    await database.execute("ALTER TABLE mislaid RENAME TO api_key")
    error = is_openai_error(answer, 500)
    assert "api_key" not in json.dumps(error)
    assert answer.headers["x-request-id"] == "look-me-up"
    (record,) = [r for r in caplog.records if r.name == "gateway.routes.http.errors"]
    assert record.levelno == logging.ERROR
    assert "UndefinedTableError 42P01" in str(vars(record)["causes"])


async def test_a_sane_request_id_is_taken_over_and_another_is_not(gateway: Gateway) -> None:
    for given, kept in (("abc-1.2_3", True), ("x" * 200, False), ("a b", False)):
        answer = await gateway.http.get("/api/me", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is kept


async def test_one_line_is_logged_per_request_and_it_holds_no_words_of_it(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "gateway.access"):
        await gateway.http.post("/api/keys?secret=word", json={"user": "secret word"})
        await gateway.http.get("/api/agencies/4711")
        await gateway.http.get("/v1/secret-word")
    lines = [r for r in caplog.records if r.name == "gateway.access"]
    assert [(r.getMessage(), vars(r)["status"]) for r in lines] == [
        ("POST /api/keys", 400),
        ("GET /api/agencies/{agency_id}", 404),
        ("GET -", 404),
    ]
    assert all(vars(r)["ms"] > 0 for r in lines)
    assert "secret" not in caplog.text
    assert gateway.root_key not in caplog.text


async def test_an_invalid_host_does_not_stop_the_server(gateway: Gateway) -> None:
    host, port = gateway.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /health/live HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n")
    assert b"HTTP/1.1 400" in await reader.read()
    writer.close()
    await writer.wait_closed()
