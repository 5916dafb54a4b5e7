"""The database of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway import settings
from gateway.postgres import embedded
from gateway.postgres.database import Database, open_database
from gateway.postgres.migrate import migrate

T = TypeVar("T")


def with_database(act: Callable[[Database], Awaitable[T]], connections: int = 1) -> T:
    """Run `act` on the database of the settings, which is brought up to date before."""

    async def run(dsn: str) -> T:
        await migrate(dsn)
        async with open_database(dsn, pool_size=connections) as database:
            return await act(database)

    with embedded.database(settings.read()) as dsn:
        return asyncio.run(run(dsn))
