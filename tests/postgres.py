"""A real Postgres for the tests: one server for all workers, one migrated template, clones of it.

The server is the embedded one, with durability off: a test database need not survive a power cut.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from gateway.postgres.embedded import running
from gateway.postgres.migrate import migrate

TEMPLATE = "template_gateway"
OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "autovacuum": "off",
}
_numbers = itertools.count()


@contextmanager
def template(shared: Path) -> Iterator[str]:
    """The server's DSN once the template is there; `shared` is the same for all workers."""
    with running(shared / "postgres", OPTIONS) as dsn:
        with (shared / "template.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            asyncio.run(_make_template(dsn))
        yield dsn


@asynccontextmanager
async def clone(server: str) -> AsyncIterator[str]:
    """The DSN of a fresh database, dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    administrator = await asyncpg.connect(server)
    try:
        await administrator.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield database_dsn(server, name)
        await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await administrator.close()


def database_dsn(server: str, name: str) -> str:
    return server.replace("/postgres?", f"/{name}?")


async def _make_template(server: str) -> None:
    administrator = await asyncpg.connect(server)
    try:
        known = "SELECT true FROM pg_database WHERE datname = $1"
        if await administrator.fetchval(known, TEMPLATE):
            return
        await administrator.execute("CREATE DATABASE making")
        await migrate(database_dsn(server, "making"))
        await administrator.execute(f"ALTER DATABASE making RENAME TO {TEMPLATE}")
    finally:
        await administrator.close()
