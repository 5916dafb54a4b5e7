"""Whether this process lives, and whether it can serve."""

from __future__ import annotations

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.types import ControllerRouterHandler

from gateway.process.health import Checks, Result


class Live(msgspec.Struct):
    status: str = "ok"


class Resource(msgspec.Struct):
    """`ms` is how long the ping took; `error` says what failed, null if nothing did."""

    status: str
    mode: str
    ms: float
    error: str | None


class Ready(msgspec.Struct):
    status: str
    resources: dict[str, Resource]


@get("/health/live", tags=["Health"], summary="Check that the process lives", security=[])
async def live() -> Live:
    """Answers as long as the process does."""
    return Live()


@get(
    "/health/ready",
    tags=["Health"],
    summary="Check that everything that turns need answers",
    responses={503: ResponseSpec(Ready, description="Not all", generate_examples=False)},
    security=[],
)
async def ready(checks: NamedDependency[Checks]) -> Response[Ready]:
    """200 if everything that turns need answers, else 503. The answer names what does not."""
    results = await checks.run()
    well = all(result.ok or not result.vital for result in results)
    body = Ready("ok" if well else "failed", {r.name: _resource(r) for r in results})
    return Response(body, status_code=200 if well else 503)


def _resource(result: Result) -> Resource:
    status = "ok" if result.ok else "failed"
    return Resource(status, result.mode, round(result.took * 1000, 1), result.error)


ROUTES: list[ControllerRouterHandler] = [live, ready]
