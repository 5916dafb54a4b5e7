"""`/api/collections`: documents in, passages out. Each caller has collections of their own."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import State, UploadFile
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from gateway import ids
from gateway.auth import Principal, Scope
from gateway.errors import InvalidRequest
from gateway.retrieval.documents import shelves as stock
from gateway.retrieval.documents.parsing import DocumentKind, kind_of
from gateway.retrieval.documents.shelves import DocumentUpload, Shelves
from gateway.retrieval.library import Library
from gateway.retrieval.vectors import where as filters
from gateway.routes.http.errors import field_of
from gateway.routes.http.guards import needs
from gateway.routes.library.wire import (
    CollectionAnswer,
    CollectionList,
    DocumentAnswer,
    DocumentList,
    DocumentOperation,
    NewCollection,
    PassageList,
    Query,
    collection_answer,
    document_answer,
    new_document,
    passage_answer,
    some_json,
)
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD, refusal

TheShelves = NamedDependency[Shelves]
ThePrincipal = NamedDependency[Principal]
Calling = Request[Principal, str, State]
ByState = Annotated[
    stock.DocumentState | None, QueryParameter(name="state", description="Those in this state.")
]

MISSING = BAD | {404: refusal("`collection_not_found`, `document_not_found`: or not yours.")}
TAKEN = BAD | {409: refusal("`collection_exists`.")}
BOUND = MISSING | {409: refusal("`embedder_mismatch`: it was made with an embedder not here.")}
AWAY = {503: refusal("The search index is away; `retry-after` says when to try again.")}


def _document(description: str) -> ResponseSpec:
    return ResponseSpec(DocumentAnswer, description=description, generate_examples=False)


ADDED = {
    200: _document("This content is there already"),
    202: _document("It is indexed in the background"),
}


@post("/", summary="Create a collection", responses=TAKEN)
async def create_collection(
    data: JSONBody[NewCollection], shelves: TheShelves, principal: ThePrincipal
) -> CollectionAnswer:
    """A collection is bound to its embedder for as long as it lives."""
    made = await shelves.create(principal.user, data.name, data.embedder)
    return collection_answer(made)


@get("/", summary="List your collections", responses=BAD)
async def list_collections(
    shelves: TheShelves, principal: ThePrincipal, limit: Limit = 20, cursor: Cursor = None
) -> CollectionList:
    page = await shelves.page(principal.user, limit=limit, cursor=cursor)
    return CollectionList(
        data=[collection_answer(one) for one in page.items], next_cursor=page.next_cursor
    )


@get("/{name:str}", summary="Read a collection", responses=MISSING)
async def read_collection(
    name: FromPath[str], shelves: TheShelves, principal: ThePrincipal
) -> CollectionAnswer:
    return collection_answer(await shelves.read(principal.user, name))


@delete("/{name:str}", summary="Delete a collection and its documents", responses=MISSING)
async def delete_collection(
    name: FromPath[str], shelves: TheShelves, principal: ThePrincipal
) -> None:
    await shelves.delete(principal.user, name)


@post(
    "/{name:str}/documents",
    status_code=202,
    summary="Add a document",
    responses=BOUND | ADDED,
    operation_class=DocumentOperation,
)
async def add_document(
    request: Calling, name: FromPath[str], shelves: TheShelves
) -> Response[DocumentAnswer]:
    """JSON `{text, source?, metadata?}`, or `multipart/form-data` with a `file` of text, Markdown,
    HTML or PDF, and `source` and `metadata` (as JSON) if wanted. Poll the document for progress,
    or follow its channel. The same content is stored once in a collection; what has failed is tried
    again."""
    upload = await _upload(request)
    document, new = await shelves.add(request.user.user, name, upload)
    return Response(document_answer(document), status_code=202 if new else 200)


@get("/{name:str}/documents", summary="List the documents of a collection", responses=MISSING)
async def list_documents(
    name: FromPath[str],
    shelves: TheShelves,
    principal: ThePrincipal,
    limit: Limit = 20,
    cursor: Cursor = None,
    in_state: ByState = None,
) -> DocumentList:
    page = await shelves.documents(principal.user, name, limit=limit, cursor=cursor, state=in_state)
    return DocumentList(
        data=[document_answer(one) for one in page.items], next_cursor=page.next_cursor
    )


@get(
    "/{name:str}/documents/{document_id:str}",
    summary="Read the progress of a document",
    responses=MISSING,
)
async def read_document(
    name: FromPath[str], document_id: FromPath[str], shelves: TheShelves, principal: ThePrincipal
) -> DocumentAnswer:
    wanted = ids.read(ids.DOCUMENT, document_id)
    return document_answer(await shelves.document(principal.user, name, wanted))


@delete("/{name:str}/documents/{document_id:str}", summary="Delete a document", responses=MISSING)
async def delete_document(
    name: FromPath[str], document_id: FromPath[str], shelves: TheShelves, principal: ThePrincipal
) -> None:
    await shelves.remove(principal.user, name, ids.read(ids.DOCUMENT, document_id))


@post(
    "/{name:str}/query",
    status_code=200,
    summary="Find the passages that answer a question",
    responses=BOUND | AWAY,
)
async def query_collection(
    name: FromPath[str],
    data: JSONBody[Query],
    library: NamedDependency[Library],
    shelves: TheShelves,
    principal: ThePrincipal,
) -> PassageList:
    """Returns the best first. `score` orders the passages of one answer and means no more."""
    condition = filters.read(data.where)
    await shelves.read(principal.user, name)
    found = await library.search(principal.user, [name], data.query, data.limit, condition)
    return PassageList(data=[passage_answer(one) for one in found])


async def _upload(request: Calling) -> DocumentUpload:
    if request.content_type[0] == "multipart/form-data":
        return await _of_form(request)
    return _of_json(await request.body())


def _of_json(body: bytes) -> DocumentUpload:
    try:
        given = new_document.decode(body)
    except msgspec.ValidationError as error:
        told, _, path = str(error).partition(" - at `$.")
        raise InvalidRequest(told, param=field_of(told, path.strip("`"))) from None
    except msgspec.DecodeError:
        raise InvalidRequest(
            "The request is not JSON. Send a file as multipart/form-data."
        ) from None
    if not given.text.strip():
        raise InvalidRequest("The document holds no text.", param="text")
    told_of = filters.metadata(given.metadata)
    return DocumentUpload(given.text.encode(), DocumentKind.TEXT, given.source, told_of)


async def _of_form(request: Calling) -> DocumentUpload:
    form = await request.form()
    file, source, metadata = (form.get(name) for name in ("file", "source", "metadata"))
    if len(form.getall("file", [])) > 1:
        raise InvalidRequest("Send one file a request: a form has one part 'file'.", param="file")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("The form needs a part 'file' with a file name.", param="file")
    if not isinstance(source, str | None) or not isinstance(metadata, str | None):
        raise InvalidRequest("'source' must be text, and 'metadata' JSON.")
    try:
        told_of = filters.metadata(some_json.decode(metadata or "{}"))
    except msgspec.DecodeError:
        raise InvalidRequest("'metadata' must be a JSON object.", param="metadata") from None
    kind = kind_of(file.filename, file.content_type)
    return DocumentUpload(await file.read(), kind, source or file.filename or None, told_of)


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/collections",
        route_handlers=[
            create_collection,
            list_collections,
            read_collection,
            delete_collection,
            add_document,
            list_documents,
            read_document,
            delete_document,
            query_collection,
        ],
        guards=[needs(Scope.RETRIEVAL)],
        tags=["retrieval"],
    )
]
