"""`gateway keys`: who may call."""

from __future__ import annotations

import click

from gateway.auth import ROOT, Callers, Scope
from gateway.cli.database import with_database
from gateway.errors import Conflict


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
    info, token = with_database(lambda database: Callers(database).create(user, scopes))
    click.echo(f"id {info.id}, user {info.user}, scopes {', '.join(info.scopes)}", err=True)
    click.echo(token)


@keys.command("list")
def list_() -> None:
    """Show all keys, but not their secrets."""
    rows = [("ID", "USER", "CREATED", "STATE", "SCOPES")]
    for info in with_database(lambda database: Callers(database).keys()):
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
    info = with_database(lambda database: Callers(database).revoke(key_id))
    click.echo(f"The key {info.id} of {info.user} is revoked.")
