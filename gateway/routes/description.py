"""The OpenAPI document: what Litestar knows of the routes, and what they all have in common.

A route declares the answers that are its own. This module adds the errors that follow from what an
operation is: whether it wants a key, names something in its path, or takes a body.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import (
    OpenAPI,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    PathItem,
    Reference,
    Responses,
    Schema,
)

from gateway.routes.errors import JSON
from gateway.routes.guards import is_public
from gateway.routes.nullable import settled

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler
    from litestar.types import Method

METHODS = ("get", "put", "post", "delete", "patch")

REQUEST_ID = Parameter(
    "X-Request-Id", "header", schema=Schema(type=OpenAPIType.STRING), description="Kept if sent."
)
"""Every operation takes it. It is told where a body has several forms, since openapi-python-client
0.29 writes a module that can't be imported for such an operation without an optional parameter."""

ANY_SCOPE = frozenset({"/api/me"})
"""Where every key may come in, whatever its scopes."""

TOLD = {
    400: "The request breaks a rule; `param` names what does.",
    401: "`invalid_api_key`: there is no key, or it is not (or no longer) valid.",
    403: "`insufficient_scope`: the key lacks a scope.",
    404: "It is not there, or not yours to see.",
    413: "`request_too_large`: the body is larger than 20 MiB.",
    503: "`unavailable`: something of the gateway's is down; try again after `Retry-After`.",
}
"""What each error says that a route need not declare."""

REFUSAL = Reference("#/components/schemas/Refusal")
RPC_ERROR = Reference("#/components/schemas/RpcError")


class Description(OpenAPIConfig):
    """Makes a document that is completed when it is read."""

    def to_openapi_schema(self) -> OpenAPI:
        usual = super().to_openapi_schema()
        return Document(**{one.name: getattr(usual, one.name) for one in fields(usual)})


@dataclass
class Document(OpenAPI):
    def to_schema(self) -> dict[str, object]:
        for path, operation in operations(self.paths or {}):
            _complete(path, operation)
        schema: dict[str, object] = super().to_schema()
        return {name: settled(part) for name, part in schema.items()}


def operations(paths: dict[str, PathItem]) -> Iterator[tuple[str, Operation]]:
    """Each operation with its path."""
    for path, item in paths.items():
        for method in METHODS:
            operation = getattr(item, method)
            if isinstance(operation, Operation):
                yield path, operation


def _complete(path: str, operation: Operation) -> None:
    form = RPC_ERROR if path.startswith("/rpc/") else REFUSAL
    answers: Responses = {str(one): _error(one, form) for one in implied(path, operation)}
    for status, response in (operation.responses or {}).items():
        if int(status) < 400 or _is_ours(response):
            answers[status] = response
    operation.responses = dict(sorted(answers.items()))
    if len(_forms(operation)) > 1 and REQUEST_ID not in (operation.parameters or []):
        operation.parameters = [*(operation.parameters or []), REQUEST_ID]


def implied(path: str, operation: Operation) -> Iterator[int]:
    """The statuses that follow from what an operation is."""
    body = operation.request_body is not None
    if body or operation.parameters:
        yield 400
    if body:
        yield 413
    if not is_public(path):
        yield 401
        yield 503
        if path not in ANY_SCOPE:
            yield 403
    if "{" in path:
        yield 404


def _forms(operation: Operation) -> Collection[str]:
    body = operation.request_body
    return () if body is None or isinstance(body, Reference) else body.content


def _is_ours(response: OpenAPIResponse | Reference) -> bool:
    """Litestar adds a 400 in its own form, which the gateway never sends. What routes declare
    refers to a type."""
    if isinstance(response, Reference) or not response.content:
        return True
    return all(isinstance(one.schema, Reference) for one in response.content.values())


def _error(status: int, form: Reference) -> OpenAPIResponse:
    return OpenAPIResponse(TOLD[status], content={JSON: OpenAPIMediaType(schema=form)})


_PLACES = (
    (re.compile(r"/api/agency/\{\}/v1/"), "agency_v1_"),
    (re.compile(r"/api/agency/\{\}/"), "agency_"),
    (re.compile(r"/rpc/"), "rpc_"),
)
"""Where a handler may stand a second time, or have the name of another."""


def operation_id(handler: HTTPRouteHandler, _: Method, path: Sequence[object]) -> str:
    """`listFiles`, and where the same is under an agency's address `agencyListFiles`."""
    address = "".join(f"/{one if isinstance(one, str) else '{}'}" for one in path)
    name = handler.handler_name
    for place, prefix in _PLACES:
        if place.match(address):
            name = prefix + name.replace("agency_", "")
            break
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
