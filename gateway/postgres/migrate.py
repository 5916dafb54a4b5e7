"""Bringing a database up to date: Piccolo's migrations, one process at a time.

Most starts find nothing to do. So what is pending is found without Piccolo, which takes longer to
load than Postgres takes to start, and a process of its own runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Protocol

import asyncpg

from gateway.errors import Unavailable
from gateway.postgres.connection import connect, reasons
from gateway.process import telemetry

log = logging.getLogger(__name__)
LOCK = 0x6167_7721
"""Key of the advisory lock; any number will do that nothing else in the database uses."""
FOLDER = Path(__file__).resolve().parents[2] / "piccolo_migrations"

_ID = re.compile(r'^ID = "(.+)"$', re.MULTILINE)
_KNOWN = "SELECT to_regclass('migration') IS NOT NULL"
_PATIENCE = "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0"
_APPLIED = "SELECT name FROM migration WHERE app_name = 'gateway'"


async def migrate(dsn: str) -> list[str]:
    """Run the migrations that `dsn` has not seen; others wait until they are done. Their ids.

    Raises Unavailable, with what went wrong.
    """
    connection = await connect(dsn)
    try:
        with reasons():
            if not await pending(connection):
                return []
            # A lock of the transaction: a pooler may give its session to others afterwards.
            async with connection.transaction():
                await connection.execute(_PATIENCE)
                await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
                todo = await pending(connection)
                if todo:
                    await _run_elsewhere(dsn)
                return todo
    finally:
        await connection.close()


class Fetching(Protocol):
    def fetch(self, sql: str, /) -> Awaitable[Sequence[asyncpg.Record]]: ...


async def pending(connection: Fetching) -> list[str]:
    """Ids of the migrations that this database has not seen, oldest first."""
    (known,) = await connection.fetch(_KNOWN)
    applied = {row["name"] for row in await connection.fetch(_APPLIED)} if known[0] else set()
    found = [_ID.search(path.read_text()) for path in sorted(FOLDER.glob("m[0-9]*.py"))]
    return sorted({match[1] for match in found if match} - applied)


async def _run_elsewhere(dsn: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "gateway.postgres.migrate"),
        env={**os.environ, "DATABASE_URL": dsn, "PICCOLO_CONF": "gateway.piccolo_conf"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()
    if process.returncode != 0:
        raise Unavailable(f"The migrations stopped: {told.decode(errors='replace').strip()[-800:]}")


async def _forwards() -> None:
    from piccolo.apps.migrations.commands.forwards import run_forwards

    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        result = await run_forwards("gateway")
    if not result.success:
        raise SystemExit(f"{result.message}\n{told.getvalue()}")


if __name__ == "__main__":
    telemetry.configure(logging.WARNING)
    asyncio.run(_forwards())
