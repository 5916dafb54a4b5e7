"""What the gateway offers is documented."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gateway
from gateway.app import create_app
from gateway.resources import Resources
from gateway.routes.library.wire import NewDocument
from gateway.routes.schema.examples import EXAMPLES
from tests import document

API = Path(__file__).parents[2] / "docs" / "api.md"
PACKAGE = Path(gateway.__file__).parent
MOST = 10
"""Modules of a room."""
ARCHITECTURE = API.with_name("architecture.md")
WITHOUT_BODY = {
    "post /api/turns/{turn_id}/cancel",
    "post /api/conversations/{conversation_id}/join",
    "post /api/conversations/{conversation_id}/leave",
    "post /api/conversations/{conversation_id}/restore",
    "post /api/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    "post /api/conversations/{conversation_id}/messages/{message_id}/restore",
    "put /api/conversations/{conversation_id}/participants/user/{identifier}/rights/{right}",
}


def test_each_room_lists_its_modules() -> None:
    rooms = re.findall(r"(?ms)^- \*\*`(.+?)/`\*\*(.*?)(?=^- |^\n)", ARCHITECTURE.read_text())
    told = {room: set(re.findall(r"`(\w+)`", modules)) for room, modules in rooms}
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if not path.stem.startswith("__"):
            room = path.parent.relative_to(PACKAGE)
            found.setdefault(str(room) if room.parts else "gateway", set()).add(path.stem)
    assert told == found


def test_rooms_are_of_a_size_to_survey() -> None:
    for room in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert len([path for path in room.glob("*.py") if path.stem != "__init__"]) <= MOST, room


@asynccontextmanager
async def _never() -> AsyncIterator[Resources]:
    raise AssertionError("the app is only looked at")
    yield


def test_every_route_stands_in_the_documentation() -> None:
    app = create_app(_never)
    paths = {re.sub(r":\w+}", "}", route.path) for route in app.routes}
    told = API.read_text()
    missing = sorted(p for p in paths if not p.startswith("/schema") and f"{p}`" not in told)
    assert not missing


def test_every_documented_route_is_there() -> None:
    app = create_app(_never)
    paths = {re.sub(r":\w+}", "}", route.path) for route in app.routes}
    told = set(
        re.findall(
            r"`(?:GET |POST |DELETE )?(/(?:api|v1|streams|health)/[^`?*]+)`", API.read_text()
        )
    )
    assert told - paths <= {"/api/agency/{agency_id}", "/api/agency/{agency_id}/v1", "/v1"}
    assert len(told) > 30


def _described() -> dict[str, Any]:
    paths: dict[str, Any] = create_app(_never).openapi_schema.to_schema()["paths"]
    return paths


def _type(form: dict[str, Any]) -> dict[str, Any]:
    schemas: dict[str, dict[str, Any]] = document.document()["components"]["schemas"]
    return schemas[form["schema"]["$ref"].rpartition("/")[2]]


def test_both_forms_of_a_document_are_described() -> None:
    operation = _described()["/api/collections/{name}/documents"]["post"]
    body = operation["requestBody"]
    assert body["required"]
    as_json = body["content"]["application/json"]
    assert _type(as_json)["required"] == ["text"]
    assert set(_type(as_json)["properties"]) == set(NewDocument.__struct_fields__)
    (example,) = as_json["examples"].values()
    assert msgspec.convert(example["value"], NewDocument).text
    form = body["content"]["multipart/form-data"]
    properties = _type(form)["properties"]
    assert set(properties) == {"file", "source", "metadata"}
    assert (properties["file"]["type"], properties["file"]["format"]) == ("string", "binary")
    assert _type(form)["required"] == ["file"]
    assert form["examples"]
    assert {"200", "202"} <= set(operation["responses"])
    assert "201" not in operation["responses"], "it is never given"


@pytest.mark.parametrize("prefix", ["/v1", "/api/agency/{agency_id}", "/api/agency/{agency_id}/v1"])
def test_the_form_of_a_file_is_described(prefix: str) -> None:
    body = _described()[f"{prefix}/files"]["post"]["requestBody"]
    form = body["content"]["multipart/form-data"]
    assert body["required"]
    assert form["schema"]["required"] == ["file", "purpose"]
    assert form["schema"]["properties"]["file"]["format"] == "binary"
    assert form["examples"]


def test_whatever_takes_a_body_describes_it() -> None:
    bare = {
        f"{method} {path}"
        for path, operations in _described().items()
        for method, operation in operations.items()
        if method in ("post", "put", "patch") and "requestBody" not in operation
    }
    assert bare <= WITHOUT_BODY


def test_whatever_takes_a_body_shows_one() -> None:
    schema = create_app(_never).openapi_schema.to_schema()
    components = schema["components"]["schemas"]
    bare = [
        f"{method} {path}"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        for body in operation.get("requestBody", {"content": {}})["content"].values()
        if "examples" not in body
        and "examples" not in components[body["schema"]["$ref"].rpartition("/")[2]]
    ]
    assert not bare


@pytest.mark.parametrize("shape", EXAMPLES, ids=lambda shape: shape.__name__)
def test_an_example_is_a_body_that_is_taken(shape: type[msgspec.Struct]) -> None:
    assert msgspec.convert(EXAMPLES[shape], shape)
    assert set(EXAMPLES[shape]) <= set(shape.__struct_fields__), "none is misspelt"


def test_the_cursor_of_a_page_is_described_where_it_is_given() -> None:
    given = {
        path
        for path, operations in _described().items()
        for operation in operations.values()
        if "x-next-cursor" in operation["responses"].get("200", {}).get("headers", {})
    }
    assert given == {"/rpc/2025-02-12/list_conversations_with_interactions"}


def test_the_openapi_document_describes_every_operation() -> None:
    paths = create_app(_never).openapi_schema.to_schema()["paths"]
    undescribed = [
        f"{method} {path}"
        for path, operations in paths.items()
        for method, operation in operations.items()
        if " " not in operation.get("summary", "") or not operation.get("responses")
    ]
    assert not undescribed


CHECKOUT = Path(__file__).parents[2]
PAGES = [
    *CHECKOUT.glob("*.md"),
    *(CHECKOUT / "deploy").glob("*.md"),
    *(CHECKOUT / "docs").rglob("*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_prose_is_wrapped(page: Path) -> None:
    """Tables and code are as long as they are; one word may be, too."""
    coded, long = False, []
    for line in page.read_text().splitlines():
        coded ^= line.lstrip().startswith("```")
        table = line.lstrip().startswith("|")
        if not (coded or table) and len(line) > 100 and re.search(r"\S\s+\S", line):
            long.append(line)
    spans = [line for line in long if not re.search(r"`[^`]*\s[^`]*`|\[[^\]]*\]\(", line)]
    assert not spans
