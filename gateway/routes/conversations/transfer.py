"""`/api/conversations/{id}/export` and `/api/conversations/import`."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Annotated, BinaryIO, Final, cast

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from gateway import ids
from gateway.agency.transfer.document import (
    FORMAT,
    FORMAT_VERSION,
    PARTS,
    ExportedConversation,
)
from gateway.agency.transfer.exports import Exports
from gateway.agency.transfer.imports import Imports
from gateway.auth import Principal, Scope
from gateway.conversation.rooms.participants import Participants
from gateway.conversation.rooms.rooms import Rooms
from gateway.errors import InvalidRequest
from gateway.routes.conversations.wire import Created
from gateway.routes.http.errors import JSON
from gateway.routes.http.guards import needs
from gateway.routes.shapes.refusals import BAD, MISSING, refusal
from gateway.streams.events import WholeConversation

LARGEST: Final = 256 << 20
"""Bytes of a document that is taken in."""
IN_MEMORY: Final = 1 << 20
"""A larger one is kept in a file while it comes in."""
KINDS: Final = {"json": JSON, "md": "text/markdown"}

EXAMPLE: Final = {
    "format": FORMAT,
    "format_version": FORMAT_VERSION,
    "conversation": {
        "id": "conv_01a1fdb5b7da76c99daf42788df2d80b",
        "title": "A bakery",
        "owner": {"type": "user", "identifier": "ann"},
        "drive": "auto",
        "provider_id": None,
        "model_id": None,
        "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    },
    "messages": [],
}

Format = Annotated[
    str,
    QueryParameter(
        name="format",
        max_length=10,
        description="`json`, all that you may see, or `md`, what was said, to read.",
    ),
]


@dataclass
class DocumentOperation(Operation):
    """Documents the body, which Litestar can't see since it is read as it comes in."""

    def __post_init__(self) -> None:
        lists = {name: Schema(type=OpenAPIType.ARRAY) for name in PARTS}
        described = Schema(
            title="ExportedConversation",
            type=OpenAPIType.OBJECT,
            properties={
                "format": Schema(type=OpenAPIType.STRING),
                "format_version": Schema(type=OpenAPIType.INTEGER),
                "conversation": Schema(type=OpenAPIType.OBJECT),
                **lists,
            },
            required=["format", "format_version", "conversation"],
        )
        example = Example(value=EXAMPLE)
        media = OpenAPIMediaType(described, examples={"document": example})
        self.request_body = RequestBody({JSON: media}, required=True)


@dataclass(frozen=True, slots=True)
class Transfer:
    """All that these routes need, as one dependency: each costs a task."""

    principal: Principal
    exports: Exports
    imports: Imports
    rooms: Rooms


TheTransfer = NamedDependency[Transfer]


@get(
    "/{conversation_id:str}/export",
    summary="Export a conversation",
    responses={
        200: ResponseSpec(ExportedConversation, description="The document", generate_examples=False)
    }
    | BAD
    | MISSING,
)
async def export_conversation(
    conversation_id: FromPath[str], transfer: TheTransfer, format_: Format = "json"
) -> Stream:
    """Streamed, however large it is. `json` has messages with their history, files, turns and, for
    who may hear them, the steps and contexts of agents; `md` is Markdown. What was deleted is in
    neither."""
    if format_ not in KINDS:
        raise InvalidRequest("`format` is json or md.", param="format")
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    found = await transfer.exports.open(conversation, transfer.principal)
    told = transfer.exports.json if format_ == "json" else transfer.exports.markdown
    name = f'attachment; filename="{found.name}.{format_}"'.encode("ascii", "replace").decode()
    return Stream(told(found), media_type=KINDS[format_], headers={"Content-Disposition": name})


@post(
    "/import",
    summary="Import a conversation",
    request_max_body_size=LARGEST,
    operation_class=DocumentOperation,
    responses={201: ResponseSpec(WholeConversation, generate_examples=False)}
    | BAD
    | {413: refusal(f"The document is larger than {LARGEST >> 20} MiB.")},
)
async def import_conversation(
    request: Request[Principal, str, State], transfer: TheTransfer
) -> Response[bytes]:
    """The body is a document that an export gave. The conversation is equal, has new ids and is
    yours. Bots come along that you may use, other people do not; what agents have before them comes
    along for agents of your own agencies."""
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
        async for chunk in request.stream():
            spool.write(chunk)
        if not spool.tell():
            raise InvalidRequest("The body is empty: send a document that an export gave.")
        made = await transfer.imports.load(cast("BinaryIO", spool), transfer.principal)
    return Created(msgspec.json.encode(await transfer.rooms.whole(made)))


async def provide_transfer(request: Request[Principal, str, State]) -> Transfer:
    state = request.app.state
    database, announcer = state.database, state.announcer
    return Transfer(
        principal=request.user,
        exports=Exports(database, Participants(database, announcer)),
        imports=Imports(database, state.catalog),
        rooms=Rooms(database, announcer),
    )


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/conversations",
        route_handlers=[export_conversation, import_conversation],
        dependencies={"transfer": Provide(provide_transfer)},
        guards=[needs(Scope.CONVERSATIONS)],
        tags=["Conversations"],
    )
]
