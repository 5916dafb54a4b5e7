"""Postgres: one pool, one way to run a statement, one transaction that always gives back.

A database that is away is `Unavailable`, never a driver's exception.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Literal, TypeAlias

import asyncpg
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction

from gateway.errors import Unavailable
from gateway.postgres.connection import LIMIT, SESSION, options, prepares, reasons
from gateway.postgres.outages import FAILED, READ_ONLY, TROUBLED, TROUBLED_S, unavailable

Row: TypeAlias = asyncpg.Record
Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy
POOL_SIZE = 16
"""Connections a process. Statements are short; more connections only add contention."""
STATEMENT_TIMEOUT = 10.0
"""Seconds. asyncpg waits for ever on a frozen backend without one."""
PROBED_S = 60.0
"""Seconds after such an error in which `ping` also writes."""
RENEWED_S = 1.0
"""Seconds between two renewals of the idle connections to a server that is read-only."""
_PROBE = """
    CREATE TEMPORARY TABLE probe ON COMMIT DROP AS
    SELECT repeat('x', 1000) AS told FROM generate_series(1, 100)
"""


class Transaction(PostgresTransaction):
    """Piccolo's transaction, which keeps its connection if BEGIN, COMMIT or ROLLBACK fails."""

    engine: Database

    async def __aenter__(self) -> Transaction:
        self.then: list[Callable[[], None]] = []
        self.doubts: list[Callable[[], None]] = []
        with self.engine.unavailable():
            await super().__aenter__()
        return self

    async def get_connection(self) -> Connection:
        return await self.engine.lend()

    async def begin(self) -> None:
        try:
            await self.transaction.start()
            if not self.engine.prepares:
                await self.connection.execute(f"SET LOCAL {LIMIT}")
        except BaseException:
            await self.engine.mend(self.connection)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        """Replaces Piccolo's, which gives the connection back only if nothing fails on the way."""
        self.engine.current_transaction.reset(self.context)
        with self.engine.unavailable():
            try:
                if error is None:
                    await self.transaction.commit()
                else:
                    await self.transaction.rollback()
            except BaseException:
                if error is None:
                    _do(self.doubts)
                await self.engine.mend(self.connection)
                raise
        if _is_read_only(error):
            self.connection.terminate()
        if self.engine.pool is None or _is_read_only(error):
            await self.engine.mend(self.connection)
        else:
            self.engine.take_back(self.connection)
        if error is None:
            _do(self.then)
        return False


class Database(PostgresEngine):
    """The pool of one process. Piccolo connects in its constructor; this one does not.

    asyncpg's pool starts a task for each connection that is given back to it, which takes longer
    than a short statement does. So connections are lent from a list of our own; what has failed
    goes back to the pool, which mends or replaces it.
    """

    pool: asyncpg.Pool | None

    def __init__(self, dsn: str, size: int = POOL_SIZE) -> None:
        super().__init__(config=options(dsn))
        self.prepares = prepares(dsn)
        self._idle: list[Connection] = []
        self._closed = False
        self.lent = 0
        """How many connections are in use."""
        self._places = asyncio.Semaphore(size)
        self._probed_until = 0.0
        self._renewed_at = -RENEWED_S

    async def check_version(self) -> None:
        """Does nothing: `open_database` connects, and says so if it can't."""

    def transaction(self, allow_nested: bool = False) -> Transaction:
        return Transaction(engine=self, allow_nested=allow_nested)

    def in_doubt(self, act: Callable[[], None]) -> None:
        """Do it if the transaction's end is not confirmed: what was written may stand or not."""
        transaction = self.current_transaction.get()
        if isinstance(transaction, Transaction):
            transaction.doubts.append(act)

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[None]:
        """The transaction that this runs in, or else one of its own."""
        if self.current_transaction.get() is None:
            async with self.transaction():
                yield
        else:
            yield

    def after_commit(self, act: Callable[[], None]) -> None:
        """Do it once what was written stands: at once, unless a transaction runs."""
        transaction = self.current_transaction.get()
        if isinstance(transaction, Transaction):
            transaction.then.append(act)
        else:
            act()

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        async with self.using() as connection:
            rows: list[Row] = await connection.fetch(sql, *arguments)
            return rows

    async def fetchrow(self, sql: str, *arguments: object) -> Row | None:
        async with self.using() as connection:
            row: Row | None = await connection.fetchrow(sql, *arguments)
            return row

    async def execute(self, sql: str, *arguments: object) -> None:
        async with self.using() as connection:
            await connection.execute(sql, *arguments)

    def using(self) -> _Use:
        return _Use(self, self.current_transaction.get())

    async def lend(self) -> Connection:
        """A connection, which must come back by `take_back` or `mend`. Without a pool, as under
        Piccolo's own commands, it is a new one."""
        if self._closed:
            raise Unavailable("The database pool is closed.")
        await self._places.acquire()
        self.lent += 1
        try:
            if self.pool is None:
                return await self.get_new_connection()
            while self._idle:
                connection = self._idle.pop()
                if _lives(connection):
                    return connection
                await self.pool.release(connection)
            return await self.pool.acquire()
        except BaseException:
            self._give_place()
            raise

    def take_back(self, connection: Connection) -> None:
        self._idle.append(connection)
        self._give_place()

    async def mend(self, connection: Connection) -> None:
        """Take back a connection that something failed on."""
        self._give_place()
        if self.pool is None:
            await connection.close()
        else:
            await self.pool.release(connection)

    def _give_place(self) -> None:
        self.lent -= 1
        self._places.release()

    async def close_connection_pool(self) -> None:
        self._closed = True
        if self.pool is not None:
            # One that comes back after its list was emptied would be waited for for ever.
            with suppress(TimeoutError):
                async with asyncio.timeout(STATEMENT_TIMEOUT):
                    while self.lent:  # noqa: ASYNC110  it happens once, at the end
                        await asyncio.sleep(0.01)
            while self._idle:
                await self.pool.release(self._idle.pop())
        await super().close_connection_pool()

    async def ping(self) -> None:
        """Raises Unavailable unless it answers and can write. After a failover it may be read-only
        for a while; whether its disk is full is tried once something has failed so."""
        row = await self.fetchrow("SHOW transaction_read_only")
        if row is not None and row[0] == "on":
            self._renew()
            raise Unavailable(READ_ONLY, retry_after=TROUBLED_S)
        if time.monotonic() < self._probed_until:
            await self.execute(_PROBE)
            self._probed_until = 0.0

    def failure(self, error: BaseException) -> Unavailable:
        """Returns an error of `FAILED` as those outside are told of it."""
        if isinstance(error, TROUBLED):
            self._probed_until = time.monotonic() + PROBED_S
        if _is_read_only(error):
            self._renew()
        return unavailable(error)

    def _renew(self) -> None:
        """Close what is idle: it may be read-only for as long as it is open, though the server, or
        the one that took over its address, is not."""
        if time.monotonic() - self._renewed_at >= RENEWED_S:
            self._renewed_at = time.monotonic()
            for connection in self._idle:
                if _lives(connection):
                    connection.terminate()

    @contextmanager
    def unavailable(self) -> Iterator[None]:
        try:
            yield
        except FAILED as error:
            raise self.failure(error) from error


class _Use:
    """One statement's use of a connection: the transaction's, or one that is lent."""

    __slots__ = ("_connection", "_database", "_transaction")

    def __init__(self, database: Database, transaction: PostgresTransaction | None) -> None:
        self._database = database
        self._transaction = transaction
        self._connection: Connection | None = None

    async def __aenter__(self) -> Connection:
        if self._transaction is not None:
            return self._transaction.connection
        try:
            self._connection = await self._database.lend()
        except FAILED as error:
            raise self._database.failure(error) from error
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            if error is None:
                self._database.take_back(self._connection)
            else:
                if isinstance(error, asyncpg.InternalClientError) or _is_read_only(error):
                    self._connection.terminate()
                await self._database.mend(self._connection)
        if isinstance(error, FAILED):
            raise self._database.failure(error) from error


def _do(acts: Sequence[Callable[[], None]]) -> None:
    for act in acts:
        act()


def _is_read_only(error: BaseException | None) -> bool:
    kind = asyncpg.ReadOnlySQLTransactionError
    return error is not None and (isinstance(error, kind) or isinstance(error.__cause__, kind))


def _lives(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it broke while it was idle, and the pool has dropped it
        return False


async def _keep_session(connection: asyncpg.Connection) -> None:
    """Replaces asyncpg's reset, a round trip after every use: we change no session state."""


async def _begin_session(connection: asyncpg.Connection) -> None:
    await connection.execute(SESSION)


@asynccontextmanager
async def open_database(dsn: str, *, pool_size: int = POOL_SIZE) -> AsyncIterator[Database]:
    """Connect, and close on leaving. Raises Unavailable with the reason if that is not possible."""
    database = Database(dsn, pool_size)
    with reasons():
        await database.start_connection_pool(
            min_size=1,
            max_size=pool_size,
            command_timeout=STATEMENT_TIMEOUT,
            init=_begin_session if database.prepares else None,
            reset=_keep_session,
        )
    try:
        yield database
    finally:
        await database.close_connection_pool()
