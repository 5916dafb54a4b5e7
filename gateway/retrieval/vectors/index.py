"""Chroma: which passages are near to a vector. It holds ids, vectors and metadata, never a text.

Its calls block, and embedded they hold the interpreter: they run in threads, few vectors at a time.
It takes half a second to load, so that waits until it is needed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast
from urllib.parse import urlsplit
from uuid import UUID

from gateway.errors import GatewayError, Unavailable
from gateway.retrieval.vectors.claim import lock, used
from gateway.retrieval.vectors.loading import LOADING
from gateway.retrieval.vectors.where import Scalar, Where, to_chroma

if TYPE_CHECKING:
    import chromadb.config
    import httpx
    from chromadb import Collection
    from chromadb.api import ClientAPI
    from chromadb.api.client import Client
    from chromadb.api.collection_configuration import CreateHNSWConfiguration

    from gateway.retrieval.vectors.embedding import Vectors

T = TypeVar("T")

MOST = 48
"""Vectors in one call. Embedded, the event loop stands still meanwhile: 10 to 30 ms."""
SHAPE: Final[CreateHNSWConfiguration] = {
    # Vectors are of length one: the product is the cosine, and the quickest.
    "space": "ip",
    # Before it writes a batch, Chroma reads again what it has not yet saved; the default is 1,000
    # vectors, and a third slower.
    "sync_threshold": 200,
}
THREADS = 4
READ_S = 5.0
WRITE_S = 30.0
PING_S = 2.0

DOCUMENT = "gateway:document"
"""The key of a vector's metadata that says whose it is. Callers' keys have no colon."""


class Missing(Exception):
    """Chroma has no such index: nothing was put there yet, or Chroma has lost it."""


@dataclass(frozen=True, slots=True)
class Near:
    """`distance` is 1 less the cosine of the angle: 0 is the same direction."""

    document_id: UUID
    ordinal: int
    distance: float


class Index:
    """The server at `url`, else the files in `directory`, which one process alone may use; with
    neither it is away for good.

    Every method raises Unavailable while Chroma is away, and works again when it is back.
    """

    def __init__(self, url: str | None, directory: Path | None) -> None:
        self._url = url
        self._directory = directory
        self._threads = ThreadPoolExecutor(THREADS, "chroma")
        self._opening = threading.Lock()
        self._client: Client | None = None
        self._lock: TextIOWrapper | None = None
        self._handles: dict[UUID, Collection] = {}

    async def put(
        self,
        index_id: UUID,
        document_id: UUID,
        first: int,
        vectors: Vectors,
        metadata: Mapping[str, Scalar],
    ) -> None:
        """Put the vectors of a document's passages, whose ordinals begin with `first`; at most
        `MOST`. What is there under the same ordinals is replaced."""
        keys = [_key(document_id, first + row) for row in range(len(vectors))]
        told = {**metadata, DOCUMENT: document_id.hex}

        def upsert() -> None:
            handle = self._handle(index_id, make=True)
            handle.upsert(ids=keys, embeddings=vectors, metadatas=[told] * len(keys))

        try:
            await self._call(upsert, WRITE_S)
        except Missing:  # it was there a moment ago, and its handle is forgotten now
            await self._call(upsert, WRITE_S)

    async def near(
        self, index_id: UUID, vector: Sequence[float], limit: int, where: Where | None
    ) -> list[Near]:
        """The nearest first. Raises Missing."""
        condition = cast("chromadb.Where | None", where and to_chroma(where))

        def query() -> list[Near]:
            found = self._handle(index_id).query(
                query_embeddings=[vector],
                n_results=limit,
                where=condition,
                include=["distances"],
            )
            distances = found["distances"] or [[]]
            return [_near(*pair) for pair in zip(found["ids"][0], distances[0], strict=True)]

        return await self._call(query, READ_S)

    async def remove(self, index_id: UUID, document_id: UUID) -> None:
        """Forget a document's vectors."""

        def delete() -> None:
            self._handle(index_id).delete(where={DOCUMENT: document_id.hex})

        with suppress(Missing):
            await self._call(delete, WRITE_S)

    async def drop(self, index_id: UUID) -> None:
        """Forget a whole index."""
        with suppress(Missing):
            await self._call(lambda: self._open().delete_collection(_name(index_id)), WRITE_S)
        self._handles.pop(index_id, None)

    async def ping(self) -> None:
        """Raises Unavailable. Files that another process uses are well: it would say so."""
        if not self.taken():
            await self._call(self._heartbeat, WRITE_S)

    def claim(self) -> None:
        """Keep the files for this process from now on, if no other has them. Who serves does so:
        else a command that loads a folder would take them, and searches would fail meanwhile."""
        if self._url is None and self._directory is not None:
            with self._opening, suppress(Unavailable, OSError):
                self._hold(self._directory)

    def taken(self) -> bool:
        """True if another process has the files: the work is left to it."""
        if self._url is not None:
            return False
        if self._directory is None:
            return True
        if not self._opening.acquire(blocking=False):
            return False
        try:
            return self._lock is None and used(self._directory)
        finally:
            self._opening.release()

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    # ---- in a thread ----------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        if self._url is None:
            self._open().heartbeat()
        else:
            _knock(self._url)

    def _handle(self, index_id: UUID, *, make: bool = False) -> Collection:
        if (known := self._handles.get(index_id)) is not None:
            return known
        client, name = self._open(), _name(index_id)
        if make:
            found = client.get_or_create_collection(
                name,
                embedding_function=None,
                configuration={"hnsw": SHAPE},
            )
        else:
            found = client.get_collection(name, embedding_function=None)
        self._handles[index_id] = found
        return found

    def _open(self) -> Client:
        with self._opening:
            if self._client is None:
                self._client = self._embedded() if self._url is None else _remote(self._url)
            return self._client

    def _embedded(self) -> Client:
        if self._directory is None:
            raise Unavailable("Several workers have a search index only if CHROMA_URL is set.")
        with LOADING:
            import chromadb

        self._hold(self._directory)
        try:
            return _whole(chromadb.PersistentClient(str(self._directory), settings=_settings()))
        except BaseException:
            self._release()
            raise

    def _hold(self, directory: Path) -> None:
        if self._lock is None:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            if directory.stat().st_mode & 0o077:  # made by an earlier version
                directory.chmod(0o700)
            self._lock = lock(directory)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _close(self) -> None:
        self._threads.shutdown(wait=self._url is None, cancel_futures=True)
        with self._opening:
            if self._client is not None:
                for session in _sessions(self._client):
                    session.close()
                self._client.close()
                self._client = None
            self._release()

    # ---- around it ------------------------------------------------------------------------------

    async def _call(self, act: Callable[[], T], deadline: float) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline):
                return await loop.run_in_executor(self._threads, act)
        except GatewayError:
            raise
        except Exception as error:
            if _is_missing(error):
                self._handles.clear()
                raise Missing from error
            # A server that has come back may be another one.
            self._handles.clear()
            raise Unavailable(
                f"The search index can't be reached ({type(error).__name__}); try again.",
                retry_after=2,
            ) from error


def _is_missing(error: Exception) -> bool:
    if "chromadb.errors" not in sys.modules:  # nor was it Chroma that failed
        return False
    from chromadb.errors import NotFoundError

    return isinstance(error, NotFoundError)


def _key(document_id: UUID, ordinal: int) -> str:
    return f"{document_id.hex}-{ordinal}"


def _near(key: str, distance: float) -> Near:
    document, _, ordinal = key.partition("-")
    return Near(UUID(hex=document), int(ordinal), distance)


def _name(index_id: UUID) -> str:
    return f"gateway-{index_id.hex}"


# ---- the two places -----------------------------------------------------------------------------


def _settings() -> chromadb.config.Settings:
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)


def _remote(url: str) -> Client:
    with LOADING:
        import chromadb
        import httpx

    host, port, secure = _parts(url)
    _knock(url)  # the client would wait for a silent server for ever
    client = _whole(chromadb.HttpClient(host, port, ssl=secure, settings=_settings()))
    for session in _sessions(client):
        session.timeout = httpx.Timeout(WRITE_S)
    return client


def _sessions(client: Client) -> list[httpx.Client]:
    """The client's connections, which it neither limits in time nor closes, nor lets us."""
    from chromadb.api.fastapi import FastAPI

    servers = (getattr(one, "_server", None) for one in (client, client._admin_client))  # noqa: SLF001
    return [server._session for server in servers if isinstance(server, FastAPI)]  # noqa: SLF001


def _whole(client: ClientAPI) -> Client:
    """Both clients are of this type, which can be closed."""
    from chromadb.api.client import Client

    if not isinstance(client, Client):
        raise TypeError(f"chromadb gave a {type(client).__name__}")
    return client


def _knock(url: str) -> None:
    import httpx

    host, port, secure = _parts(url)
    base = f"{'https' if secure else 'http'}://{host}:{port}"
    httpx.get(f"{base}/api/v2/heartbeat", timeout=PING_S).raise_for_status()


def _parts(url: str) -> tuple[str, int, bool]:
    parts = urlsplit(url)
    if parts.hostname is None:
        raise Unavailable("CHROMA_URL is not a URL.")
    secure = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host, parts.port or (443 if secure else 8000), secure
