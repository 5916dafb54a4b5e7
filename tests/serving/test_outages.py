"""A database that answers but can't serve: clients are told to come back, and so are probes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from gateway.errors import Unavailable
from gateway.postgres.database import Database, open_database
from tests.conftest import StartGateway
from tests.running import Gateway

RAISES = """
    CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'it fails' USING ERRCODE = '{state}'; END $$;
    CREATE TRIGGER fails BEFORE INSERT ON api_key EXECUTE FUNCTION fails();
"""
FULL = """
    CREATE FUNCTION full_disk() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'it is full' USING ERRCODE = '53100'; END $$;
    CREATE EVENT TRIGGER full_disk ON ddl_command_start WHEN TAG IN ('CREATE TABLE AS')
        EXECUTE FUNCTION full_disk();
"""


async def operate(dsn: str, *statements: str) -> None:
    operator = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await operator.execute(statement)
    finally:
        await operator.close()


async def write(gateway: Gateway) -> httpx.Response:
    return await gateway.http.post("/api/keys", json={"user": "ann", "scopes": ["chat"]})


async def postgres(gateway: Gateway) -> tuple[int, str, str | None]:
    answer = await gateway.anonymous.get("/health/ready")
    resource = answer.json()["resources"]["postgres"]
    return answer.status_code, resource["status"], resource["error"]


STATES = ["53100", "53200", "53300", "53400", "53000", "25006", "57P01", "57P03", "58030", "58000"]


@pytest.mark.parametrize("state", STATES)
async def test_a_server_that_can_not_write_is_unavailable_for_a_while(
    gateway: Gateway, state: str
) -> None:
    await operate(gateway.dsn, RAISES.format(state=state))
    answer = await write(gateway)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    await operate(gateway.dsn, "DROP TRIGGER fails ON api_key")
    assert (await write(gateway)).status_code == 201


async def test_a_read_only_server_is_not_ready(start_gateway: StartGateway, dsn: str) -> None:
    name = urlsplit(dsn).path.strip("/")
    await operate(dsn, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with open_database(dsn) as database:  # a new session, as after a failover
        with pytest.raises(Unavailable, match="read-only") as failure:
            await database.ping()
        assert failure.value.retry_after
        with pytest.raises(Unavailable, match="read-only"):
            await database.execute("DELETE FROM api_key")
        with pytest.raises(Unavailable, match="read-only"):
            async with database.transaction():
                await database.execute("DELETE FROM api_key")
    await operate(
        dsn,
        "SET default_transaction_read_only = off",
        f'ALTER DATABASE "{name}" RESET default_transaction_read_only',
    )
    async with open_database(dsn) as database:
        await database.ping()


@pytest.mark.parametrize("how", ["ping", "statement", "transaction"])
async def test_sessions_that_began_read_only_are_given_up(dsn: str, how: str) -> None:
    async def attempt(database: Database) -> None:
        if how == "ping":
            await database.ping()
        elif how == "statement":
            await database.execute("DELETE FROM api_key")
        else:
            async with database.transaction():
                await database.execute("DELETE FROM api_key")

    name = urlsplit(dsn).path.strip("/")
    await operate(dsn, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with open_database(dsn) as database:
        tries = await asyncio.gather(*(attempt(database) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(one, Unavailable) for one in tries)
        await operate(
            dsn,
            "SET default_transaction_read_only = off",
            f'ALTER DATABASE "{name}" RESET default_transaction_read_only',
        )
        async with asyncio.timeout(20):
            while True:
                with suppress(Unavailable):
                    await attempt(database)
                    break
                await asyncio.sleep(0.1)


async def test_a_full_disk_is_noticed_until_there_is_room_again(gateway: Gateway) -> None:
    assert await postgres(gateway) == (200, "ok", None)
    await operate(gateway.dsn, RAISES.format(state="53100"), FULL)
    assert (await write(gateway)).status_code == 503
    status, said, why = await postgres(gateway)
    assert (status, said) == (503, "failed")
    assert "disk is full" in (why or "")
    assert (await postgres(gateway))[0] == 503
    await operate(gateway.dsn, "DROP EVENT TRIGGER full_disk", "DROP TRIGGER fails ON api_key")
    assert await postgres(gateway) == (200, "ok", None)
    assert (await write(gateway)).status_code == 201
