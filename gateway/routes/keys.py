"""API keys, and who is calling."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler

from gateway.auth import ROOT, Callers, KeyInfo, Principal, Scope
from gateway.errors import Conflict
from gateway.routes.shapes.refusals import MISSING, refusal

ROOTED = {409: refusal("The root key is set by the operator and can't be revoked.")}


MOST_SCOPES = 32


class NewKey(msgspec.Struct):
    user: str
    scopes: Annotated[list[str], msgspec.Meta(max_length=MOST_SCOPES)]


class Key(msgspec.Struct):
    id: str
    user: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


class CreatedKey(msgspec.Struct):
    """`key` is shown this once: only its hash is kept."""

    id: str
    key: str
    user: str
    scopes: list[str]
    created_at: datetime


class KeyList(msgspec.Struct):
    data: list[Key]
    next_cursor: str | None = None


class Me(msgspec.Struct):
    user: str
    scopes: list[str]
    key_id: str


@post("/api/keys", tags=["Keys"], summary="Create a key, which is shown only once")
async def create_key(
    data: JSONBody[NewKey], principal: NamedDependency[Principal], callers: NamedDependency[Callers]
) -> CreatedKey:
    principal.require(Scope.ADMIN)
    info, token = await callers.create(data.user, data.scopes)
    return CreatedKey(info.id, token, info.user, list(info.scopes), info.created_at)


@get("/api/keys", tags=["Keys"], summary="List the keys")
async def list_keys(
    principal: NamedDependency[Principal], callers: NamedDependency[Callers]
) -> KeyList:
    principal.require(Scope.ADMIN)
    return KeyList([_show(info) for info in await callers.keys()])


@delete(
    "/api/keys/{key_id:str}",
    status_code=200,
    tags=["Keys"],
    summary="Revoke a key",
    responses=MISSING | ROOTED,
)
async def revoke_key(
    key_id: FromPath[str], principal: NamedDependency[Principal], callers: NamedDependency[Callers]
) -> Key:
    principal.require(Scope.ADMIN)
    if key_id == ROOT:
        raise Conflict("The root key is set by the operator: change GATEWAY_ROOT_KEY instead.")
    return _show(await callers.revoke(key_id))


@get("/api/me", tags=["Keys"], summary="Read who is calling")
async def me(principal: NamedDependency[Principal]) -> Me:
    return Me(principal.user, sorted(principal.scopes), principal.key_id)


def _show(info: KeyInfo) -> Key:
    return Key(info.id, info.user, list(info.scopes), info.created_at, info.revoked_at)


ROUTES: list[ControllerRouterHandler] = [create_key, list_keys, revoke_key, me]
