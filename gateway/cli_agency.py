"""`gateway agency`: a whole agency in one file."""

from __future__ import annotations

import asyncio
from importlib import resources
from pathlib import Path

from gateway.agency.catalog import Applied, Catalog
from gateway.agency.document_file import parse, render
from gateway.agency.documents import AgencyDocument
from gateway.auth import ROOT, Principal, Scope
from gateway.errors import InvalidRequest

OPERATOR = Principal(ROOT, frozenset(Scope), ROOT)
"""Who sits at the machine may do everything."""


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
    text = resources.files("gateway").joinpath("example.yaml").read_text("utf-8")
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
