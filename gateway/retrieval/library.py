"""Searching: Chroma's nearest neighbours and Postgres's full text, merged by their ranks.

Vectors find what means the same, words what is called the same. Neither one's scores compare with
the other's, and so only places count.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

import msgspec

from gateway.errors import Conflict, InvalidRequest, Unavailable
from gateway.postgres.database import Database, Row
from gateway.retrieval.documents import sql, sql_queue
from gateway.retrieval.documents.ingest import Ingest
from gateway.retrieval.vectors.embedding import Embedders
from gateway.retrieval.vectors.index import Index, Missing, Near
from gateway.retrieval.vectors.where import Scalar, Where, to_jsonpath

if TYPE_CHECKING:
    from gateway.retrieval.vectors.embedding import Vectors

log = logging.getLogger(__name__)

MOST_QUERY = 4_000
"""Characters of a question."""
DEPTH = 40
"""How far down each half is looked at, at least."""
EVEN = 60
"""The constant of reciprocal rank fusion: the larger, the less the first places count.
Source: Cormack, Clarke and Buettcher, SIGIR 2009."""

Place: TypeAlias = tuple[UUID, int]
"""A passage: its document and its ordinal there."""


@dataclass(frozen=True, slots=True)
class Passage:
    """`position` is where it begins in the document, in characters. `score` is above 0, and 1 for
    what is first in every respect: it orders the passages of one search, and means no more."""

    text: str
    source: str | None
    document_id: UUID
    position: int
    score: float
    metadata: Mapping[str, Scalar]


class Found(list[Passage]):
    """Passages, the best first. `unknown` are the collections that are not there."""

    def __init__(self, passages: Iterable[Passage] = (), unknown: Sequence[str] = ()) -> None:
        super().__init__(passages)
        self.unknown = tuple(unknown)


@dataclass(frozen=True, slots=True)
class _Shelf:
    id: UUID
    name: str
    embedder: str
    dimension: int
    index_id: UUID


class Library:
    def __init__(
        self, database: Database, embedders: Embedders, index: Index, ingest: Ingest
    ) -> None:
        self._database = database
        self._embedders = embedders
        self._index = index
        self._ingest = ingest

    async def search(
        self,
        owner: str,
        collections: Sequence[str],
        query: str,
        limit: int,
        where: Where | None = None,
    ) -> Found:
        """Search the owner's collections of these names. Raises Unavailable while Chroma is away,
        Conflict if a collection's embedder is not here."""
        if not query.strip() or len(query) > MOST_QUERY:
            raise InvalidRequest(f"'query' holds 1 to {MOST_QUERY} characters.", param="query")
        rows = await self._database.fetch(sql.NAMED, owner, list(collections))
        unknown = sorted(set(collections) - {row["name"] for row in rows})
        if unknown:
            log.info("collections that are not there were searched", extra={"count": len(unknown)})
        # Without a dimension there is no vector yet, and no passage.
        shelves = [_Shelf(*row) for row in rows if row["dimension"] is not None]
        if not shelves:
            return Found((), unknown)
        return Found(await self._search(shelves, query, limit, where), unknown)

    async def _search(
        self, shelves: Sequence[_Shelf], query: str, limit: int, where: Where | None
    ) -> list[Passage]:
        depth, condition = max(DEPTH, 2 * limit), None if where is None else to_jsonpath(where)
        of_vectors, of_words = await asyncio.gather(
            self._by_vectors(shelves, query, depth, where),
            self._by_words(shelves, query, depth, condition),
        )
        fused = fuse([*of_vectors, of_words])
        rows = await self._database.fetch(
            sql.PASSAGES,
            [document_id for document_id, _ in fused],
            [ordinal for _, ordinal in fused],
            [shelf.id for shelf in shelves],
            condition,
        )
        return [_passage(row, fused) for row in rows[:limit]]

    async def _by_words(
        self, shelves: Sequence[_Shelf], query: str, depth: int, condition: str | None
    ) -> list[Place]:
        chosen = [shelf.id for shelf in shelves]
        asked = query.replace("\0", " ")
        rows = await self._database.fetch(sql.WORDS, chosen, asked, depth, condition)
        return [(row["document_id"], row["ordinal"]) for row in rows]

    async def _by_vectors(
        self, shelves: Sequence[_Shelf], query: str, depth: int, where: Where | None
    ) -> list[list[Place]]:
        """A ranking for each embedder: distances compare only where one made the vectors."""
        groups: defaultdict[str, list[_Shelf]] = defaultdict(list)
        for shelf in shelves:
            groups[shelf.embedder].append(shelf)
        return await asyncio.gather(
            *(self._nearest(name, group, query, depth, where) for name, group in groups.items())
        )

    async def _nearest(
        self, name: str, shelves: Sequence[_Shelf], query: str, depth: int, where: Where | None
    ) -> list[Place]:
        vectors = (await self._embedders.bound(name).embed([query])).vectors
        found = await asyncio.gather(
            *(self._near(shelf, vectors, depth, where) for shelf in shelves)
        )
        nearest = sorted((one for part in found for one in part), key=lambda one: one.distance)
        return [(one.document_id, one.ordinal) for one in nearest[:depth]]

    async def _near(
        self, shelf: _Shelf, vectors: Vectors, depth: int, where: Where | None
    ) -> list[Near]:
        if vectors.shape[1] != shelf.dimension:
            raise Conflict(
                f"{shelf.embedder} makes vectors of {vectors.shape[1]} numbers now, and the "
                f"collection has {shelf.dimension}: see `gateway collections rebuild`.",
                code="embedder_mismatch",
            )
        try:
            return await self._index.near(shelf.index_id, vectors[0], depth, where)
        except Missing:
            return await self._heal(shelf)

    async def _heal(self, shelf: _Shelf) -> list[Near]:
        """Chroma has nothing of this collection. If it should, then it has lost it."""
        row = await self._database.fetchrow(sql.HAS_PASSAGES, shelf.id)
        if row is None or not row["yes"]:
            return []
        await self._database.execute(sql_queue.BEGIN_AGAIN, shelf.id)
        self._ingest.wake()
        log.error("Chroma has lost a collection: it is indexed again")
        raise Unavailable(
            "The search index lost this collection and is being rebuilt; try again later.",
            retry_after=10,
        )


def fuse(rankings: Sequence[Sequence[Place]]) -> dict[Place, float]:
    """The places with their scores, the best first. A score of 1 is the first place in each."""
    scores: defaultdict[Place, float] = defaultdict(float)
    for ranking in rankings:
        for rank, place in enumerate(ranking):
            scores[place] += (EVEN + 1) / (EVEN + 1 + rank) / len(rankings)
    return dict(sorted(scores.items(), key=lambda one: one[1], reverse=True))


def _passage(row: Row, scores: Mapping[Place, float]) -> Passage:
    return Passage(
        row["text"],
        row["source"],
        row["document_id"],
        row["position"],
        round(scores[row["document_id"], row["ordinal"]], 6),
        msgspec.json.decode(row["metadata"], type=dict[str, Scalar]),
    )
