"""Behind a real PgBouncer, in session mode and in transaction mode."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest

from gateway.errors import Unavailable
from gateway.postgres.account import HERE, server_account
from gateway.postgres.connection import check_mode, unprepared
from gateway.postgres.database import open_database
from gateway.postgres.migrate import migrate
from tests.client import bearer
from tests.deploy import need
from tests.ports import free_port
from tests.serving.test_serve import environment, gateway, run_example, serving

__all__ = ["environment"]


@contextmanager
def pooler(dsn: str, mode: str, directory: Path) -> Iterator[str]:
    """The DSN of the same database behind a PgBouncer that is configured as it comes."""
    program = need.program("pgbouncer", "pgbouncer")
    parts, port = urlsplit(dsn), free_port()
    where = parse_qs(parts.query)["host"][0]
    database = parts.path.removeprefix("/")
    config = directory / f"{mode}.ini"
    config.write_text(
        f"[databases]\n{database} = host={HERE} user=postgres dbname={database}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"pool_mode = {mode}\nauth_type = any\nmax_client_conn = 200\n"
    )
    directory.chmod(0o755)
    account = server_account()  # it refuses to run as root, as Postgres does
    running = subprocess.Popen(
        (program, "-q", str(config)),
        cwd=where,  # which is entered first: the way there may be closed to the account
        user=account and account.uid,
        group=account and account.gid,
        extra_groups=account and (),
        stdin=subprocess.DEVNULL,  # a socket that got the number 0 is none to it
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/{database}"
    finally:
        running.terminate()
        running.wait(10)


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, dsn: str, data_dir: Path) -> Iterator[str]:
    """A DSN through a pooler that may be used: without prepared statements, in both modes."""
    with pooler(dsn, request.param, data_dir) as through:
        _await(through)
        yield unprepared(through)


@pytest.fixture
def by_transaction(dsn: str, data_dir: Path) -> Iterator[str]:
    with pooler(dsn, "transaction", data_dir) as through:
        _await(through)
        yield through


def _await(through: str) -> None:
    port = urlsplit(through).port
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port or 0), timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline, "the pooler does not listen"
            time.sleep(0.02)
        else:
            return


async def test_a_session_is_pooled_with_prepared_statements(dsn: str, data_dir: Path) -> None:
    with pooler(dsn, "session", data_dir) as through:
        _await(through)
        await check_mode(through)
        assert await migrate(through) == []
        async with open_database(through, pool_size=2) as database:
            row = await database.fetchrow("SHOW idle_in_transaction_session_timeout")
            assert row
            assert row[0] == "5s"
            row = await database.fetchrow("SHOW plan_cache_mode")
            assert row
            assert row[0] == "force_generic_plan"


async def test_statements_and_transactions_of_many_at_once_do_not_mix(pooled: str) -> None:
    async with open_database(pooled, pool_size=12) as database:

        async def ask(number: int) -> None:
            kinds = ("SELECT $1::int AS n", "SELECT ($1::int) AS n, now()", "SELECT $1::int n, 'x'")
            row = await database.fetchrow(kinds[number % 3], number)
            assert row
            assert row["n"] == number
            async with database.transaction():
                row = await database.fetchrow("SHOW idle_in_transaction_session_timeout")
                assert row
                assert row[0] == "5s"
                await asyncio.sleep(0)
                row = await database.fetchrow("SELECT $1::jsonb AS n", f'{{"n": {number}}}')
                assert row
                assert f": {number}" in row["n"]

        await asyncio.gather(*(ask(number) for number in range(200)))


async def test_migrations_leave_no_lock_with_a_pooler(dsn: str, pooled: str) -> None:
    administrator = await asyncpg.connect(dsn)
    try:
        await administrator.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        ran = await asyncio.gather(*(migrate(pooled) for _ in range(3)))
        assert sum(map(bool, ran)) == 1
        held = """
            SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = pg_locks.database
            WHERE locktype = 'advisory' AND d.datname = current_database()
        """  # the server serves the databases of other tests, too
        assert await administrator.fetchval(held) == 0
    finally:
        await administrator.close()


def test_a_first_start_through_a_pooler_makes_an_agency_that_answers(
    pooled: str, environment: dict[str, str], tmp_path: Path
) -> None:
    plain = pooled.partition("?")[0]
    environment |= {"DATABASE_URL": plain, "GATEWAY_PREPARED_STATEMENTS": "false"}
    with serving(environment, tmp_path / "out") as served:
        served.await_ready()
        assert run_example(served.printed()).strip()
        key = (Path(environment["GATEWAY_DATA_DIR"]) / "root_key").read_text().strip()
        with ThreadPoolExecutor(16) as callers:
            ask = partial(httpx.get, headers=bearer(key), timeout=30)
            where = f"http://127.0.0.1:{served.port}/api/conversations"
            answers = list(callers.map(ask, [where] * 200))
        assert {answer.status_code for answer in answers} == {200}, "it prepares statements"
    checked = gateway(environment, "doctor")
    assert checked.returncode == 0, checked.stdout


def test_serve_and_doctor_say_what_to_do_where_statements_can_not_be_prepared(
    by_transaction: str, environment: dict[str, str]
) -> None:
    environment["DATABASE_URL"] = by_transaction
    for command in ("serve", "doctor"):
        refused = gateway(environment, command)
        assert refused.returncode == 1
        assert "GATEWAY_PREPARED_STATEMENTS=false" in refused.stdout + refused.stderr
        assert "Traceback" not in refused.stderr


async def test_a_reason_is_given_in_the_words_of_postgres(dsn: str) -> None:
    with pytest.raises(Unavailable, match='database "missing" does not exist'):
        async with open_database(dsn.replace(urlsplit(dsn).path, "/missing")):
            pass
    with pytest.raises(Unavailable, match="channel_binding"):
        async with open_database(f"{dsn}&channel_binding=require"):
            pass
