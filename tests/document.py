"""The OpenAPI document as a judge: what is answered must be what it says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import jsonschema_rs

from gateway.app import create_app
from gateway.resources import Resources

OF_NO_OPERATION = {405, 431, 499, 500}
"""A method that is not there, headers too large, a client that is gone, and a bug."""


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    told: dict[str, Any]

    @property
    def statuses(self) -> set[int]:
        return {int(status) for status in self.told["responses"]}

    @property
    def errors(self) -> set[int]:
        return {status for status in self.statuses if status >= 400}


@cache
def document() -> dict[str, Any]:
    return create_app(_never).openapi_schema.to_schema()


@cache
def operations() -> list[Operation]:
    return [
        Operation(method, path, told)
        for path, item in document()["paths"].items()
        for method, told in item.items()
    ]


def find(method: str, path: str) -> Operation | None:
    """The operation that answers there. Where two patterns fit, Litestar takes the plainer one."""
    for pattern, operation in _patterns():
        if operation.method == method.lower() and pattern.fullmatch(path):
            return operation
    return None


async def judge(response: httpx.Response) -> None:
    """An httpx hook: fails on a status or a type of content that the document doesn't tell."""
    request = response.request
    operation = find(request.method, request.url.path)
    if operation is None or response.status_code in OF_NO_OPERATION:
        return
    check(operation, response.status_code, response.headers.get("content-type", ""))


def check(operation: Operation, status: int, content_type: str) -> None:
    where = f"{operation.method} {operation.path}"
    assert status in operation.statuses, f"{where} answers {status}, which is not documented"
    content = operation.told["responses"][str(status)].get("content", {})
    media_type = content_type.partition(";")[0]
    if media_type or content:
        assert media_type in content, f"{where} answers {status} as {media_type!r}"


def check_body(operation: Operation, response: httpx.Response) -> None:
    """Fails on a JSON body that is not of the documented shape."""
    content = operation.told["responses"][str(response.status_code)].get("content", {})
    if "application/json" in content and "json" in response.headers["content-type"]:
        schema = {**content["application/json"]["schema"], "components": document()["components"]}
        jsonschema_rs.validator_for(schema).validate(response.json())


@cache
def _patterns() -> list[tuple[re.Pattern[str], Operation]]:
    plainest_first = sorted(operations(), key=lambda one: one.path.count("{"))
    return [(re.compile(_pattern(one.path)), one) for one in plainest_first]


def _pattern(path: str) -> str:
    whole = re.sub(r"\\\{model_id\\\}", ".+", re.escape(path))
    return re.sub(r"\\\{\w+\\\}", "[^/]+", whole)


@asynccontextmanager
async def _never() -> AsyncIterator[Resources]:
    raise AssertionError("the app is only looked at")
    yield
