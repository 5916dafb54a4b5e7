"""Collections and their documents, each caller's own. What is another's is not there."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from gateway import ids
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.names import line
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import Page, id_in, page
from gateway.retrieval.documents import sql
from gateway.retrieval.documents.parsing import DocumentKind
from gateway.retrieval.vectors.embedding import Embedders
from gateway.retrieval.vectors.where import Scalar

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MOST_SOURCE = 1_000
"""Characters of a document's source."""


class DocumentState(StrEnum):
    PENDING = "pending"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Collection:
    """`dimension` is None until the first vector; `index_id` is its name in Chroma."""

    id: UUID
    owner: str
    name: str
    embedder: str
    dimension: int | None
    index_id: UUID
    documents: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DocumentUpload:
    """A document as it is given. `source` says where it is from: a file's name, an address."""

    content: bytes
    kind: DocumentKind
    source: str | None
    metadata: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Document:
    """`passages` is how many it was cut into, 0 before that; `indexed` how many can be found."""

    id: UUID
    source: str | None
    metadata: Mapping[str, Scalar]
    kind: DocumentKind
    state: DocumentState
    error: str | None
    passages: int
    indexed: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts the documents of some collections together."""

    documents: int
    ready: int
    failed: int

    @property
    def done(self) -> int:
        return self.ready + self.failed


class Shelves:
    """`wake` is called when there is something to index or to sweep."""

    def __init__(self, database: Database, embedders: Embedders, wake: Callable[[], None]) -> None:
        self._database = database
        self._embedders = embedders
        self._wake = wake
        self._adding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(self, owner: str, name: str, embedder: str | None = None) -> Collection:
        """Raises Conflict if there is one of that name already."""
        if not NAME.fullmatch(name):
            raise InvalidRequest(
                "A name holds 1 to 128 characters of A-Z a-z 0-9 . _ - and begins with a letter or "
                "digit.",
                param="name",
            )
        chosen = self._chosen(embedder)
        row = await self._database.fetchrow(sql.CREATE, ids.new(), owner, name, chosen, ids.new())
        if row is None:
            raise Conflict(f"There is a collection {name!r} already.", code="collection_exists")
        return _collection(row)

    async def page(self, owner: str, *, limit: int, cursor: str | None = None) -> Page[Collection]:
        """By name."""
        rows = await self._database.fetch(sql.PAGE, owner, cursor or "", limit + 1)
        return page(rows, limit, _collection, lambda row: str(row["name"]))

    async def read(self, owner: str, name: str) -> Collection:
        row = await self._database.fetchrow(sql.READ, owner, name)
        if row is None:
            raise _no_collection(name)
        return _collection(row)

    async def delete(self, owner: str, name: str) -> None:
        if await self._database.fetchrow(sql.DELETE, owner, name) is None:
            raise _no_collection(name)
        self._wake()

    async def add(self, owner: str, name: str, upload: DocumentUpload) -> tuple[Document, bool]:
        """The document, and whether there is something to do for it: the same content is stored
        once, whatever it is called. Raises Conflict if the collection's embedder is not here."""
        collection = await self.read(owner, name)
        self._embedders.bound(collection.embedder)
        if upload.source is not None and len(upload.source) > MOST_SOURCE:
            raise InvalidRequest(
                f"'source' holds at most {MOST_SOURCE} characters.", param="source"
            )
        if upload.source is not None:
            line(upload.source, "source")
        digest = await asyncio.to_thread(_digest, upload)
        row = await self._put(owner, collection.id, upload, digest)
        if row is not None:
            self._wake()
            return document_of(row), True
        row = await self._database.fetchrow(sql.KNOWN, collection.id, digest)
        if row is None:  # it, or its collection, was deleted between the two
            return await self.add(owner, name, upload)
        return document_of(row), False

    async def _put(
        self, owner: str, collection_id: UUID, upload: DocumentUpload, digest: bytes
    ) -> Row | None:
        """Adds one document of an owner at a time: two at once would be given the same place in the
        queue. Nor can one owner have all connections."""
        async with self._adding.setdefault(owner, asyncio.Lock()):
            return await self._database.fetchrow(
                sql.ADD,
                ids.new(),
                collection_id,
                upload.source,
                msgspec.json.encode(upload.metadata).decode(),
                upload.kind,
                upload.content,
                digest,
            )

    async def documents(
        self,
        owner: str,
        name: str,
        *,
        limit: int,
        cursor: str | None = None,
        state: DocumentState | None = None,
    ) -> Page[Document]:
        """The oldest first."""
        after = id_in(cursor, ids.DOCUMENT)
        collection = await self.read(owner, name)
        rows = await self._database.fetch(sql.DOCUMENTS, collection.id, after, limit + 1, state)
        return page(rows, limit, document_of, lambda row: ids.show(ids.DOCUMENT, row["id"]))

    async def document(self, owner: str, name: str, document_id: UUID) -> Document:
        collection = await self.read(owner, name)
        row = await self._database.fetchrow(sql.DOCUMENT, collection.id, document_id)
        if row is None:
            raise _no_document(document_id)
        return document_of(row)

    async def remove(self, owner: str, name: str, document_id: UUID) -> None:
        collection = await self.read(owner, name)
        if await self._database.fetchrow(sql.REMOVE, collection.id, document_id) is None:
            raise _no_document(document_id)
        self._wake()

    async def rebuild(
        self, owner: str | None, name: str | None, embedder: str | None = None
    ) -> Sequence[UUID]:
        """Begin the index of these collections anew, from the documents as they were given.
        None is everyone's, or each one; with an embedder they are bound to that from now on. Raises
        Conflict if the embedder of one is not here: nobody would ever index it."""
        chosen = None if embedder is None else self._chosen(embedder)
        async with self._database.transaction():
            rows = await self._database.fetch(sql.REBUILD, owner, name, chosen)
            for row in rows:
                self._refuse_homeless(row)
        if name is not None and not rows:
            raise _no_collection(name)
        self._wake()
        return [row["id"] for row in rows]

    def _refuse_homeless(self, row: Row) -> None:
        if self._embedders.find(row["embedder"]) is None:
            raise Conflict(
                f"The collection {row['name']!r} was made with the embedder {row['embedder']!r}, "
                "which is not here: set GATEWAY_EMBEDDING_MODEL, or choose another by --embedder.",
                code="embedder_mismatch",
            )

    async def progress(
        self, collections: Sequence[UUID], documents: Sequence[UUID] | None = None
    ) -> Progress:
        """Returns the progress of these documents; None stands for all."""
        row = await self._database.fetchrow(sql.PROGRESS, collections, documents)
        if row is None:
            raise LookupError("a count returned nothing")
        return Progress(row["documents"], row["ready"], row["failed"])

    async def failures(
        self, collections: Sequence[UUID], limit: int, documents: Sequence[UUID] | None = None
    ) -> list[str]:
        """Returns a line for each document that failed, with the reason."""
        rows = await self._database.fetch(sql.FAILED, collections, limit, documents)
        return [f"{row['source'] or 'a document'}: {row['error']}" for row in rows]

    def _chosen(self, embedder: str | None) -> str:
        if embedder is None:
            return self._embedders.default
        if self._embedders.find(embedder) is None:
            known = ", ".join(self._embedders.names)
            raise InvalidRequest(
                f"There is no embedder {embedder[:64]!r}; there is {known}.",
                param="embedder",
                code="embedder_not_found",
            )
        return embedder


def _digest(upload: DocumentUpload) -> bytes:
    return hashlib.sha256(upload.kind.encode() + b"\0" + upload.content).digest()


def _no_collection(name: str) -> NotFound:
    return NotFound(f"There is no collection {name[:128]!r}.", code="collection_not_found")


def _no_document(document_id: UUID) -> NotFound:
    shown = ids.show(ids.DOCUMENT, document_id)
    return NotFound(f"There is no document {shown!r}.", code="document_not_found")


def _collection(row: Row) -> Collection:
    return Collection(
        row["id"],
        row["owner"],
        row["name"],
        row["embedder"],
        row["dimension"],
        row["index_id"],
        row["documents"],
        row["created_at"],
    )


def document_of(row: Row) -> Document:
    return Document(
        row["id"],
        row["source"],
        msgspec.json.decode(row["metadata"], type=dict[str, Scalar]),
        DocumentKind(row["kind"]),
        DocumentState(row["state"]),
        row["error"],
        row["passages"],
        row["indexed"],
        row["created_at"],
        row["updated_at"],
    )
