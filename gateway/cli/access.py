"""`gateway keys`: who may call. `gateway admin`: who may sign in to the pages at /admin/."""

from __future__ import annotations

import sys

import click

from gateway.admin import accounts
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


@click.group()
def admin() -> None:
    """Accounts of the admin pages at /admin/: create, list, password, remove."""


@admin.command("create")
@click.argument("name")
def create_account(name: str) -> None:
    """Make an account NAME, and with the first one the pages. The password is read from standard
    input, or asked for; left empty, one is made and shown this once."""
    password = _password()
    with_database(lambda database: accounts.create(database, name, password))
    click.echo(f"{name} may sign in at /admin/.", err=True)


@admin.command()
@click.argument("name")
def password(name: str) -> None:
    """Set the password of NAME anew, and sign them out."""
    fresh = _password()
    with_database(lambda database: accounts.set_password(database, name, fresh))
    click.echo(f"{name} has a new password.", err=True)


@admin.command("list")
def list_accounts() -> None:
    """Show who may sign in."""
    for name in with_database(accounts.names):
        click.echo(name)


@admin.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take the account of NAME away, and with the last one the pages."""
    with_database(lambda database: accounts.remove(database, name))
    click.echo(f"{name} may no longer sign in.", err=True)


def _password() -> str:
    """From a terminal without showing it; a pipe's first line; a new one if that is empty."""
    if sys.stdin is not None and sys.stdin.isatty():
        given: str = click.prompt(
            "Password (empty: one is made)", default="", hide_input=True, show_default=False
        )
    else:
        given = "" if sys.stdin is None else sys.stdin.readline().rstrip("\r\n")
    if given:
        return given
    made = accounts.new_password()
    click.echo(made)
    return made
