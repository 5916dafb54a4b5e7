"""What the gateway offers is documented."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.app import create_app
from gateway.resources import Resources

API = Path(__file__).parents[2] / "docs" / "api.md"


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


def test_the_openapi_document_describes_every_operation() -> None:
    paths = create_app(_never).openapi_schema.to_schema()["paths"]
    undescribed = [
        f"{method} {path}"
        for path, operations in paths.items()
        for method, operation in operations.items()
        if not (operation.get("summary") and operation.get("responses"))
    ]
    assert not undescribed
