"""A real Chroma server for the tests, which can be killed, frozen and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

CHROMA = Path(sys.executable).parent / "chroma"


class ChromaServer:
    """Each fault says by an AssertionError if it could not be injected."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._process is None, "it runs already"
        line = (str(CHROMA), "run", "--path", str(self.directory), "--host", "127.0.0.1")
        self._process = subprocess.Popen(
            (*line, "--port", str(self.port)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
        )
        deadline = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < deadline, "chroma did not start"
            time.sleep(0.05)

    def kill(self) -> None:
        assert self._process is not None, "chroma does not run"
        self._process.kill()
        self._process.wait(10)
        self._process = None
        assert not self.answers(), "chroma was not killed"

    def freeze(self) -> None:
        assert self._process is not None, "chroma does not run"
        os.kill(self._process.pid, signal.SIGSTOP)
        assert not self.answers(), "chroma was not frozen"

    def thaw(self) -> None:
        assert self._process is not None, "chroma does not run"
        os.kill(self._process.pid, signal.SIGCONT)
        assert self.answers(), "chroma was not thawed"

    def answers(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/api/v2/heartbeat", timeout=1)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    def collections(self) -> set[str]:
        """The names of all its collections, asked of it and not of us."""
        place = "tenants/default_tenant/databases/default_database/collections"
        answer = httpx.get(f"{self.url}/api/v2/{place}", params={"limit": 1000}, timeout=10)
        return {one["name"] for one in answer.raise_for_status().json()}

    def stop(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
