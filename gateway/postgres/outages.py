"""What Postgres and its driver raise when the database can't serve, and what callers are told."""

from __future__ import annotations

import asyncpg

from gateway.errors import Unavailable
from gateway.postgres.connection import SHARED

_SHARED = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""What comes of prepared statements where a pooler lends a session to each transaction."""
_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg makes of a connection that ends at a bad moment
    OSError,
    TimeoutError,
)
_TOLD: dict[type[asyncpg.PostgresError], str] = {
    asyncpg.DiskFullError: "The database's disk is full; try again.",
    asyncpg.OutOfMemoryError: "The database is out of memory; try again.",
    asyncpg.ReadOnlySQLTransactionError: "The database is read-only at the moment; try again.",
    asyncpg.InsufficientResourcesError: "The database is at a limit of its own; try again.",
    asyncpg.PostgresSystemError: "The database can't read or write its files; try again.",
    asyncpg.OperatorInterventionError: "The database is told to stop; try again.",
    asyncpg.IdleInTransactionSessionTimeoutError: "The database ended the session; try again.",
}
"""Errors of a server that answers but can't do what it is there for. It is not the caller's fault,
and may be over in a while. The first that fits tells."""
TROUBLED = tuple(_TOLD)
FAILED = (*_AWAY, *_SHARED, *_TOLD)
READ_ONLY = _TOLD[asyncpg.ReadOnlySQLTransactionError]
TROUBLED_S = 5
"""Seconds until a client may try again: a failover or a full disk takes its time."""


def unavailable(error: BaseException) -> Unavailable:
    """Returns an error of `FAILED` as those outside are told of it."""
    if isinstance(error, _SHARED):
        return Unavailable(SHARED)
    if isinstance(error, _AWAY):
        return Unavailable("The database can't be reached; try again.")
    told = next(told for kind, told in _TOLD.items() if isinstance(error, kind))
    return Unavailable(told, retry_after=TROUBLED_S)
