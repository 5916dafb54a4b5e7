"""`gateway serve` in processes of its own, which can be killed, frozen and told to end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from tests.client import bearer
from tests.ports import free_port
from tests.running import ROOT_KEY

PATIENCE = 60.0
"""Seconds until a start has failed. It takes one when nothing else runs."""
LEASE_S = 2


class Process:
    """One place where a gateway runs: the same port and settings at each start.

    Each start has its own `caller`, the key that the upstream is called with: so the upstream's log
    tells which life of which process made a call. `lost` are those that were killed.
    """

    def __init__(self, name: str, settings: Mapping[str, object], directory: Path) -> None:
        self.name = name
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.lost: set[str] = set()
        self._log = directory / f"{name}.log"
        self._settings = {
            "PATH": os.environ["PATH"],
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_DATA_DIR": str(directory / name),
            "GATEWAY_ROOT_KEY": ROOT_KEY,
            "GATEWAY_LEASE_S": str(LEASE_S),
            **{key: str(value) for key, value in settings.items()},
        }
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        headers = bearer(ROOT_KEY)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
        self.http = httpx.AsyncClient(
            base_url=self.base_url, headers=headers, timeout=30, limits=limits
        )

    @property
    def caller(self) -> str:
        return f"{self.name}.{self._starts}"

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert self._process is None, f"{self.name} runs already"
        self._starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "gateway", "serve"),
                env={**self._settings, "OPENAI_API_KEY": self.caller},
                stdout=log,
                stderr=log,
                start_new_session=True,  # a group of its own, with its workers
            )

    async def ready(self) -> None:
        began = time.monotonic()
        while not await self._answers("/health/ready", within=5):
            assert self.runs, f"{self.name} ended: {self.said()}"
            assert time.monotonic() - began < PATIENCE, f"{self.name}: {self.said()}"
            await asyncio.sleep(0.03)

    def workers(self) -> list[int]:
        """Its children that live."""
        assert self._process is not None
        line = ("ps", "-axo", "pid=,ppid=,stat=")
        told = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        rows = [row.split() for row in told.splitlines()]
        parent = str(self._process.pid)
        return [int(pid) for pid, of, state in rows if of == parent and not state.startswith("Z")]

    async def kill(self) -> None:
        """As the kernel does when memory is out: the process and its workers, at once."""
        assert self.runs, f"{self.name} had ended by itself: {self.said()}"
        self.lost.add(self.caller)
        self._signal(signal.SIGKILL)
        await self._gone()
        assert not await self._answers("/health/live"), f"{self.name} was not killed"

    async def restart(self) -> None:
        self.start()
        await self.ready()

    async def freeze(self) -> None:
        self.lost.add(self.caller)
        self._signal(signal.SIGSTOP)
        assert not await self._answers("/health/live"), f"{self.name} was not frozen"

    async def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        assert await self._answers("/health/live", within=20), f"{self.name} was not thawed"

    async def terminate(self, within: float = 30.0) -> tuple[int, float]:
        """The exit code, and the seconds that it took. Only the parent is told, as by a shell or a
        supervisor."""
        assert self._process is not None
        assert self.runs, f"{self.name} had ended by itself: {self.said()}"
        self.lost.add(self.caller)
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        code = await self._gone(within)
        return code, time.monotonic() - began

    async def close(self) -> None:
        await self.http.aclose()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._signal(signal.SIGKILL)
            await self._gone()

    def said(self) -> str:
        return self._log.read_text()[-3000:]

    def _signal(self, number: int) -> None:
        assert self._process is not None, f"{self.name} does not run"
        os.killpg(self._process.pid, number)

    async def _gone(self, within: float = PATIENCE) -> int:
        assert self._process is not None
        code = await asyncio.wait_for(asyncio.to_thread(self._process.wait), within)
        self._process = None
        return code

    async def _answers(self, path: str, within: float = 0.5) -> bool:
        try:
            async with httpx.AsyncClient(base_url=self.base_url, timeout=within) as fresh:
                return (await fresh.get(path)).status_code == 200
        except httpx.TransportError:
            return False
