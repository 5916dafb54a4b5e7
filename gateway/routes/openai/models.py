"""Agencies and plain models as models of the OpenAI API: `agency/<id>` is agency <id>."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.agency.models.passing.passage import Listed
from gateway.agency.plain.models import PlainModels
from gateway.agency.plain.offer import AGENCY
from gateway.agency.teams.catalog import AgencySpec, AgencySummary, Catalog
from gateway.auth import Principal
from gateway.errors import NotFound, UpstreamError
from gateway.names import DEFAULT_PROVIDER
from gateway.routes.openai.chat.completions import agency_of
from gateway.routes.openai.prefixes import Agency, under_each
from gateway.routes.shapes.refusals import MISSING

PAGE = 100
MOST = 1_000
"""Models in a list, which OpenAI's clients take as a whole. The others work, too."""


class Model(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An agency has a `name`, which chat UIs show in place of its id. `created` of a plain model is
    the upstream's, or 0."""

    id: str
    object: str
    created: int
    owned_by: str
    name: str | msgspec.UnsetType = msgspec.UNSET


class ModelList(msgspec.Struct):
    object: str
    data: list[Model]


@get(
    "/models",
    summary="List the models: the agency, or all agencies that you may use, then plain models",
)
async def list_models(
    agency: Agency,
    catalog: NamedDependency[Catalog],
    plain: NamedDependency[PlainModels],
    principal: NamedDependency[Principal],
) -> ModelList:
    """Under `/v1` the plain models of `GATEWAY_MODELS` follow. If the upstream's own list can't be
    read, they are left out."""
    if agency:
        return ModelList("list", [_model(f"agency/{agency.id}", agency)])
    found = [_model(f"agency/{one.id}", one) for one in await _usable(catalog, principal)]
    with suppress(UpstreamError):  # which `Offer` logs
        found += map(_plain, await plain.listed())
    return ModelList("list", found)


@get("/models/{model_id:path}", summary="Read a model", responses=MISSING)
async def read_model(
    model_id: FromPath[str],
    agency: Agency,
    catalog: NamedDependency[Catalog],
    plain: NamedDependency[PlainModels],
    principal: NamedDependency[Principal],
) -> Model:
    """An agency answers to any name of a model, and so it has every model."""
    name = model_id.removeprefix("/")
    if agency is None and not name.startswith(AGENCY):
        return _plain(await plain.find(name))
    return _model(name, agency or await _meant(name, catalog, principal))


async def _usable(catalog: Catalog, principal: Principal) -> list[AgencySummary]:
    found: list[AgencySummary] = []
    cursor = None
    while len(found) < MOST:
        page = await catalog.page(principal, limit=PAGE, cursor=cursor, shared=True)
        found += page.items
        if (cursor := page.next_cursor) is None:
            break
    return found


async def _meant(name: str, catalog: Catalog, principal: Principal) -> AgencySpec:
    try:
        return await catalog.read(agency_of(name), principal)
    except NotFound:
        raise NotFound(
            f"The model {name[:64]!r} does not exist, or you have no access to it.",
            param="model",
            code="model_not_found",
        ) from None


def _model(name: str, agency: AgencySpec | AgencySummary) -> Model:
    return Model(
        id=name,
        object="model",
        created=_seconds(agency.created_at),
        owned_by=agency.owner,
        name=agency.name,
    )


def _plain(model: Listed) -> Model:
    return Model(id=model.id, object="model", created=model.created, owned_by=DEFAULT_PROVIDER)


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


ROUTES = under_each([list_models, read_model], tag="Models")
