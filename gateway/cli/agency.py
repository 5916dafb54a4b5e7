"""`gateway agency`: a whole agency in one file."""

from __future__ import annotations

import asyncio
from importlib import resources
from pathlib import Path

import click

from gateway.agency.teams.catalog import Applied, Catalog
from gateway.agency.teams.document_file import parse, render
from gateway.agency.teams.documents import AgencyDocument
from gateway.auth import ROOT, Principal, Scope
from gateway.cli.database import with_database
from gateway.errors import InvalidRequest, NotFound

OPERATOR = Principal(ROOT, frozenset(Scope), ROOT)
"""Who sits at the machine may do everything."""


@click.group()
def agency() -> None:
    """Agencies as files: apply, export."""


@agency.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--owner", default=ROOT, show_default=True, help="Whose agency it is.")
@click.option("--id", "agency_id", type=int, help="The agency to update, whatever its name.")
def apply(file: Path, owner: str, agency_id: int | None) -> None:
    """Make or update the agency that FILE describes.

    Without an id, here or in the file, it is the owner's agency of the same name. Its agents are
    known by their names; those that FILE does not name are deleted, and what they said is kept.
    """
    try:
        applied = with_database(lambda db: apply_file(Catalog(db), file, owner, agency_id))
    except NotFound as error:
        raise NotFound(f"{error.message} At least {owner} has none: see --owner.") from error
    click.echo(told(applied))


@agency.command()
@click.argument("agency_id", metavar="ID", type=int)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write a file.")
@click.option("--ids", is_flag=True, help="With ids, so that names may be edited in the file.")
def export(agency_id: int, output: Path | None, ids: bool) -> None:
    """Print the agency ID as a file for `apply`."""
    text = with_database(lambda database: export_file(Catalog(database), agency_id, ids=ids))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise click.FileError(str(output), error.strerror) from error


async def apply_file(
    catalog: Catalog, path: Path, owner: str = ROOT, agency_id: int | None = None
) -> Applied:
    """Make or update the agency that the file means: by id, else by its owner and name."""
    return await catalog.apply(await asyncio.to_thread(read_file, path), owner, agency_id)


async def export_file(catalog: Catalog, agency_id: int, *, ids: bool = False) -> str:
    return render(await catalog.export(agency_id, OPERATOR, ids=ids))


async def apply_example(catalog: Catalog) -> Applied | None:
    """The studio as agency 1, unless there has ever been an agency."""
    if not await catalog.is_blank():
        return None
    text = resources.files("gateway.cli").joinpath("example.yaml").read_text("utf-8")
    return await catalog.apply(parse(text), ROOT)


def read_file(path: Path) -> AgencyDocument:
    try:
        return parse(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidRequest("This file is not UTF-8.") from error


def told(applied: Applied) -> str:
    """`agency 1 (Studio): updated`, then a line for each change."""
    agency = applied.agency
    lines = [f"agency {agency.id} ({agency.name}): {applied.outcome}"]
    if applied.outcome == "created":
        lines += [
            agent.label + (", the manager" if agent == agency.manager else "")
            for agent in agency.agents
        ]
    return "\n  ".join([*lines, *applied.told])
