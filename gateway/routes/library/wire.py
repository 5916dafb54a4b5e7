"""What `/api/collections` takes and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec
from litestar.enums import RequestEncodingType
from litestar.openapi.spec import (
    Example,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from msgspec import Meta, Struct

from gateway import ids
from gateway.retrieval.documents.shelves import Collection, Document
from gateway.retrieval.library import Passage

Json = dict[str, object]


class NewCollection(Struct, kw_only=True, forbid_unknown_fields=True):
    """`embedder`: `wordllama`, or the gateway's embedding model; null is the gateway's default."""

    name: Annotated[str, Meta(examples=["handbook"])]
    embedder: str | None = None


class NewDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """`source` says where the text is from and comes back with each passage; `metadata` has texts,
    numbers, true and false, by which a search may be filtered."""

    text: Annotated[str, Meta(min_length=1)]
    source: str | None = None
    metadata: Json = {}


class Query(Struct, kw_only=True, forbid_unknown_fields=True):
    """`where` filters by metadata: `{"lang": "en", "year": {"$gte": 2020}}`, with `$eq $ne $gt $gte
    $lt $lte $in $nin`, `$and` and `$or`."""

    query: str
    limit: Annotated[int, Meta(ge=1, le=100)] = 5
    where: Json | None = None


class CollectionAnswer(Struct, kw_only=True):
    """`dimension` is null until the first document is indexed."""

    name: str
    embedder: str
    dimension: int | None
    documents: int
    created_at: datetime


class CollectionList(Struct, kw_only=True):
    data: list[CollectionAnswer]
    next_cursor: str | None


class DocumentAnswer(Struct, kw_only=True):
    """`state` is pending, indexing, ready or failed; `indexed` of its `passages` can be found, and
    `error` says why it failed. Before it was read, both are 0. Its channel tells each change."""

    id: str
    stream_channel_id: str
    source: str | None
    media_type: str
    state: str
    passages: int
    indexed: int
    error: str | None
    metadata: Mapping[str, object]
    created_at: datetime
    updated_at: datetime


class DocumentList(Struct, kw_only=True):
    data: list[DocumentAnswer]
    next_cursor: str | None


class PassageAnswer(Struct, kw_only=True):
    """`position` is where it begins in the document's text, in characters."""

    text: str
    source: str | None
    document_id: str
    position: int
    score: float
    metadata: Mapping[str, object]


class PassageList(Struct, kw_only=True):
    data: list[PassageAnswer]


def collection_answer(found: Collection) -> CollectionAnswer:
    return CollectionAnswer(
        name=found.name,
        embedder=found.embedder,
        dimension=found.dimension,
        documents=found.documents,
        created_at=found.created_at,
    )


def document_answer(found: Document) -> DocumentAnswer:
    shown = ids.show(ids.DOCUMENT, found.id)
    return DocumentAnswer(
        id=shown,
        stream_channel_id=shown,
        source=found.source,
        media_type=found.kind,
        state=found.state,
        passages=found.passages,
        indexed=found.indexed,
        error=found.error,
        metadata=found.metadata,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def passage_answer(found: Passage) -> PassageAnswer:
    return PassageAnswer(
        text=found.text,
        source=found.source,
        document_id=ids.show(ids.DOCUMENT, found.document_id),
        position=found.position,
        score=found.score,
        metadata=found.metadata,
    )


new_document = msgspec.json.Decoder(NewDocument)
some_json = msgspec.json.Decoder(Json)


@dataclass
class DocumentOperation(Operation):
    """Documents the two forms of a document, which Litestar can't see since the handler reads
    them."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        source = Schema(type=OpenAPIType.STRING, description="Where it is from; told with passages")
        metadata = Schema(type=OpenAPIType.OBJECT, description="Texts, numbers, true and false")
        as_json = Schema(
            title=NewDocument.__name__,
            type=OpenAPIType.OBJECT,
            properties={"text": text, "source": source, "metadata": metadata},
            required=["text"],
            additional_properties=False,
        )
        file = Schema(
            type=OpenAPIType.STRING,
            format=OpenAPIFormat.BINARY,
            description="Text, Markdown, HTML or PDF, with its name",
        )
        told = Schema(type=OpenAPIType.STRING, description="`metadata` as JSON")
        as_form = Schema(
            title="DocumentUpload",
            type=OpenAPIType.OBJECT,
            properties={"file": file, "source": source, "metadata": told},
            required=["file"],
        )
        self.request_body = RequestBody(
            {
                # First what generators of clients take if they take but one; as the second of two
                # a form is no type of openapi-generator's, and what it writes does not compile.
                RequestEncodingType.MULTI_PART.value: _body(as_form, _FILE),
                RequestEncodingType.JSON.value: _body(as_json, _TEXT),
            },
            required=True,
        )


_TEXT = {
    "text": "The kettle whistles when the water boils.",
    "source": "handbook, page 7",
    "metadata": {"lang": "en", "year": 2026},
}
_FILE = {"file": "handbook.pdf", "source": "handbook", "metadata": '{"lang": "en"}'}


def _body(schema: Schema, example: Mapping[str, object]) -> OpenAPIMediaType:
    return OpenAPIMediaType(schema, examples={"document": Example(value=example)})
