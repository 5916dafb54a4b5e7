"""The migrations make what the tables say, once, whoever runs them."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from piccolo.columns import Array, Column
from piccolo.table import Table

from gateway.errors import Unavailable
from gateway.piccolo_app import APP_CONFIG
from gateway.postgres.migrate import migrate, pending
from tests.postgres import database_dsn

COLUMNS = """
    SELECT column_name, is_nullable = 'YES' AS nullable,
        CASE data_type WHEN 'ARRAY' THEN 'array' ELSE data_type END AS type
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1
"""
TYPES = {
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
    "varchar": "character varying",
    "serial": "integer",
}


@pytest.fixture
async def connection(dsn: str) -> asyncpg.Connection:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


@pytest.mark.parametrize("table", APP_CONFIG.table_classes, ids=lambda table: table.__name__)
async def test_a_table_has_the_columns_that_its_class_says(
    connection: asyncpg.Connection, table: type[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICCOLO_CONF", "gateway.piccolo_conf")  # column types depend on the engine
    rows = await connection.fetch(COLUMNS, table._meta.tablename)
    found = {row["column_name"]: (row["type"], row["nullable"]) for row in rows}
    columns = {table._meta.primary_key, *table._meta.columns}
    said = {column._meta.name: _of(column) for column in columns}
    assert found == said


def _of(column: Column) -> tuple[str, bool]:
    kind = "array" if isinstance(column, Array) else column.column_type.lower().partition("(")[0]
    return TYPES.get(kind, kind), column._meta.null


async def test_every_table_has_a_class(connection: asyncpg.Connection) -> None:
    found = await connection.fetch(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    said = {table._meta.tablename for table in APP_CONFIG.table_classes}
    assert {row["table_name"] for row in found} == said | {"migration"}


async def test_a_migrated_database_has_nothing_to_do(connection: asyncpg.Connection) -> None:
    assert await pending(connection) == []


async def test_many_may_migrate_one_database_at_once(postgres_server: str) -> None:
    administrator = await asyncpg.connect(postgres_server)
    try:
        await administrator.execute("CREATE DATABASE crowded")
        dsn = database_dsn(postgres_server, "crowded")
        ran = await asyncio.gather(*(migrate(dsn) for _ in range(3)))
        assert sorted(bool(names) for names in ran) == [False, False, True]
        await administrator.execute("DROP DATABASE crowded")
    finally:
        await administrator.close()


async def test_a_database_that_is_away_is_said_so() -> None:
    with pytest.raises(Unavailable, match="can't be reached"):
        await migrate("postgresql://nobody@127.0.0.1:1/nothing")
