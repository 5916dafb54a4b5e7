"""Connections are lent, come back, and are replaced when they break."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from gateway.errors import Unavailable
from gateway.postgres.database import Database, open_database


async def _many(database: Database, count: int) -> list[int]:
    rows = await asyncio.gather(
        *(database.fetchrow("SELECT pg_sleep(0.01), $1::int AS n", n) for n in range(count))
    )
    return [row["n"] for row in rows if row is not None]


async def test_more_statements_than_connections_wait_for_their_turn(dsn: str) -> None:
    async with open_database(dsn, pool_size=3) as database:
        assert await _many(database, 20) == list(range(20))
        assert database.lent == 0


async def test_connections_that_were_cut_while_idle_are_replaced(dsn: str) -> None:
    async with open_database(dsn, pool_size=3) as database:
        await _many(database, 3)
        operator = await asyncpg.connect(dsn)
        cut = await operator.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE application_name = 'agency-gateway' AND datname = current_database()"
        )
        await operator.close()
        assert cut == 3
        await asyncio.sleep(0.05)
        assert await _many(database, 6) == list(range(6))
        assert database.lent == 0


async def test_a_connection_that_is_cut_in_a_statement_is_an_unavailable_database(dsn: str) -> None:
    async with open_database(dsn, pool_size=1) as database:
        with pytest.raises(Unavailable):
            await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert database.lent == 0
        assert await _many(database, 2) == [0, 1]


async def test_a_connection_that_asyncpg_is_confused_about_is_ended(dsn: str) -> None:
    """As when Postgres ends it while a statement is prepared."""
    async with open_database(dsn, pool_size=1) as database:
        before = await database.fetchrow("SELECT pg_backend_pid() AS pid")
        with pytest.raises(Unavailable):
            async with database.using():
                raise asyncpg.InternalClientError("cannot switch to state 12")
        assert database.lent == 0
        after = await database.fetchrow("SELECT pg_backend_pid() AS pid")
        assert before != after


async def test_a_statement_that_fails_gives_its_connection_back(dsn: str) -> None:
    async with open_database(dsn, pool_size=1) as database:
        with pytest.raises(asyncpg.UndefinedTableError):
            await database.fetch("SELECT * FROM nowhere")
        assert database.lent == 0
        assert await _many(database, 1) == [0]


async def test_a_statement_that_is_cancelled_gives_its_connection_back(dsn: str) -> None:
    async with open_database(dsn, pool_size=1) as database:
        waiting = asyncio.create_task(database.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.wait_for(_many(database, 1), 5) == [0]
        assert database.lent == 0


async def test_a_transaction_is_one_and_is_taken_back_by_an_exception(dsn: str) -> None:
    async with open_database(dsn, pool_size=2) as database:
        await database.execute("CREATE TABLE noted (n int)")
        with pytest.raises(ValueError, match="enough"):
            await _write_and_raise(database)
        async with database.transaction():
            await database.execute("INSERT INTO noted VALUES (2)")
        assert [row["n"] for row in await database.fetch("SELECT n FROM noted")] == [2]
        assert database.lent == 0


async def _write_and_raise(database: Database) -> None:
    async with database.transaction():
        await database.execute("INSERT INTO noted VALUES (1)")
        raise ValueError("enough")


async def _lose_it_before_the_commit(database: Database) -> None:
    async with database.transaction():
        with pytest.raises(Unavailable):
            await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_commit_that_fails_gives_its_connection_back(dsn: str) -> None:
    async with open_database(dsn, pool_size=1) as database:
        with pytest.raises(Unavailable):
            await _lose_it_before_the_commit(database)
        assert database.lent == 0
        assert await _many(database, 1) == [0]


async def test_a_closed_database_is_unavailable(dsn: str) -> None:
    async with open_database(dsn) as database:
        pass
    with pytest.raises(Unavailable):
        await database.ping()


async def test_a_pool_closes_while_a_statement_is_under_way(dsn: str) -> None:
    async with asyncio.timeout(8):
        async with open_database(dsn) as database:
            running = asyncio.create_task(database.fetch("SELECT pg_sleep(0.3)"))
            while not database.lent:
                await asyncio.sleep(0.01)
        assert len(await running) == 1
