"""Retrieval over both homes of the index: Chroma's files in the data dir, and a Chroma server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.retrieval.servers import ChromaServer
from tests.retrieval.shelf import Shelf


@pytest.fixture(scope="session")
def shared_chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    """One server for the tests that do it no harm: to start one takes a second or two."""
    server = ChromaServer(tmp_path_factory.mktemp("chroma"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def chroma(tmp_path: Path) -> Iterator[ChromaServer]:
    """A server of the test's own, which it may kill."""
    server = ChromaServer(tmp_path / "server")
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["embedded", "remote"])
def chroma_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "embedded":
        return None
    server: ChromaServer = request.getfixturevalue("shared_chroma")
    return server.url


@pytest.fixture
async def shelf(start_gateway: StartGateway, chroma_url: str | None) -> Shelf:
    """Ann's, in a running gateway: once with the embedded index, once with a server."""
    gateway = await start_gateway(chroma_url=chroma_url)
    return await Shelf.of(gateway, "ann")
