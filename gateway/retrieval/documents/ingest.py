"""Documents become passages, in the background: read, cut, embedded, indexed, stored.

A document is taken up by one process at a time, which holds a lease on it and renews it. Whoever
finds a lease that has run out begins that document again: ids and texts come out the same, so what
was done before is written over. What is deleted is swept from Chroma here, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import msgspec

from gateway.errors import GatewayError, InvalidRequest, Unavailable, UpstreamError
from gateway.postgres.database import Database, Row
from gateway.process.periods import regularly
from gateway.process.telemetry import causes
from gateway.retrieval.documents import parsing, sql, sql_queue
from gateway.retrieval.documents.chunking import TextChunk, chunk
from gateway.retrieval.documents.parsing import DocumentKind
from gateway.retrieval.vectors.embedding import Embedders
from gateway.retrieval.vectors.index import MOST, Index
from gateway.retrieval.vectors.where import Scalar

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Documents that a process works on: while one waits for Postgres the other is embedded."""
BEGUN = 6
"""Documents that a process has begun, those included whose place another owner's has. Each holds
its text, of at most `parsing.MOST_TEXT` characters."""
SHARE = 20 * MOST
"""Passages after which a document gives its place up, if another owner's waits."""
ATTEMPTS = 6
PAUSE_S = 2.0
"""Doubles with each attempt."""
AWAY_S = 3.0
"""How long to leave alone what is away."""
IDLE_S = 1.0
"""Between looks for what other processes, or commands, have left to do."""
RENEWALS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A document that is ours, as long as its row has this fence."""

    id: UUID
    fence: int
    attempt: int
    kind: DocumentKind
    content: bytes
    metadata: dict[str, Scalar]
    collection_id: UUID
    index_id: UUID
    embedder: str


class Lost(Exception):
    """The document is not ours any more: deleted, begun anew, or taken over."""


@asynccontextmanager
async def open_ingest(
    database: Database,
    embedders: Embedders,
    found: Index,
    lease: float,
    wrote: Callable[[], None] = lambda: None,
) -> AsyncIterator[Ingest]:
    ingest = Ingest(database, embedders, found, lease, wrote)
    keepers = [
        asyncio.create_task(ingest.serve(), name="index documents"),
        asyncio.create_task(regularly(ingest.renew, lease / RENEWALS), name="renew documents"),
        asyncio.create_task(ingest.sweep_for_ever(), name="sweep the index"),
    ]
    try:
        yield ingest
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.wait(keepers)
        await ingest.close()


class Ingest:
    """`lease` in seconds. `wrote` is called when a document may be another than before."""

    def __init__(
        self,
        database: Database,
        embedders: Embedders,
        found: Index,
        lease: float,
        wrote: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._embedders = embedders
        self._index = found
        self._lease = lease
        self._wrote = wrote
        self._begun = asyncio.Semaphore(BEGUN)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._running: dict[asyncio.Task[None], Job] = {}
        self._standing_by: set[Job] = set()
        """Those of them that have given their place up for a while."""
        self._to_do = asyncio.Event()
        self._to_sweep = asyncio.Event()

    def wake(self) -> None:
        self._to_do.set()
        self._to_sweep.set()
        self._wrote()

    async def serve(self) -> None:
        """Take up one document after the other, for ever."""
        while True:
            await self._begun.acquire()
            await self._places.acquire()
            self._to_do.clear()
            job = await self._claimed()
            if job is None:
                self._places.release()
                self._begun.release()
                await _rest(self._to_do)
                continue
            task = asyncio.create_task(self._attend(job), name="index a document")
            self._running[task] = job
            task.add_done_callback(self._left)

    async def renew(self) -> None:
        if jobs := list(self._running.values()):
            held = [job.id for job in jobs], [job.fence for job in jobs]
            await self._database.execute(sql_queue.RENEW, *held, self._lease)

    async def close(self) -> None:
        """Leave what is unfinished to others, at once."""
        jobs = dict(self._running)
        for task in jobs:
            task.cancel()
        if jobs:
            await asyncio.wait(jobs)
        for job in jobs.values():
            await self._put_back(job, 0.0, uncounted=1)

    def _left(self, task: asyncio.Task[None]) -> None:
        job = self._running.pop(task)
        if job in self._standing_by:  # it was cancelled without a place
            self._standing_by.discard(job)
        else:
            self._places.release()
        self._begun.release()

    async def _claimed(self) -> Job | None:
        if self._index.taken():
            return None
        try:
            row = await self._database.fetchrow(sql_queue.CLAIM, self._embedders.names, self._lease)
        except GatewayError as error:
            log.warning("documents can't be looked for: %s", error.message)
            return None
        if row is None:
            return None
        self._wrote()
        return _job(row)

    # ---- one document ---------------------------------------------------------------------------

    async def _attend(self, job: Job) -> None:
        try:
            await self._index_or_say_why(job)
        except Lost:
            await self._clear(job)
        except Unavailable as error:  # of ours: that does not count as an attempt
            log.warning("a document waits: %s", error.message, extra={"document": job.id.hex})
            await self._put_back(job, AWAY_S, uncounted=1)
        except Exception as error:
            log.warning(
                "indexing a document failed",
                extra={"document": job.id.hex, "attempt": job.attempt, "causes": causes(error)},
            )
            await self._put_back(job, PAUSE_S * 2**job.attempt, uncounted=0)

    async def _index_or_say_why(self, job: Job) -> None:
        try:
            if job.attempt > ATTEMPTS:
                raise InvalidRequest(
                    f"Indexing the document was tried {ATTEMPTS} times and never finished."
                )
            await self._index_document(job)
        except Unavailable:
            raise
        except UpstreamError as error:
            if error.transient and job.attempt < ATTEMPTS:
                raise
            await self._fail(job, error)
        except GatewayError as error:
            await self._fail(job, error)

    async def _index_document(self, job: Job) -> None:
        text = await parsing.read(job.kind, job.content)
        chunks = await asyncio.to_thread(chunk, text)
        if not chunks:
            raise InvalidRequest("The document holds no text.")
        for first in range(0, len(chunks), MOST):
            if first and first % SHARE == 0:
                await self._take_turns(job)
            await self._put(job, len(chunks), first, chunks[first : first + MOST])
        await self._mine(sql_queue.FINISH, job)

    async def _take_turns(self, job: Job) -> None:
        """Let another owner's document go on, or begin, before this one does."""
        if await self._database.fetchrow(sql_queue.OTHERS, job.collection_id) is None:
            return
        self._standing_by.add(job)
        self._places.release()
        await self._places.acquire()
        self._standing_by.discard(job)

    async def _put(self, job: Job, total: int, first: int, chunks: Sequence[TextChunk]) -> None:
        """Chroma first: a vector without its passage is passed over, the reverse is not found."""
        embedder = self._embedders.bound(job.embedder)
        vectors = (await embedder.embed([one.text for one in chunks])).vectors
        if first == 0:
            await self._begin(job, total, vectors.shape[1])
        await self._index.put(job.index_id, job.id, first, vectors, job.metadata)
        await self._mine(
            sql_queue.ADVANCE,
            job,
            self._lease,
            list(range(first, first + len(chunks))),
            [one.position for one in chunks],
            [one.text for one in chunks],
        )

    async def _begin(self, job: Job, total: int, dimension: int) -> None:
        row = await self._mine(sql_queue.BEGIN, job, total, dimension)
        if row["dimension"] != dimension:
            raise InvalidRequest(
                f"{job.embedder} makes vectors of {dimension} numbers now, and the collection has "
                f"{row['dimension']}. `gateway collections rebuild` begins it anew."
            )

    async def _mine(self, statement: str, job: Job, *arguments: object) -> Row:
        row = await self._database.fetchrow(statement, job.id, job.fence, *arguments)
        if row is None:
            raise Lost
        self._wrote()
        return row

    async def _fail(self, job: Job, error: GatewayError) -> None:
        await self._mine(sql_queue.FAIL, job, error.message)
        log.info("a document can't be indexed", extra={"document": job.id.hex})
        await self._index.remove(job.index_id, job.id)

    async def _put_back(self, job: Job, seconds: float, *, uncounted: int) -> None:
        try:
            await self._database.execute(sql_queue.PUT_BACK, job.id, job.fence, seconds, uncounted)
        except GatewayError as error:  # its lease runs out by itself
            log.warning("a document can't be put back: %s", error.message)
        self._wrote()

    async def _clear(self, job: Job) -> None:
        """Removes what we put into Chroma after somebody had it swept."""
        try:
            fate = await self._database.fetchrow(sql_queue.FATE, job.id, job.index_id)
            if fate is not None and not fate["indexed"]:
                await self._index.drop(job.index_id)
            elif fate is not None and not fate["wanted"]:
                await self._index.remove(job.index_id, job.id)
        except GatewayError as error:
            log.warning("vectors of a deleted document stay: %s", error.message)

    # ---- what is deleted ------------------------------------------------------------------------

    async def sweep_for_ever(self) -> None:
        while True:
            self._to_sweep.clear()
            try:
                await self.sweep()
            except GatewayError as error:
                log.warning("what is deleted can't be swept: %s", error.message)
                await asyncio.sleep(AWAY_S)
            except Exception as error:
                log.warning("sweeping failed", extra={"causes": causes(error)})
                await asyncio.sleep(AWAY_S)
            await _rest(self._to_sweep)

    async def sweep(self) -> None:
        """Sweep what was deleted. Any number of processes may do so at once."""
        if self._index.taken():
            return
        while rows := await self._database.fetch(sql.DELETED_DOCUMENTS):
            for row in rows:
                await self._index.remove(row["index_id"], row["id"])
            await self._forget([row["id"] for row in rows])
        for row in await self._database.fetch(sql.DELETED_INDEXES):
            for stale in row["stale_indexes"]:
                await self._index.drop(stale)
                await self._database.execute(sql.FORGET_INDEX, row["id"], stale)
            if row["deleted"]:
                await self._index.drop(row["index_id"])
                await self._forget_collection(row["id"])

    async def _forget_collection(self, collection_id: UUID) -> None:
        while rows := await self._database.fetch(sql.ITS_DOCUMENTS, collection_id, 20):
            await self._forget([row["id"] for row in rows])
        await self._database.execute(sql.FORGET_COLLECTION, collection_id)

    async def _forget(self, documents: Sequence[UUID]) -> None:
        await self._database.execute(sql.FORGET_PASSAGES, documents)
        await self._database.execute(sql.FORGET_DOCUMENTS, documents)


async def _rest(until: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(IDLE_S):
            await until.wait()
    except TimeoutError:
        return


def _job(row: Row) -> Job:
    return Job(
        row["id"],
        row["fence"],
        row["attempt"],
        DocumentKind(row["kind"]),
        row["content"],
        msgspec.json.decode(row["metadata"], type=dict[str, Scalar]),
        row["collection_id"],
        row["index_id"],
        row["embedder"],
    )
