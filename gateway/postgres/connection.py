"""How every process and every command connects to Postgres, straight or through a pooler.

A pooler (PgBouncer, Neon's, Supabase's) refuses startup parameters that it does not know. So what
a session needs is set once it stands. A pooler in transaction mode lends another session to each
transaction: there nothing can be prepared or set, except inside of a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from gateway.errors import Unavailable

CONNECT_S = 10.0
STARTUP = {"application_name": "agency-gateway", "timezone": "UTC"}
"""Parameters that poolers know."""
LIMIT = "idle_in_transaction_session_timeout = '5s'"
"""A process that is frozen inside a transaction must not hold its locks for ever."""
SESSION = f"""
    SET {LIMIT};
    -- Rows are found by ids: a plan made for one long conversation serves no other better, and to
    -- make it takes longer than to run it. Nor are pages on the other side of a disk's arm.
    SET plan_cache_mode = 'force_generic_plan';
    SET random_page_cost = 1.1
"""
UNPREPARED = ("statement_cache_size", "0")
"""In the query of a DSN: nothing is prepared. The name is asyncpg's."""
SHARED = (
    "DATABASE_URL leads to a pooler in transaction mode: set GATEWAY_PREPARED_STATEMENTS=false, "
    "or use its session mode, or connect to Postgres itself."
)


def unprepared(dsn: str) -> str:
    """The same server, where no statement is prepared."""
    return f"{dsn}{'&' if urlsplit(dsn).query else '?'}{'='.join(UNPREPARED)}"


def dsn_of(url: str, *, prepared: bool) -> str:
    """The DSN of the operator's server, with which statements are prepared or not."""
    return url if prepared else unprepared(url)


def prepares(dsn: str) -> bool:
    return UNPREPARED not in parse_qsl(urlsplit(dsn).query)


def options(dsn: str) -> dict[str, object]:
    """asyncpg's arguments. Raises Unavailable for what asyncpg can't do."""
    asked = parse_qsl(urlsplit(dsn).query, keep_blank_values=True)
    if ("channel_binding", "require") in asked:
        raise Unavailable(
            "DATABASE_URL wants channel_binding=require, which this driver can't do: leave it out, "
            "and with it name sslmode=verify-full."
        )
    kept = [pair for pair in asked if pair != UNPREPARED and pair[0] != "channel_binding"]
    plain = urlsplit(dsn)._replace(query=urlencode(kept)).geturl() if kept != asked else dsn
    found: dict[str, object] = {"dsn": plain, "timeout": CONNECT_S, "server_settings": STARTUP}
    return found if prepares(dsn) else {**found, "statement_cache_size": 0}


@contextmanager
def reasons() -> Iterator[None]:
    """Raises Unavailable with the reason why Postgres can't be used."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable(
            f"Postgres can't be reached: no answer within {CONNECT_S:.0f} s."
        ) from error
    except asyncpg.PostgresError as error:
        raise Unavailable(f"Postgres refuses: {error}") from error
    except (OSError, ValueError, asyncpg.InterfaceError) as error:
        raise Unavailable(f"Postgres can't be reached: {error}") from error


async def connect(dsn: str) -> asyncpg.Connection:
    """A connection for a few statements; it has no pool. Raises Unavailable."""
    with reasons():
        return await asyncpg.connect(**options(dsn))


async def check_mode(dsn: str) -> None:
    """Raises Unavailable if statements would be prepared behind a pooler in transaction mode.

    Two connections are one session there, if each uses it while the other does not.
    """
    if not prepares(dsn):
        return
    first, second = await connect(unprepared(dsn)), await connect(unprepared(dsn))
    try:
        with reasons():
            session = await first.fetchval("SELECT pg_backend_pid()")
            if await second.fetchval("SELECT pg_backend_pid()") == session:
                raise Unavailable(SHARED)
    finally:
        await first.close()
        await second.close()
