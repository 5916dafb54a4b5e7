"""`gateway doctor`: what the gateway stands on, and what to do where it does not stand."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import asyncpg
import click

from gateway import embedded
from gateway.errors import GatewayError, Unavailable
from gateway.health import Check, Checks, Result
from gateway.migrate import pending
from gateway.resources import broker_check, index_check, model_check, open_model
from gateway.settings import Settings, read

DEADLINE = 15.0
"""Seconds. Chroma alone takes one to load."""


@click.command()
def doctor() -> None:
    """Check Postgres, Chroma, Redis and the model upstream. Exit code 1 if one fails."""
    settings = read()
    results = [*asyncio.run(_examine_database(settings)), *asyncio.run(_examine_others(settings))]
    width = max(len(result.name) for result in results)
    for result in results:
        _tell(result, width)
    sys.exit(0 if all(result.ok for result in results) else 1)
