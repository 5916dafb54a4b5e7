"""The OpenAPI document: what Litestar knows of the routes, and what they all have in common.

A route declares the answers that are its own. This module adds the errors that follow from what an
operation is: whether it wants a key, names something in its path, or takes a body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
    RequestBody,
    Responses,
    Schema,
)

from gateway.routes.http.errors import JSON
from gateway.routes.http.guards import is_public
from gateway.routes.schema.nullable import settled

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler
    from litestar.types import Method

METHODS = ("get", "put", "post", "delete", "patch")

REQUEST_ID = Parameter(
    "X-Request-Id", "header", schema=Schema(type=OpenAPIType.STRING), description="Kept if sent."
)
"""Every operation takes it. It is told where a body has several forms, since openapi-python-client
0.29 writes a module that can't be imported if such an operation has no optional parameter."""

ANY_SCOPE = frozenset({"/api/me"})
"""Where every key may come in, whatever its scopes."""

TOLD = {
    400: "The request breaks a rule; `param` names what does.",
    401: "`invalid_api_key`: there is no key, or it is not (or no longer) valid.",
    403: "`insufficient_scope`: the key lacks a scope.",
    404: "It is not there, or not yours to see.",
    408: "The body stalled, or came too slowly.",
    413: "`request_too_large`: the body is larger than 20 MiB.",
    415: "The body's `content-encoding` is neither `gzip` nor `deflate`.",
    503: "`unavailable`: something of the gateway's is down; try again after `Retry-After`.",
}
"""What each error says that a route need not declare."""

EVENT_STREAM = "text/event-stream"
EVENTS = Schema(description="Server-sent events")
"""Without a type: for some readers of the document the schema is the whole stream's, for others
each event's."""

NOTHING = Schema(type=[OpenAPIType.OBJECT, OpenAPIType.NULL], description="Always null")
"""The RPC door's answer where there is nothing to tell. With `null` as its only type two of
openapi-generator's languages write what does not compile."""

REFUSAL = Reference("#/components/schemas/Refusal")
RPC_ERROR = Reference("#/components/schemas/RpcError")


class Description(OpenAPIConfig):
    """Makes a document that is completed when it is read."""

    def to_openapi_schema(self) -> OpenAPI:
        usual = super().to_openapi_schema()
        return OpenAPIDocument(**{one.name: getattr(usual, one.name) for one in fields(usual)})


@dataclass
class OpenAPIDocument(OpenAPI):
    def __post_init__(self) -> None:
        self._told: dict[str, object] | None = None

    def to_schema(self) -> dict[str, object]:
        if self._told is None:
            self._told = self._completed()
        return self._told

    def _completed(self) -> dict[str, object]:
        schemas = self.components.schemas = self.components.schemas or {}
        for path, operation in operations(self.paths or {}):
            _complete(path, operation)
            schemas |= _several_forms(operation)
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
    for response in answers.values():
        content = response.content if isinstance(response, OpenAPIResponse) else None
        if content and EVENT_STREAM in content:
            content[EVENT_STREAM] = OpenAPIMediaType(EVENTS)
    if path.startswith("/rpc/") and isinstance(done := answers.get("200"), OpenAPIResponse):
        done.content = done.content or {JSON: OpenAPIMediaType(NOTHING)}


def implied(path: str, operation: Operation) -> Iterator[int]:
    """The statuses that follow from what an operation is."""
    body = operation.request_body is not None
    if body or operation.parameters:
        yield 400
    if body:
        yield from (408, 413, 415)
    if not is_public(path):
        yield 401
        yield 503
        if path not in ANY_SCOPE:
            yield 403
    if "{" in path:
        yield 404


def _several_forms(operation: Operation) -> dict[str, Schema]:
    """The types of a body that may come in several forms. What some generators write for such an
    operation compiles only if the forms are types, and if there is an optional parameter."""
    body = operation.request_body
    if not isinstance(body, RequestBody) or len(body.content) < 2:
        return {}
    if REQUEST_ID not in (operation.parameters or []):
        operation.parameters = [*(operation.parameters or []), REQUEST_ID]
    types = {}
    for form in body.content.values():
        if isinstance(form.schema, Schema) and form.schema.title:
            types[form.schema.title] = form.schema
            form.schema = Reference(f"#/components/schemas/{form.schema.title}")
    return types


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
