"""Whose document is next: owners take turns, however many documents each has."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import pytest

from gateway.postgres.database import Database
from gateway.retrieval.documents import sql, sql_queue
from gateway.retrieval.documents.ingest import open_ingest
from gateway.retrieval.documents.parsing import DocumentKind
from gateway.retrieval.documents.shelves import DocumentUpload, Shelves
from gateway.retrieval.vectors.embedding import Embedders, WordLlama
from gateway.retrieval.vectors.index import Index
from tests.agency.test_plans import plan_of
from tests.retrieval.shelf import WITHIN


class Queue:
    """Owners who upload, and processes that take up what is next."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.shelves = Shelves(database, Embedders(WordLlama()), lambda: None)
        self._count: Counter[str] = Counter()
        self._held: tuple[object, object] | None = None

    async def add(self, owner: str, count: int = 1, collection: str = "books") -> None:
        known = await self.shelves.page(owner, limit=100)
        if collection not in [one.name for one in known.items]:
            await self.shelves.create(owner, collection)
        uploads = [self._upload(owner) for _ in range(count)]
        await asyncio.gather(*(self.shelves.add(owner, collection, one) for one in uploads))

    async def put(self, owner: str, content: bytes) -> None:
        if not (await self.shelves.page(owner, limit=1)).items:
            await self.shelves.create(owner, "books")
        await self.shelves.add(owner, "books", DocumentUpload(content, DocumentKind.TEXT, None, {}))

    async def states(self, owner: str, state: str) -> list[object]:
        """The owner's documents that are in this state."""
        return list(
            await self.database.fetch(
                "SELECT d.id FROM document d JOIN collection c ON c.id = d.collection_id "
                "WHERE c.owner = $1 AND d.state = $2",
                owner,
                state,
            )
        )

    def _upload(self, owner: str) -> DocumentUpload:
        self._count[owner] += 1
        return DocumentUpload(f"{owner} {self._count[owner]}".encode(), DocumentKind.TEXT, None, {})

    async def take(self) -> str:
        """Whose is taken up next. The one that was taken up before is ready then."""
        row = await self.database.fetchrow(sql_queue.CLAIM, ["wordllama"], 60.0)
        assert row is not None, "nothing waits"
        if self._held is not None:
            await self.database.fetchrow(sql_queue.FINISH, *self._held)
        self._held = row["id"], row["fence"]
        return bytes(row["content"]).decode().split()[0]

    async def take_many(self, count: int) -> list[str]:
        return [await self.take() for _ in range(count)]


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


async def test_a_flood_does_not_keep_others_waiting(queue: Queue, tmp_path: Path) -> None:
    await queue.add("ann", 30)
    await queue.add("bob")
    index = Index(None, tmp_path / "chroma")
    async with open_ingest(queue.database, Embedders(WordLlama()), index, lease=15):
        async with asyncio.timeout(WITHIN):
            while await queue.database.fetch("SELECT FROM document WHERE state <> 'ready'"):
                await asyncio.sleep(0.02)
    await index.close()
    rows = await queue.database.fetch(
        "SELECT owner FROM document d JOIN collection c ON c.id = d.collection_id "
        "ORDER BY d.updated_at, d.id"
    )
    owners = [row["owner"] for row in rows]
    assert owners.index("bob") < 6, owners


async def test_a_large_document_gives_way_to_another_owners(queue: Queue, tmp_path: Path) -> None:
    """Two of ann's have both places of the process, and bob's two words come after them."""
    line = "A baker sells bread, rolls and a cake to whoever comes in before noon. "
    for number in range(2):
        await queue.put("ann", f"{number} {line * 60_000}".encode())
    index = Index(None, tmp_path / "chroma")
    async with open_ingest(queue.database, Embedders(WordLlama()), index, lease=15):
        async with asyncio.timeout(WITHIN):
            while len(await queue.states("ann", "indexing")) < 2:
                await asyncio.sleep(0.02)
        await queue.put("bob", b"Two words")
        async with asyncio.timeout(WITHIN):
            while not await queue.states("bob", "ready"):
                await asyncio.sleep(0.02)
        assert await queue.states("ann", "ready") == []
        async with asyncio.timeout(60):
            while len(await queue.states("ann", "ready")) < 2:
                await asyncio.sleep(0.1)
    await index.close()
    rows = await queue.database.fetch(
        """SELECT d.passages, d.indexed, d.attempt, count(p.ordinal) AS kept
           FROM document d JOIN passage p ON p.document_id = d.id GROUP BY d.id"""
    )
    assert all(row["passages"] == row["indexed"] == row["kept"] for row in rows), rows
    assert [row["attempt"] for row in rows] == [1, 1, 1], "giving way costs no attempt"


async def test_owners_take_turns(queue: Queue) -> None:
    await queue.add("ann", 30)
    await queue.add("bob")
    await queue.add("cid", 3)
    order = await queue.take_many(34)
    assert "".join(owner[0] for owner in order[:10]) == "aabcacacaa"
    assert order[8:] == ["ann"] * 26


async def test_who_comes_later_waits_for_one_of_each_other(queue: Queue) -> None:
    await queue.add("ann", 20)
    await queue.add("bob", 20)
    assert Counter(await queue.take_many(20)) == {"ann": 11, "bob": 9}
    await queue.add("cid")
    assert "cid" in await queue.take_many(4)


async def test_an_owners_documents_keep_their_order(queue: Queue) -> None:
    for _ in range(3):
        await queue.add("ann")
        await queue.add("bob")
    rows = await queue.database.fetch(
        "SELECT place FROM document WHERE content LIKE 'ann%' ORDER BY id"
    )
    places = [row["place"] for row in rows]
    assert places == sorted(set(places))


async def test_collections_give_no_more_turns(queue: Queue) -> None:
    for number in range(5):
        await queue.add("ann", 4, f"books-{number}")
    await queue.add("bob", 4)
    order = await queue.take_many(24)
    assert order[:10].count("bob") == 4, order


async def test_newcomers_keep_nobody_waiting_for_ever(queue: Queue) -> None:
    await queue.add("ann", 10)
    order = []
    for number in range(18):
        await queue.add(f"newcomer-{number}")
        order.append(await queue.take())
    assert order.count("ann") >= 5, order  # one in each round, and rounds grow with newcomers


async def test_what_was_served_before_is_not_held_against_anybody(queue: Queue) -> None:
    await queue.add("ann", 40)
    await queue.take_many(40)
    await queue.add("bob", 20)
    await queue.add("ann")
    assert "ann" in await queue.take_many(4)


async def test_a_rebuilt_collection_waits_its_turn(queue: Queue) -> None:
    await queue.add("ann", 20)
    await queue.take_many(20)
    await queue.shelves.rebuild("ann", "books")
    await queue.add("bob")
    assert "bob" in await queue.take_many(4)


async def test_the_next_one_is_found_by_an_index(database: Database) -> None:
    await database.execute(FILL)
    await database.execute("ANALYZE document, collection")
    claim = await plan_of(database, sql_queue.CLAIM)
    assert "Index Scan using document_due" in claim, claim
    assert "Sort" not in claim, claim
    add = await plan_of(database, sql.ADD)
    for plan in (claim, add):
        assert not re.findall(r"Seq Scan on document\b", plan), plan
    for index in ("document_front", "document_last"):
        assert index in add, add


FILL = """
    WITH made AS (
        INSERT INTO collection (id, owner, name, embedder, index_id)
        SELECT gen_random_uuid(), 'user-' || n % 50, 'c' || n, 'wordllama', gen_random_uuid()
        FROM generate_series(1, 200) n RETURNING id
    )
    INSERT INTO document (id, collection_id, metadata, kind, content, content_hash, state, place)
    SELECT gen_random_uuid(), id, '{}', 'text/plain', 'x', sha256((id::text || n)::bytea),
           CASE WHEN n % 2 = 0 THEN 'ready' ELSE 'pending' END, n
    FROM made, generate_series(1, 100) n
"""
