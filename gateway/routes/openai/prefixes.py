"""The three prefixes of every route of the OpenAI API: an agency, with and without `v1`, and all.

Handlers are written once and ask for `agency`: the one that the address names, or None under `/v1`.
"""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Router
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, SkipValidation
from litestar.types import ControllerRouterHandler

from gateway.agency.records.stored import Store
from gateway.agency.teams.catalog import AgencySpec, Catalog
from gateway.auth import Principal, Scope
from gateway.postgres.database import Database
from gateway.routes.http.guards import needs

Agency = NamedDependency[SkipValidation[AgencySpec | None]]
"""`agency` in a handler."""
TheStore = NamedDependency[Store]


async def _named(
    agency_id: FromPath[int],
    catalog: NamedDependency[Catalog],
    principal: NamedDependency[Principal],
) -> AgencySpec:
    """Raises NotFound unless the caller may use the agency."""
    return await catalog.read(agency_id, principal)


async def _every() -> None:
    return None


async def _store(database: NamedDependency[Database]) -> Store:
    return Store(database)


def under_each(
    handlers: Sequence[ControllerRouterHandler], *, tag: str
) -> list[ControllerRouterHandler]:
    """The handlers under each prefix."""
    places = (
        ("/api/agency/{agency_id:int}", _named),
        ("/api/agency/{agency_id:int}/v1", _named),
        ("/v1", _every),
    )
    return [
        Router(
            path=path,
            route_handlers=handlers,
            dependencies={"agency": Provide(agency), "store": Provide(_store)},
            guards=[needs(Scope.CHAT)],
            tags=[tag],
        )
        for path, agency in places
    ]
