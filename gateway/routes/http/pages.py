"""What the routes that read have in common: how pages are asked for, and who may come in."""

from __future__ import annotations

from typing import Annotated

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import QueryParameter

from gateway.auth import Principal, Scope
from gateway.routes.agencies.wire import Refusal

Limit = Annotated[int, QueryParameter(ge=1, le=100, description="How many a page holds at most.")]
Cursor = Annotated[str | None, QueryParameter(description="`next_cursor` of the page before.")]


def refusal(description: str) -> ResponseSpec:
    return ResponseSpec(Refusal, description=description, generate_examples=False)


BAD = {400: refusal("The request breaks a rule; `param` names what does.")}
MISSING = {404: refusal("It is not there, or not yours to see.")}


def may_chat(
    connection: ASGIConnection[BaseRouteHandler, Principal, str, State], _: BaseRouteHandler
) -> None:
    """A guard, so that the key is judged before the body."""
    connection.user.require(Scope.CHAT)
