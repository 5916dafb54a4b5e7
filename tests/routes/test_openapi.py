"""The OpenAPI document is true: each operation is made to fail, and its answers are compared."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
import yaml

from gateway.auth import Scope
from gateway.process.watchdog import BEAT_S
from gateway.routes.http.errors import MAX_BODY
from tests.client import bearer
from tests.document import Operation, check, check_body, document, operations
from tests.running import Gateway

FORMS = {True: "#/components/schemas/RpcError", False: "#/components/schemas/Refusal"}
OWN_FORMS = {"#/components/schemas/WrongStepBody", "#/components/schemas/Ready"}
EVERYWHERE = [f"{one.method} {one.path}" for one in operations()]


def _named(name: str) -> Operation:
    return operations()[EVERYWHERE.index(name)]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_errors_have_the_form_of_their_door(name: str) -> None:
    operation = _named(name)
    form = FORMS[operation.path.startswith("/rpc/")]
    for status in operation.errors:
        content = operation.told["responses"][str(status)]["content"]
        assert set(content) == {"application/json"}
        assert content["application/json"]["schema"]["$ref"] in {form} | OWN_FORMS


def test_an_operation_has_a_name_of_its_own() -> None:
    names = [one.told["operationId"] for one in operations()]
    assert not [name for name, times in Counter(names).items() if times > 1]
    assert not [name for name in names if not re.fullmatch("[a-z][A-Za-z0-9]*", name)]


def test_a_type_has_a_name_of_its_own() -> None:
    schemas = document()["components"]["schemas"]
    titles = Counter(one["title"].lower() for one in schemas.values() if "title" in one)
    assert not [title for title, times in titles.items() if times > 1]
    assert not [name for name in schemas if "_" in name], "named by its module: rename the class"


def test_a_member_that_may_be_null_is_one_type() -> None:
    split = [one for one in _schemas(document()) if {"type": "null"} in one.get("anyOf", ())]
    for union in split:
        forms = [one for one in union["anyOf"] if one != {"type": "null"}]
        assert len(forms) > 1 or "$ref" in forms[0], union
    assert not [one for one in _schemas(document()) if "oneOf" in one]


def test_a_parameter_is_never_null() -> None:
    for operation in operations():
        for parameter in operation.told.get("parameters", ()):
            assert "null" not in str(parameter["schema"]), (operation.path, parameter["name"])


def test_a_chat_is_answered_whole_or_as_a_stream() -> None:
    chats = [one for one in operations() if one.told["operationId"].endswith("reateCompletion")]
    assert len(chats) == 3
    for operation in chats:
        content = operation.told["responses"]["200"]["content"]
        assert set(content) == {"application/json", "text/event-stream"}


def _schemas(node: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        yield node
        for one in node.values():
            yield from _schemas(one)
    elif isinstance(node, list):
        for one in node:
            yield from _schemas(one)


async def _ask(
    client: httpx.AsyncClient, operation: Operation, **how: object
) -> tuple[int, httpx.Response]:
    """One request of the operation, whose answer must be a documented one."""
    address = re.sub(r"\{(\w+)\}", _made_up, operation.path)
    if "requestBody" in operation.told and "content" not in how:
        how["json"] = {}
    response = await client.request(operation.method, address, **how)  # type: ignore[arg-type]
    check(operation, response.status_code, response.headers.get("content-type", ""))
    check_body(operation, response)
    return response.status_code, response


def _made_up(name: re.Match[str]) -> str:
    return "987654" if name[1] in ("agency_id", "agent_id") else "nothing-like-this"


async def test_who_has_no_key_is_told_so_as_documented(gateway: Gateway) -> None:
    for operation in operations():
        status, _ = await _ask(gateway.anonymous, operation)
        assert (status == 401) == (401 in operation.errors), operation


async def test_a_key_without_the_scope_is_refused_as_documented(gateway: Gateway) -> None:
    keys = [await gateway.key("ann", scope) for scope in (Scope.RETRIEVAL, Scope.CHAT)]
    for operation in operations():
        found = set()
        for key in keys:
            address = re.sub(r"\{(\w+)\}", _made_up, operation.path)
            body = operation.told.get("requestBody", {}).get("content", {})
            how = {"json": _example(body)} if "application/json" in body else {}
            response = await gateway.anonymous.request(
                operation.method, address, headers=bearer(key), **how
            )
            check_body(operation, response)
            found.add(response.status_code)
        assert (403 in found) == (403 in operation.errors), (operation.path, found)


def _example(content: Mapping[str, Any]) -> object:
    form = content["application/json"]
    if "examples" in form:
        return next(iter(form["examples"].values()))["value"]
    schema = document()["components"]["schemas"][form["schema"]["$ref"].rpartition("/")[2]]
    return schema["examples"][0]


async def test_what_is_not_there_is_told_as_documented(gateway: Gateway) -> None:
    for operation in operations():
        await _ask(gateway.http, operation)


async def test_a_body_that_is_none_is_refused_as_documented(gateway: Gateway) -> None:
    taking = [one for one in operations() if "requestBody" in one.told]
    assert len(taking) > 40
    for operation in taking:
        for body in (b"", b"{", b"[]", b'"\xff"', b'{"a": "\\u0000"}'):
            status, _ = await _ask(gateway.http, operation, content=body)
            assert status in (400, 404), operation


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/rpc/2025-02-12/create_conversation"])
async def test_a_body_too_large_is_refused_as_documented(gateway: Gateway, path: str) -> None:
    status, _ = await _ask(gateway.http, _named(f"post {path}"), content=b" " * (MAX_BODY + 1))
    assert status == 413


async def test_nobody_waits_while_the_document_is_made(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gateway.process.watchdog")
    forms = ("openapi.json", "openapi.yaml", "openapi.yml", "swagger", "")
    asked = [gateway.anonymous.get(f"/schema/{form}".rstrip("/")) for form in forms]
    answers = await asyncio.gather(*asked)
    await asyncio.sleep(2 * BEAT_S)
    held = [
        str(vars(one)["stack"]) for one in caplog.records if one.name == "gateway.process.watchdog"
    ]
    assert not [stack for stack in held if re.search("openapi|yaml|description", stack)]
    assert {one.status_code for one in answers} == {200}
    assert answers[0].json() == document()
    assert answers[1].text == answers[2].text
    assert await asyncio.to_thread(yaml.safe_load, answers[1].text) == document()
