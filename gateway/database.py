"""Postgres: one pool, one way to run a statement, one transaction that always gives back.

The hot path hands SQL to `fetch` and `fetchrow`; Piccolo's queries run on the same pool through
`run`. A database that is away is `Unavailable`, never a driver's exception.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, Protocol, TypeAlias

import asyncpg
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction
from piccolo.querystring import QueryString

from gateway.errors import Unavailable

Row: TypeAlias = asyncpg.Record
POOL_SIZE = 16
"""Connections a process. Statements are short; more connections only add contention."""
STATEMENT_TIMEOUT = 10.0
"""Seconds. asyncpg waits for ever on a frozen backend without one."""

SESSION = {
    "application_name": "agency-gateway",
    "timezone": "UTC",
    # Rows are found by ids: a plan made for one long conversation serves no other better, and to
    # make it takes longer than to run it. Nor are pages on the other side of a disk's arm.
    "plan_cache_mode": "force_generic_plan",
    "random_page_cost": "1.1",
}


class Query(Protocol):
    """What Piccolo's queries have in common: the SQL they stand for."""

    @property
    def querystrings(self) -> Sequence[QueryString]: ...


_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        raise Unavailable("The database can't be reached; try again.") from error


class Transaction(PostgresTransaction):
    """Piccolo's transaction, which keeps its connection if BEGIN, COMMIT or ROLLBACK fails."""

    async def __aenter__(self) -> Transaction:
        with _unavailable():
            try:
                await super().__aenter__()
            except BaseException:
                await self._give_back()
                raise
        return self

    async def __aexit__(self, *exception: object) -> Literal[False]:
        with _unavailable():
            try:
                await super().__aexit__(*exception)
            except BaseException:
                await self._give_back()
                if self.engine.current_transaction.get() is self:
                    self.engine.current_transaction.set(None)
                raise
        return False

    async def _give_back(self) -> None:
        connection = getattr(self, "connection", None)
        if connection is not None and self.engine.pool is not None:
            await self.engine.pool.release(connection)


class Database(PostgresEngine):
    """The pool of one process. Piccolo connects in its constructor; this one does not."""

    pool: asyncpg.Pool | None

    async def check_version(self) -> None:
        """Nothing: `open_database` connects, and says so if it can't."""

    def transaction(self, allow_nested: bool = False) -> Transaction:
        return Transaction(engine=self, allow_nested=allow_nested)

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        with _unavailable():
            async with self._connection() as connection:
                rows: list[Row] = await connection.fetch(sql, *arguments)
                return rows

    async def fetchrow(self, sql: str, *arguments: object) -> Row | None:
        with _unavailable():
            async with self._connection() as connection:
                row: Row | None = await connection.fetchrow(sql, *arguments)
                return row

    async def execute(self, sql: str, *arguments: object) -> None:
        with _unavailable():
            async with self._connection() as connection:
                await connection.execute(sql, *arguments)

    async def run(self, query: Query) -> list[Row]:
        """Run one of Piccolo's queries: `await database.run(Agency.select().where(…))`."""
        sql, arguments = _compiled(query)
        return await self.fetch(sql, *arguments)

    async def ping(self) -> None:
        await self.fetchrow("SELECT 1")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        transaction = self.current_transaction.get()
        if transaction is not None:
            yield transaction.connection
            return
        if self.pool is None:
            raise Unavailable("The database pool is closed.")
        connection = await self.pool.acquire()
        try:
            yield connection
        finally:
            await self.pool.release(connection)


def _compiled(query: Query) -> tuple[str, Sequence[object]]:
    strings = query.querystrings
    if len(strings) != 1:
        raise ValueError(f"{len(strings)} statements where one was expected")
    sql, arguments = strings[0].compile_string(engine_type="postgres")
    return sql, arguments


async def _keep_session(connection: asyncpg.Connection) -> None:
    """In place of asyncpg's reset, a round trip after every use: we change no session state."""


@asynccontextmanager
async def open_database(dsn: str, *, pool_size: int = POOL_SIZE) -> AsyncIterator[Database]:
    """Connect, and close on leaving. Raises Unavailable if Postgres does not answer in 10 s."""
    database = Database(config={"dsn": dsn})
    with _unavailable():
        await database.start_connection_pool(
            min_size=1,
            max_size=pool_size,
            timeout=STATEMENT_TIMEOUT,
            command_timeout=STATEMENT_TIMEOUT,
            reset=_keep_session,
            server_settings=SESSION,
        )
    try:
        yield database
    finally:
        await database.close_connection_pool()
