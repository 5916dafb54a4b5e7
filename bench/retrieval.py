"""What retrieval costs: `python -m bench.retrieval`, some two minutes.

Embedded Postgres, embedded Chroma, wordllama, one process: what `make serve` runs. The texts are
made of 20,000 words, as frequent as words are, so full text has as much to do as in earnest. What
others do on the machine is told first: these figures fall with it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from bench.streams import show
from gateway.postgres import embedded
from gateway.postgres.migrate import migrate
from gateway.resources import Resources, open_resources
from gateway.retrieval.documents.parsing import DocumentKind
from gateway.retrieval.documents.shelves import DocumentUpload
from gateway.settings import Settings

PASSAGES = 50_000
FIRST = 10_000
"""Passages that the rate is measured with."""
LENGTH = 100_000
"""Characters of a document: some 110 passages."""
WANTED = 1_000
"""Passages a second."""
QUERIES = 300
SMALL = 20_000
"""Characters of each of the 100 documents that are loaded while other requests go on."""

RANDOM = random.Random(2026)
SYLLABLES = [c + v + e for c in "bdfgklmnprst" for v in "aeiou" for e in ("", "n", "r", "s")]
WORDS = list({"".join(RANDOM.choices(SYLLABLES, k=RANDOM.randint(1, 4))) for _ in range(24_000)})
WEIGHTS = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(WORDS))))


def text(length: int) -> str:
    sentences: list[str] = []
    size = 0
    while size < length:
        words = RANDOM.choices(WORDS, cum_weights=WEIGHTS, k=RANDOM.randint(6, 24))
        sentences.append(" ".join(words).capitalize() + RANDOM.choice([". "] * 5 + [".\n\n"]))
        size += len(sentences[-1])
    return "".join(sentences)[:length]


async def load(resources: Resources, count: int, length: int) -> float:
    """Passages a second, from the first upload until all are ready."""
    texts = [text(length) for _ in range(count)]
    before = await passages(resources)
    began = time.perf_counter()
    for one in texts:
        upload = DocumentUpload(
            one.encode(), DocumentKind.TEXT, None, {"part": RANDOM.randint(1, 10)}
        )
        await resources.shelves.add("bench", "books", upload)
    chosen = [(await resources.shelves.read("bench", "books")).id]
    while (now := await resources.shelves.progress(chosen)).done < now.documents:  # noqa: ASYNC110  users poll, too
        await asyncio.sleep(0.02)
    took = time.perf_counter() - began
    assert now.failed == 0
    return (await passages(resources) - before) / took


async def passages(resources: Resources) -> int:
    row = await resources.database.fetchrow("SELECT count(*) AS count FROM passage")
    assert row is not None
    return int(row["count"])


async def search(resources: Resources, where: str) -> None:
    rows = await resources.database.fetch(
        "SELECT text FROM passage ORDER BY random() LIMIT $1", QUERIES
    )
    took = []
    for row in rows:
        words = row["text"].replace(".", "").split()
        question = " ".join(RANDOM.sample(words, min(7, len(words))))
        began = time.perf_counter()
        found = await resources.library.search("bench", ["books"], question, 5)
        took.append(time.perf_counter() - began)
        assert len(found) == 5
    took.sort()
    show(f"query {where}, p50", statistics.median(took) * 1000, "ms", 15)
    show(f"query {where}, p99", took[int(len(took) * 0.99)] * 1000, "ms", 60)


@asynccontextmanager
async def watched() -> AsyncIterator[list[float]]:
    """How late the event loop was, each time, in seconds."""
    late: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - before - 0.001)

    watching = asyncio.create_task(watch())
    yield late
    watching.cancel()


async def beside(resources: Resources) -> None:
    """Other requests, while 100 documents are loaded."""
    took: list[float] = []

    async def others() -> None:
        while True:
            began = time.perf_counter()
            await resources.callers.keys()
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0.005)

    async with watched() as late:
        going_on = asyncio.create_task(others())
        await load(resources, 100, SMALL)
        going_on.cancel()
    late.sort()
    show("event loop late while 100 documents are loaded, longest", late[-1] * 1000, "ms", 50)
    show("the same, p99", late[int(len(late) * 0.99)] * 1000, "ms", 50)
    show("another request meanwhile, p50", statistics.median(took) * 1000, "ms", 15)


async def measure(dsn: str, directory: Path) -> None:
    settings = Settings(data_dir=directory / "data", database_url=dsn)
    async with open_resources(settings, dsn) as resources:
        await resources.shelves.create("bench", "books")
        await load(resources, 1, LENGTH)  # libraries and the model are loaded
        before, spent = await passages(resources), time.process_time()
        rate = await load(resources, FIRST * 900 // LENGTH, LENGTH)
        spent = (time.process_time() - spent) / (await passages(resources) - before)
        mark = "ok  " if rate >= WANTED else "LOW "
        print(f"{mark} passages ingested: {rate:.0f} /s (target {WANTED})")
        print(f"     of the processor for each, Postgres's part aside: {spent * 1000:.2f} ms")
        await beside(resources)
        while (missing := PASSAGES - await passages(resources)) > 0:
            count = min(60, 1 + missing * 900 // LENGTH)
            rate = await load(resources, count, LENGTH)
        print(f"     passages ingested, the last of {PASSAGES}: {rate:.0f} /s")
        await search(resources, f"in {PASSAGES} passages before Postgres knows its words")
        await resources.database.execute("ANALYZE passage")
        await search(resources, f"in {PASSAGES} passages")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        print(f"     load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        with embedded.running(directory / "postgres") as dsn:
            asyncio.run(migrate(dsn))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(measure(dsn, directory))


if __name__ == "__main__":
    main()
