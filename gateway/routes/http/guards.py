"""Who may come in. Every address asks for a key but the few that are public."""

from __future__ import annotations

from collections.abc import Iterable

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import Guard

from gateway.auth import Callers, Principal, Scope

RECALLED = "recalled"
"""Set as a route's `opt`: a key that was proven before is believed. The route's first statement
checks that it still lives."""

TOKENED = "tokened"
"""Set as a route's `opt`: a caller without a key may come in with `?token=`, which the route itself
checks."""

OWN_DOOR = "own_door"
"""Set as a route's `opt`: what is behind it asks who comes in by itself."""

_PUBLIC = ("/health/", "/schema", "/admin")


def is_public(path: str) -> bool:
    return path.startswith(_PUBLIC)


def token_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key, from `Authorization: Bearer <key>`, else `x-api-key: <key>` or Azure's `api-key`."""
    key: str | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, credentials = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer" and credentials:
                return credentials.strip()
        elif name in (b"x-api-key", b"api-key"):
            key = value.decode("latin-1").strip()
    return key


async def authenticate(
    connection: ASGIConnection[BaseRouteHandler, Principal, str, State], handler: BaseRouteHandler
) -> None:
    """The app's guard: runs before anything of the body is read. Raises Unauthenticated."""
    scope = connection.scope
    if is_public(scope["path"]) or OWN_DOOR in handler.opt:
        return
    token = token_of(scope["headers"])
    if token is None and TOKENED in handler.opt and b"token=" in scope["query_string"]:
        return
    callers: Callers = connection.app.state.callers
    identify = callers.recall if RECALLED in handler.opt else callers.identify
    scope["user"] = await identify(token)
    scope["auth"] = token


class Guarded(HTTPRouteHandler):
    """A route whose guards are given the route itself. Those of Litestar's own are given a copy of
    it, which takes 20 µs a request."""

    async def authorize_connection(
        self, connection: ASGIConnection[BaseRouteHandler, Principal, str, State]
    ) -> None:
        for guard in self.resolve_guards():
            if (judging := guard(connection, self)) is not None:
                await judging


async def provide_principal(request: Request[Principal, str, State]) -> Principal:
    """`principal` in a handler. Where it is the only need, `request.user` is the same and cheaper,
    and `request.auth` is the key itself."""
    return request.user


def needs(scope: Scope) -> Guard:
    """A guard for callers whose key has this scope: it is judged before the body is read."""

    # A coroutine: Litestar runs any other guard in a thread.
    async def judge(
        connection: ASGIConnection[BaseRouteHandler, Principal, str, State], _: BaseRouteHandler
    ) -> None:
        connection.user.require(scope)

    return judge
