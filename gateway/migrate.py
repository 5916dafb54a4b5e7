"""Bringing a database up to date: Piccolo's migrations, one process at a time."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os

import asyncpg

log = logging.getLogger(__name__)
LOCK = 0x6167_7721
"""Key of the advisory lock; any number will do that nothing else in the database uses."""


async def migrate(dsn: str) -> None:
    """Run the migrations that `dsn` has not seen; others wait until they are done."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await _forwards(dsn)
    finally:
        await connection.close()


async def _forwards(dsn: str) -> None:
    # Piccolo finds its engine and its apps by the name of a module, which reads the environment.
    os.environ["DATABASE_URL"] = dsn
    os.environ["PICCOLO_CONF"] = "gateway.piccolo_conf"
    from piccolo.apps.migrations.commands.forwards import run_forwards

    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        result = await run_forwards("gateway")
    log.info("migrated", extra={"result": result.message})
    if not result.success:
        raise RuntimeError(f"The migrations stopped: {result.message}\n{told.getvalue()}")


def migrate_sync(dsn: str) -> None:
    asyncio.run(migrate(dsn))
