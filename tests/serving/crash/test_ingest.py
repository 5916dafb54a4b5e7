"""Documents are uploaded while processes are killed: each becomes ready, and each of its passages
is there once and is found."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway.postgres.database import Database
from gateway.retrieval.documents.chunking import chunk
from tests.retrieval.servers import ChromaServer
from tests.serving.crash.books import Books
from tests.serving.crash.callers import Caller
from tests.serving.crash.processes import Process
from tests.serving.crash.proxy import FaultProxy, Mode

SEEDS = (70,)
KILLS = 4
BATCH = 3
"""Documents between two kills, so that each kill finds some under way."""
DOCUMENTS = BATCH * KILLS
PASSAGES = 60
"""Of a document, about: more than are written at once."""
SLOW_S = 0.15
"""How long each piece takes on its way to the index."""
_UNDER_WAY = """
    SELECT id, fence FROM document WHERE state = 'indexing' AND lease_until > now()
"""
_DOCUMENTS = "SELECT id, source, state, attempt, error, passages, indexed FROM document"
_PASSAGES = """
    SELECT d.source, p.ordinal, p.position, p.text FROM passage p JOIN document d
    ON d.id = p.document_id ORDER BY d.source, p.ordinal
"""
_INDEX = "SELECT index_id FROM collection"


def text_of(number: int) -> str:
    """All different, and as long as so many passages."""
    lines = [f"Wheel {number * 1000 + line} of bicycle{number} turns." for line in range(2000)]
    return " ".join(lines)[: PASSAGES * 900]


async def upload(books: Books, number: int, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0, 0.4))
    await books.add(text_of(number), source=f"{number:02}.txt")


async def under_way(database: Database) -> None:
    """Wait until somebody indexes."""
    async with asyncio.timeout(20):
        while not await database.fetch(_UNDER_WAY):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", SEEDS)
async def test_documents_outlive_the_process_that_indexes_them(
    seed: int,
    reading_pair: tuple[Process, Process],
    chroma: ChromaServer,
    chroma_proxy: FaultProxy,
    database: Database,
) -> None:
    chance = random.Random(seed)
    books = Books(Caller(reading_pair, seed), "wheels")
    await books.open()
    async with chroma_proxy.fault(Mode.DELAY, seconds=SLOW_S):
        for first in range(0, DOCUMENTS, BATCH):
            victim = chance.choice(reading_pair)
            uploads = [
                asyncio.create_task(upload(books, number, chance))
                for number in range(first, first + BATCH)
            ]
            await under_way(database)
            await asyncio.sleep(chance.uniform(0, 0.5))
            await victim.kill()
            await victim.restart()
            await asyncio.gather(*uploads)
    await books.ready(reading_pair[0], DOCUMENTS)

    rows = await database.fetch(_DOCUMENTS)
    assert len(rows) == DOCUMENTS
    assert {row["state"] for row in rows} == {"ready"}
    assert all(row["passages"] == row["indexed"] for row in rows), rows
    assert max(row["attempt"] for row in rows) > 1, "no kill hit a document"
    wanted = [
        (f"{number:02}.txt", ordinal, one.position, one.text)
        for number in range(DOCUMENTS)
        for ordinal, one in enumerate(chunk(text_of(number)))
    ]
    assert [tuple(row) for row in await database.fetch(_PASSAGES)] == wanted
    (index,) = await database.fetch(_INDEX)
    (collection,) = chroma.collections()
    assert index["index_id"].hex in collection
    assert chroma.count(collection) == len(wanted)
    for number in range(DOCUMENTS):
        found = await books.query(chance.choice(reading_pair), f"bicycle{number}")
        assert {one["source"] for one in found} == {f"{number:02}.txt"}
