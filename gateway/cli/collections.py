"""`gateway collections` and `gateway ingest`: the library from the command line.

Where a gateway serves with the embedded index, that one does the work and this waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from uuid import UUID

import click

from gateway import settings
from gateway.auth import ROOT
from gateway.cli.database import with_database
from gateway.errors import Conflict, InvalidRequest
from gateway.postgres.database import Database
from gateway.process import telemetry
from gateway.resources import open_index
from gateway.retrieval.documents.ingest import open_ingest
from gateway.retrieval.documents.parsing import kind_of
from gateway.retrieval.documents.shelves import DocumentUpload, Shelves
from gateway.retrieval.vectors.embedding import open_embedders

LOOK_S = 0.1
"""Between looks at how far it is."""
POOL = 4
MOST_TOLD = 20
LARGEST = 20 * 1024 * 1024
"""Bytes of a file; the same as over HTTP."""

OWNER = click.option("--owner", default=ROOT, show_default=True, help="Whose collection it is.")


@click.group()
def collections() -> None:
    """Collections of documents: rebuild."""


@collections.command()
@click.argument("name", required=False)
@click.option("--owner", help="Whose collections; everyone's without it.")
@click.option("--embedder", help="Bind them to this embedder from now on.")
def rebuild(name: str | None, owner: str | None, embedder: str | None) -> None:
    """Make the index of the collection NAME, or of all, anew from the documents in Postgres."""

    async def act(shelves: Shelves) -> int:
        chosen = await shelves.rebuild(owner, name, embedder)
        click.echo(f"{_counted(len(chosen), 'collection')} to rebuild")
        return await _wait(shelves, chosen)

    _end(_with_shelves(act))


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--collection", default="documents", show_default=True, help="Made if missing.")
@OWNER
def ingest(paths: tuple[Path, ...], collection: str, owner: str) -> None:
    """Load the files PATH, and all files in the folders PATH, into a collection.

    Text, Markdown, HTML and PDF are read; other and hidden files in a folder are passed over. What
    is there already is not loaded again.
    """
    files = list(dict.fromkeys(file for path in paths for file in _files(path)))
    if not files:
        raise InvalidRequest("There is no text, Markdown, HTML or PDF to load.")

    async def act(shelves: Shelves) -> int:
        try:
            await shelves.create(owner, collection)
        except Conflict:
            click.echo(f"into {owner}'s collection {collection}, which is there", err=True)
        refused: list[str] = []
        with click.progressbar(files, label="loading ") as bar:
            loaded = [await _load(shelves, owner, collection, file, refused) for file in bar]
        found = await shelves.read(owner, collection)
        return await _wait(shelves, [found.id], [one for one in loaded if one], refused)

    _end(_with_shelves(act))


async def _load(
    shelves: Shelves, owner: str, collection: str, file: Path, refused: list[str]
) -> UUID | None:
    """The document, or None: then `refused` is told why."""
    try:
        upload = await asyncio.to_thread(_upload, file)
        document, _ = await shelves.add(owner, collection, upload)
    except OSError as error:
        refused.append(f"{file}: {error.strerror}")
    except InvalidRequest as error:
        refused.append(f"{file}: {error.message}")
    else:
        return document.id
    return None


def _files(path: Path) -> Iterable[Path]:
    """The file itself, or those below the folder that can be read, sorted."""
    if path.is_file():
        kind_of(path.name)
        return [path]
    return sorted(one for one in path.rglob("*") if _readable(one.relative_to(path), one))


def _readable(inside: Path, path: Path) -> bool:
    """Returns True if a folder's file is loaded. The folder's own place does not count."""
    try:
        kind_of(path.name)
    except InvalidRequest:
        return False
    return path.is_file() and not any(part.startswith(".") for part in inside.parts)


def _upload(path: Path) -> DocumentUpload:
    if path.stat().st_size > LARGEST:
        raise InvalidRequest(f"It is larger than {LARGEST // 1024 // 1024} MiB.")
    return DocumentUpload(path.read_bytes(), kind_of(path.name), str(path), {})


async def _wait(
    shelves: Shelves,
    chosen: Sequence[UUID],
    documents: Sequence[UUID] | None = None,
    refused: Sequence[str] = (),
) -> int:
    """Show how far these collections are, or these documents in them, until all are done. How many
    failed, with those that were `refused` before."""
    now = await shelves.progress(chosen, documents)
    with click.progressbar(length=now.documents, label="indexing") as bar:
        shown = 0
        while True:
            now = await shelves.progress(chosen, documents)
            bar.length = now.documents
            bar.update(now.done - shown)
            shown = now.done
            if now.done >= now.documents:
                break
            await asyncio.sleep(LOOK_S)
    failed = now.failed + len(refused)
    click.echo(f"{_counted(now.ready, 'document')} ready, {failed} failed")
    for line in (*refused, *await shelves.failures(chosen, MOST_TOLD, documents))[:MOST_TOLD]:
        click.echo(f"  {line}", err=True)
    return failed


def _end(failed: int) -> None:
    if failed:
        raise InvalidRequest(f"{_counted(failed, 'document')} could not be indexed.")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _with_shelves(act: Callable[[Shelves], Awaitable[int]]) -> int:
    telemetry.configure(logging.WARNING)  # what goes well, the bar shows
    configured = settings.read()

    async def run(database: Database) -> int:
        async with (
            open_embedders(configured) as embedders,
            open_index(configured) as index,
            open_ingest(database, embedders, index, configured.lease) as ingesting,
        ):
            return await act(Shelves(database, embedders, ingesting.wake))

    return with_database(run, POOL)
