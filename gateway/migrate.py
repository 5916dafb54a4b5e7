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
from pathlib import Path

import asyncpg

from gateway import telemetry
from gateway.errors import Unavailable

log = logging.getLogger(__name__)
LOCK = 0x6167_7721
"""Key of the advisory lock; any number will do that nothing else in the database uses."""
FOLDER = Path(__file__).resolve().parent.parent / "piccolo_migrations"
CONNECT_S = 10

_ID = re.compile(r'^ID = "(.+)"$', re.MULTILINE)
_APPLIED = "SELECT name FROM migration WHERE app_name = 'gateway'"


async def migrate(dsn: str) -> list[str]:
    """Run the migrations that `dsn` has not seen; others wait until they are done. Their ids.

    Raises Unavailable, with what went wrong.
    """
    connection = await connect(dsn)
    try:
        if not await pending(connection):
            return []
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        todo = await pending(connection)
        if todo:
            await _run_elsewhere(dsn)
        return todo
    finally:
        await connection.close()


async def pending(connection: asyncpg.Connection) -> list[str]:
    """Ids of the migrations that this database has not seen, oldest first."""
    try:
        applied = {row["name"] for row in await connection.fetch(_APPLIED)}
    except asyncpg.UndefinedTableError:
        applied = set()
    found = [_ID.search(path.read_text()) for path in sorted(FOLDER.glob("m[0-9]*.py"))]
    return sorted({match[1] for match in found if match} - applied)


async def connect(dsn: str) -> asyncpg.Connection:
    """Raises Unavailable."""
    try:
        return await asyncpg.connect(dsn, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError) as error:
        raise Unavailable(f"Postgres can't be reached: {error}") from error


async def _run_elsewhere(dsn: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.migrate"),
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
