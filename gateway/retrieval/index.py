"""Chroma: the index of passages. It is slow and heavy to import, so it is loaded when needed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from gateway.errors import Unavailable


async def ping(url: str | None, data_dir: Path) -> None:
    """Raises Unavailable. Without `url` it is the index in the data dir that is asked."""
    try:
        await asyncio.to_thread(_heartbeat, url, data_dir)
    except Exception as error:
        raise Unavailable(f"Chroma does not answer ({type(error).__name__}).") from error


def _heartbeat(url: str | None, data_dir: Path) -> None:
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False)
    if url is None:
        chromadb.PersistentClient(str(data_dir / "chroma"), settings=settings).heartbeat()
        return
    parts = urlsplit(url)
    if parts.hostname is None:
        raise ValueError("CHROMA_URL is no URL")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 8000)
    chromadb.HttpClient(parts.hostname, port, ssl=secure, settings=settings).heartbeat()
