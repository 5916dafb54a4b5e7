"""`gateway serve`: everything that is missing is made, then the workers start."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from gateway.cli.banner import announce
from gateway.cli.first_start import prepare
from gateway.errors import Conflict, InvalidRequest
from gateway.postgres import embedded
from gateway.process import telemetry
from gateway.settings import Settings, misspelt, read

CONNECTIONS = 10_000
"""At once, in each worker. An open stream is one, and Granian's own bound is 1024 for all."""
HTTP1 = HTTP1Settings(header_read_timeout=15_000, max_buffer_size=64 * 1024)
"""Milliseconds from a connection's beginning, or the end of an answer, to the end of the next
request's headers; and about how many bytes these may have. Granian keeps the former in HTTP/1
alone: where it also takes HTTP/2, a connection that sends nothing stays for ever."""
KILL_S = 15
"""Seconds that a worker may take to end. Its turns get 5 of them."""
LOGS = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"handlers": [], "propagate": True}},
}
"""Granian's log lines go the way of ours."""


@click.command()
def serve() -> None:
    """Serve on GATEWAY_HOST and GATEWAY_PORT; prints how to call it."""
    telemetry.configure()
    signal.signal(signal.SIGTERM, _leave)
    configured = read()
    for name, near in misspelt().items():
        click.echo(f"gateway: {name} is no setting, and is ignored: did you mean {near}?", err=True)
    try:
        with _only_one(configured), embedded.database(configured) as dsn:
            _serve(replace(configured, port=_check_port(configured)), dsn)
    except KeyboardInterrupt:
        sys.exit(130)


def _serve(settings: Settings, dsn: str) -> None:
    start = asyncio.run(prepare(settings, dsn))
    os.environ["GATEWAY_PORT"] = str(settings.port)
    if settings.database_url is None:  # the workers need not know that their Postgres is embedded
        os.environ["DATABASE_URL"] = dsn
    server = Granian(
        "gateway.app:create",
        factory=True,
        interface=Interfaces.ASGI,
        address=_address(settings.host),
        port=settings.port,
        workers=settings.workers,
        websockets=False,
        workers_kill_timeout=KILL_S,
        backpressure=CONNECTIONS,
        http=HTTPModes.http1,
        http1_settings=HTTP1,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
        log_dictconfig=LOGS,
    )
    # A thread that outlives the workers' start only sleeps while they are forked.
    threading.Thread(target=announce, args=(settings, start), daemon=True).start()
    server.serve()


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Two gateways on one embedded Postgres would not hear each other's events."""
    if settings.database_url is not None:
        yield
        return
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (settings.data_dir / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"A gateway already serves from {Path(settings.data_dir).absolute()}. "
                "Stop it, or set GATEWAY_DATA_DIR to another directory."
            ) from None
        yield


def _check_port(settings: Settings) -> int:
    """The port to bind. Granian shares its ports, and so would take turns with another server."""
    try:
        family, *address = _resolve(settings.host, settings.port)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(tuple(address))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise InvalidRequest(
            f"{settings.host}:{settings.port} can't be used: {error.strerror or error}. "
            "Set GATEWAY_PORT or GATEWAY_HOST, or stop what listens there."
        ) from error


def _address(host: str) -> str:
    return _resolve(host, 0)[1]


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, str, int]:
    """Raises OSError."""
    kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
    family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, flags=flags)[0]
    return family, str(address[0]), port


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM before the server listens to it: leave through every `finally`."""
    sys.exit(128 + number)
