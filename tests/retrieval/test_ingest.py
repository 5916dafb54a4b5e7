"""Documents are indexed in the background, once, whatever happens to the process or to others."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.postgres.database import Database
from gateway.retrieval.documents.ingest import ATTEMPTS, Ingest, open_ingest
from gateway.retrieval.documents.parsing import DocumentKind
from gateway.retrieval.documents.shelves import DocumentState, DocumentUpload, Progress, Shelves
from gateway.retrieval.vectors.embedding import Embedded, Embedders, WordLlama
from gateway.retrieval.vectors.index import Index
from tests.conftest import StartGateway
from tests.retrieval.files import pdf
from tests.retrieval.servers import ChromaServer
from tests.retrieval.shelf import Shelf
from tests.running import Gateway


async def test_files_of_every_kind_are_read(shelf: Shelf) -> None:
    await shelf.create()
    files = {
        "a.txt": b"Tortoises outlive their keepers.",
        "b.md": b"# Otters\n\nThey hold *hands* while they sleep.",
        "c.html": b"<p>Penguins <b>propose</b> with a pebble.</p><script>no()</script>",
        "d.pdf": pdf("Octopuses have three hearts."),
    }
    for name, content in files.items():
        added = await shelf.upload(name, content, metadata='{"kind": "animal"}')
        ready = await shelf.settled(added)
        assert (ready["state"], ready["source"]) == ("ready", name), ready
        assert ready["metadata"] == {"kind": "animal"}
    assert (await shelf.query("three hearts"))[0]["text"] == "Octopuses have three hearts."
    assert (await shelf.query("pebble"))[0]["text"] == "Penguins propose with a pebble."
    assert (await shelf.query("otters"))[0]["source"] == "b.md"


async def test_a_document_that_fails_says_why_and_harms_no_other(shelf: Shelf) -> None:
    await shelf.create()
    broken = [
        await shelf.upload("empty.txt", b""),
        await shelf.upload("latin.txt", "grün".encode("latin-1")),
        await shelf.upload("broken.pdf", b"%PDF-1.7 and no more"),
        await shelf.upload("blank.pdf", pdf("")),
    ]
    (well,) = await shelf.ready("The kettle whistles.")
    told = [(await shelf.settled(one)) for one in broken]
    assert [one["state"] for one in told] == ["failed"] * 4
    assert [one["error"] for one in told] == [
        "The document holds no text.",
        "The document is not UTF-8.",
        "This PDF can't be read: it is broken, or too large.",
        "The document holds no text.",
    ]
    assert [one["document_id"] for one in await shelf.query("kettle")] == [well["id"]]
    failed = (await shelf.call("GET", "/books/documents", params={"state": "failed"})).json()
    assert len(failed["data"]) == 4
    again = await shelf.upload("latin.txt", "grün".encode("latin-1"))
    assert (again["id"], again["state"]) == (broken[1]["id"], "pending")


async def test_other_kinds_of_files_are_refused_at_the_door(gateway: Gateway) -> None:
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    files = {"file": ("program.exe", b"MZ", "application/x-msdownload")}
    answer = await shelf.call("POST", "/books/documents", files=files)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_media_type"
    without = await shelf.call("POST", "/books/documents", files={"other": ("a.txt", b"x")})
    assert (without.status_code, without.json()["error"]["param"]) == (400, "file")
    wrong = await shelf.call(
        "POST", "/books/documents", files={"file": ("a.txt", b"x")}, data={"metadata": "{"}
    )
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "metadata")
    two = [("file", ("a.txt", b"one")), ("file", ("b.txt", b"two"))]
    both = await shelf.call("POST", "/books/documents", files=two)
    assert (both.status_code, both.json()["error"]["param"]) == (400, "file")
    bare = await shelf.call("POST", "/books/documents", content=pdf("Bare."))
    assert bare.status_code == 400
    assert "multipart/form-data" in bare.json()["error"]["message"]
    assert (await shelf.call("GET", "/books/documents")).json()["data"] == []


class Slow:
    """An embedder that makes nothing until it is told to, and counts what it is asked for."""

    name = "wordllama"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self._real = WordLlama()

    async def embed(self, texts: list[str], dimensions: int | None = None) -> Embedded:
        self.asked += texts
        await self.go.wait()
        return await self._real.embed(texts, dimensions)


async def stocked(database: Database, embedders: Embedders, texts: list[str]) -> Shelves:
    shelves = Shelves(database, embedders, lambda: None)
    await shelves.create("ann", "books")
    for text in texts:
        await shelves.add(
            "ann", "books", DocumentUpload(text.encode(), DocumentKind.TEXT, None, {})
        )
    return shelves


async def settled(shelves: Shelves) -> Progress:
    collection = await shelves.read("ann", "books")
    async with asyncio.timeout(60):
        while (now := await shelves.progress([collection.id])).done < now.documents:
            await asyncio.sleep(0.02)
    return now


async def test_what_a_killed_process_left_is_taken_up_and_done_once(
    database: Database, tmp_path: Path
) -> None:
    slow = Slow()
    texts = [f"Text number {n}." for n in range(5)]
    shelves = await stocked(database, Embedders(slow), texts)
    index = Index(None, tmp_path / "chroma")
    killed = Ingest(database, Embedders(slow), index, lease=1.0)
    dying = asyncio.create_task(killed.serve())
    async with asyncio.timeout(20):
        while len(slow.asked) < 2:
            await asyncio.sleep(0.01)
    dying.cancel()  # and nobody renews its leases
    async with open_ingest(database, Embedders(WordLlama()), index, lease=1.0):
        assert await settled(shelves) == Progress(5, 5, 0)
        slow.go.set()  # the dead writes on
        await asyncio.sleep(0.3)
        assert await settled(shelves) == Progress(5, 5, 0)
    rows = await database.fetch("SELECT text, count(*) FROM passage GROUP BY 1")
    assert {(row["text"], row["count"]) for row in rows} == {(text, 1) for text in texts}
    attempts = await database.fetch("SELECT attempt FROM document ORDER BY id")
    assert sorted(row["attempt"] for row in attempts) == [1, 1, 1, 2, 2]
    await killed.close()
    await index.close()


async def test_two_processes_never_index_a_document_at_the_same_time(
    database: Database, tmp_path: Path, shared_chroma: ChromaServer
) -> None:
    ones = Slow(), Slow()
    for one in ones:
        one.go.set()
    texts = [f"Text number {n}." for n in range(60)]
    shelves = await stocked(database, Embedders(ones[0]), texts)
    index = Index(shared_chroma.url, tmp_path)
    async with (
        open_ingest(database, Embedders(ones[0]), index, lease=15),
        open_ingest(database, Embedders(ones[1]), index, lease=15),
    ):
        assert await settled(shelves) == Progress(60, 60, 0)
    assert sorted(ones[0].asked + ones[1].asked) == sorted(texts)
    assert ones[0].asked
    assert ones[1].asked
    await index.close()


async def test_a_process_that_ends_leaves_its_documents_at_once(
    database: Database, tmp_path: Path
) -> None:
    slow = Slow()
    shelves = await stocked(database, Embedders(slow), ["One.", "Two."])
    index = Index(None, tmp_path / "chroma")
    async with open_ingest(database, Embedders(slow), index, lease=3600):
        async with asyncio.timeout(20):
            while len(slow.asked) < 2:
                await asyncio.sleep(0.01)
    page = await shelves.documents("ann", "books", limit=10)
    assert [one.state for one in page.items] == [DocumentState.PENDING] * 2
    async with open_ingest(database, Embedders(WordLlama()), index, lease=3600):
        assert await settled(shelves) == Progress(2, 2, 0)
    await index.close()


async def test_a_document_that_never_ends_well_is_given_up(
    database: Database, tmp_path: Path
) -> None:
    shelves = await stocked(database, Embedders(WordLlama()), ["One."])
    await database.execute("UPDATE document SET attempt = $1", ATTEMPTS)
    index = Index(None, tmp_path / "chroma")
    async with open_ingest(database, Embedders(WordLlama()), index, lease=15):
        assert await settled(shelves) == Progress(1, 0, 1)
    (document,) = (await shelves.documents("ann", "books", limit=10)).items
    assert document.error == f"Indexing the document was tried {ATTEMPTS} times and never finished."
    await index.close()


async def test_a_document_deleted_while_it_is_indexed_leaves_nothing(
    database: Database, tmp_path: Path
) -> None:
    slow = Slow()
    shelves = await stocked(database, Embedders(slow), ["One.", "Two."])
    collection = await shelves.read("ann", "books")
    index = Index(None, tmp_path / "chroma")
    async with open_ingest(database, Embedders(slow), index, lease=15) as ingest:
        async with asyncio.timeout(20):
            while len(slow.asked) < 2:
                await asyncio.sleep(0.01)
        one, two = (await shelves.documents("ann", "books", limit=10)).items
        await shelves.remove("ann", "books", one.id)
        await ingest.sweep()
        slow.go.set()
        assert await settled(shelves) == Progress(1, 1, 0)
        async with asyncio.timeout(20):
            while [near.document_id for near in await near_all(index, collection.index_id)] != [
                two.id
            ]:
                await asyncio.sleep(0.02)
        assert len(await database.fetch("SELECT FROM passage")) == 1
    await index.close()


async def near_all(index: Index, index_id: object) -> list:
    return await index.near(index_id, [1.0] + [0.0] * 255, 100, None)


async def test_a_long_document_does_not_keep_short_ones_waiting(
    start_gateway: StartGateway,
) -> None:
    shelf = await Shelf.of(await start_gateway(), "ann")
    await shelf.create()
    long = await shelf.add("\n\n".join(f"Paragraph {n}: {'word ' * 150}" for n in range(3000)))
    (short,) = await shelf.ready("A short one.")
    assert short["state"] == "ready"
    now = (await shelf.call("GET", f"/books/documents/{long['id']}")).json()
    assert now["state"] in ("pending", "indexing")
