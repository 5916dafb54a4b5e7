"""The `gateway` command. Subcommands are loaded when used: most are heavier than `serve`."""

from __future__ import annotations

import importlib
import os
import sys

import click

from gateway import __version__
from gateway.errors import GatewayError

COMMANDS = {
    "serve": "gateway.cli.serve:serve",
    "migrate": "gateway.cli.migrate:migrate",
    "doctor": "gateway.cli.doctor:doctor",
    "keys": "gateway.cli.access:keys",
    "admin": "gateway.cli.access:admin",
    "agency": "gateway.cli.agency:agency",
    "collections": "gateway.cli.collections:collections",
    "ingest": "gateway.cli.collections:ingest",
}


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        return command if isinstance(command, click.Command) else None


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="gateway")
def gateway() -> None:
    """An OpenAI-compatible gateway to teams of LLM agents.

    Settings are environment variables; the README lists them. Without any, everything that is
    needed runs embedded, in ./.gateway.
    """


PLACE = "The gateway keeps its files in GATEWAY_DATA_DIR, by default ./.gateway."
STANDARD_ERROR = 2
LOOPBACK = "127.0.0.1,localhost,::1"


def main() -> None:
    _fill_standard_streams()
    _spare_loopback()
    try:
        gateway()
    except GatewayError as error:
        click.echo(f"gateway: {error.message}", err=True)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"gateway: {error.filename} can't be used: {error.strerror}. {PLACE}", err=True)
        sys.exit(1)


def _fill_standard_streams() -> None:
    """Open what a supervisor closed: a socket that got the number of a standard stream would be one
    to every program that is started from here."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        os.set_inheritable(number, True)
    os.close(number)


def _spare_loopback() -> None:
    """No proxy stands between this machine and itself, though some libraries would use the one that
    HTTP_PROXY names unless NO_PROXY says otherwise."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    spared = ",".join(filter(None, (named, LOOPBACK)))
    os.environ.update(no_proxy=spared, NO_PROXY=spared)
