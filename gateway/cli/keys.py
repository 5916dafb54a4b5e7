"""`gateway keys`: who may call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from gateway import settings
from gateway.auth import ROOT, Callers, Scope
from gateway.errors import Conflict
from gateway.postgres import embedded
from gateway.postgres.database import open_database
from gateway.postgres.migrate import migrate

T = TypeVar("T")


@click.group()
def keys() -> None:
    """API keys: create, list, revoke."""


@keys.command()
@click.argument("user")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=[Scope.CHAT.value],
    show_default=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do; give it several times for several scopes.",
)
def create(user: str, scopes: tuple[str, ...]) -> None:
    """Make a key for USER and print it. It is shown this once."""
    info, token = _with_callers(lambda callers: callers.create(user, scopes))
    click.echo(f"id {info.id}, user {info.user}, scopes {', '.join(info.scopes)}", err=True)
    click.echo(token)


@keys.command("list")
def list_() -> None:
    """Show all keys, but not their secrets."""
    rows = [("ID", "USER", "CREATED", "STATE", "SCOPES")]
    for info in _with_callers(lambda callers: callers.keys()):
        state = "live" if info.revoked_at is None else "revoked"
        created = f"{info.created_at:%Y-%m-%d %H:%M}"
        rows.append((info.id, info.user, created, state, " ".join(info.scopes)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke the key with the id KEY_ID, for ever."""
    if key_id == ROOT:
        raise Conflict("The root key can't be revoked: set GATEWAY_ROOT_KEY to replace it.")
    info = _with_callers(lambda callers: callers.revoke(key_id))
    click.echo(f"The key {info.id} of {info.user} is revoked.")


def _with_callers(act: Callable[[Callers], Awaitable[T]]) -> T:
    async def run(dsn: str) -> T:
        await migrate(dsn)
        async with open_database(dsn, pool_size=1) as database:
            return await act(Callers(database))

    with embedded.database(settings.read()) as dsn:
        return asyncio.run(run(dsn))
