"""The embedded Postgres: it runs as long as somebody uses it.

A process that uses it holds a shared lock on `<directory>.users`; the kernel drops it however the
process ends. Who leaves and finds nobody else there stops the server.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gateway.postgres.connection import dsn_of
from gateway.postgres.postmaster import Postmaster
from gateway.settings import Settings


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The DSN of the operator's Postgres, else of the embedded one, which runs as long as this."""
    if settings.database_url is not None:
        yield dsn_of(settings.database_url, prepared=settings.prepared_statements)
        return
    with running(settings.data_dir / "postgres") as dsn:
        yield dsn


@contextmanager
def running(directory: Path, options: Mapping[str, str] | None = None) -> Iterator[str]:
    """The DSN of the server in `directory`, which is started if it does not run.

    `options` are settings of Postgres on top of ours; they count when it is this call that starts
    the server. Raises Unavailable with what to do about it.
    """
    server = Postmaster(directory.resolve(), options or {})
    with _locked(server.beside(".lock"), fcntl.LOCK_EX):
        server.start()
        users = os.open(server.beside(".users"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
    try:
        yield server.dsn
    finally:
        with _locked(server.beside(".lock"), fcntl.LOCK_EX):
            if _alone(users):
                server.stop()
            os.close(users)


def _alone(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
