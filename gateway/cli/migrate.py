"""`gateway migrate`."""

from __future__ import annotations

import asyncio

import click

from gateway import settings
from gateway.postgres import embedded
from gateway.postgres.migrate import migrate as run


@click.command()
def migrate() -> None:
    """Bring the database up to date. Several may try at once: one does, the others wait."""
    with embedded.database(settings.read()) as dsn:
        ran = asyncio.run(run(dsn))
    click.echo("\n".join(f"ran {name}" for name in ran) or "The database is up to date.")
