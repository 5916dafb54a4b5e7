"""`gateway doctor`: what the gateway stands on, and what to do where it does not stand."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial

import click

from gateway.errors import GatewayError
from gateway.postgres import embedded
from gateway.postgres.connection import check_mode
from gateway.postgres.database import open_database
from gateway.postgres.migrate import pending
from gateway.process import telemetry
from gateway.process.health import Check, Checks, Ping, Result
from gateway.resources import list_checks, open_index, open_model
from gateway.settings import Settings, read

DEADLINE = 20.0
"""Seconds. Chroma alone takes one or two to load."""


@click.command()
def doctor() -> None:
    """Check Postgres, the upstream, Redis and Chroma. The exit code is 1 if one fails."""
    telemetry.configure()
    settings = read()
    with ExitStack() as stack:
        try:
            dsn = stack.enter_context(embedded.database(settings))
        except GatewayError as error:
            results = asyncio.run(_examine(settings, _failing(error)))
        else:
            results = asyncio.run(_examine(settings, partial(_ping_database, dsn)))
    for result in results:
        _tell(result)
    for line in _not_used(settings):
        click.echo(f"  -       {line}")
    sys.exit(0 if all(result.ok for result in results) else 1)


async def _examine(settings: Settings, ping_database: Ping) -> list[Result]:
    async with AsyncExitStack() as stack:
        try:
            model = await stack.enter_async_context(open_model(settings))
        except GatewayError as error:
            ping_model = _failing(error)
        else:
            ping_model = model.ping
        index = await stack.enter_async_context(open_index(settings))
        checks = list_checks(settings, ping_database, ping_model, index.ping)
        if settings.chroma_url is None:
            checks.append(_embedded_chroma(settings, index.ping))
        results = await Checks(checks).run(DEADLINE)
    if settings.database_url is None and not results[0].ok:
        remedy = f"Look into {settings.data_dir.absolute() / 'postgres' / 'log'}, or set "
        results[0] = replace(results[0], remedy=f"{remedy}DATABASE_URL to a server of your own.")
    return results


def _embedded_chroma(settings: Settings, ping: Ping) -> Check:
    return Check(
        "chroma",
        ping,
        mode="embedded",
        remedy=f"Check that {settings.data_dir.absolute()} can be written, or set CHROMA_URL.",
    )


async def _ping_database(dsn: str) -> None:
    """Connect as `gateway serve` does."""
    await check_mode(dsn)
    async with open_database(dsn, pool_size=1) as database:
        if todo := await pending(database):
            click.echo(f"  note    {len(todo)} migrations are due: `gateway serve` runs them.")


def _failing(error: GatewayError) -> Ping:
    async def ping() -> None:
        raise error

    return ping


def _tell(result: Result) -> None:
    colour = "green" if result.ok else "red"
    state = click.style("ok    " if result.ok else "failed", fg=colour, bold=True)
    detail = f"{result.mode}, {result.took * 1000:.0f} ms" if result.error is None else result.error
    click.echo(f"  {state}  {result.name:<9} {detail}")
    if result.remedy is not None:
        click.echo(f"          {'':<9} {result.remedy}")


def _not_used(settings: Settings) -> list[str]:
    if settings.redis_url is None:
        return ["redis     not used: REDIS_URL is not set, so one process serves alone"]
    return []
