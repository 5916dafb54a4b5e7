"""The processes of a run: the mock upstream, the pass-through and the gateway, each started as it
would be in earnest and ended with the run."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from bench.load import Target
from bench.mock import PORT_TOLD
from gateway.postgres import embedded

KEY = "agw_root_bench"
START_S = 60


@dataclass(frozen=True)
class Servers:
    """What there is to be measured. `dsn` is the gateway's database, `log` its server's log."""

    mock: Target
    passthrough: Target
    single: Target
    pair: Target
    pids: dict[str, int]
    directory: Path
    dsn: str
    log: Path

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Each server's own process and its children, by the server's name."""
        return {name: _family(pid) for name, pid in self.pids.items()}


@contextmanager
def running(directory: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        mock_process, mock_port = stack.enter_context(_mock())
        upstream = {"OPENAI_BASE_URL": f"http://127.0.0.1:{mock_port}/v1"}
        passing, passing_port = stack.enter_context(
            started(["bench.passthrough"], {**upstream}, directory / "passthrough.log")
        )
        # Started before the gateway and left after it: measuring needs the database's address.
        dsn = stack.enter_context(embedded.running(directory / "data" / "postgres"))
        gateway, port = stack.enter_context(
            started(
                ["gateway", "serve"],
                {
                    **upstream,
                    "OPENAI_API_KEY": "upstream-key",
                    "GATEWAY_DATA_DIR": str(directory / "data"),
                    "GATEWAY_ROOT_KEY": KEY,
                },
                directory / "gateway.log",
            )
        )
        yield Servers(
            mock=Target(mock_port, "/v1/chat/completions"),
            passthrough=Target(passing_port, "/v1/chat/completions"),
            single=_agency(port, alone=True),
            pair=_agency(port, alone=False),
            pids={
                "mock": mock_process.pid,
                "passthrough": passing.pid,
                "gateway": gateway.pid,
                "postgres": _postmaster(directory / "data" / "postgres"),
            },
            directory=directory,
            dsn=dsn,
            log=directory / "data" / "postgres" / "log",
        )


def _postmaster(directory: Path) -> int:
    return int((directory / "postmaster.pid").read_text().splitlines()[0])


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


@contextmanager
def _mock() -> Iterator[tuple[subprocess.Popen[str], int]]:
    line = (sys.executable, "-m", "bench.mock")
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline().removeprefix(PORT_TOLD))
    finally:
        _end(process)


@contextmanager
def started(
    module: list[str], environment: dict[str, str], log: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server in a process of its own, once it listens, and its port."""
    port = _free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "OPENAI_"))}
    for name in ("DATABASE_URL", "REDIS_URL", "CHROMA_URL"):
        kept.pop(name, None)
    told = {**kept, **environment, "GATEWAY_PORT": str(port), "PORT": str(port)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            (sys.executable, "-m", *module), env=told, stdout=out, stderr=out
        )
    try:
        _await_listening(port, process, log)
        yield process, port
    finally:
        _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"A server did not start:\n{log.read_text()[-3000:]}")


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _agency(port: int, *, alone: bool) -> Target:
    """An agency whose manager answers, or asks its one colleague first."""
    names = ["manager"] if alone else ["manager", "worker"]
    made = _call(
        port,
        "POST",
        "/api/agencies",
        {
            "name": "Bench",
            "manager": "manager",
            "agents": [
                {"name": name, "instructions": "You know all fruit.", "model": "answer"}
                for name in names
            ],
        },
    )
    agency = msgspec.json.decode(made, type=_Agency)
    agents = {agent.name: agent.id for agent in agency.agents}
    if not alone:
        path = f"/api/agencies/{agency.id}/agents/{agents['manager']}"
        _call(port, "PATCH", path, {"model": f"ask-{agents['worker']}"})
    return Target(port, f"/api/agency/{agency.id}/chat/completions", KEY)


class _Member(msgspec.Struct):
    id: int
    name: str


class _Agency(msgspec.Struct):
    id: int
    agents: list[_Member]


def _call(port: int, method: str, path: str, body: dict[str, object]) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    connection.request(method, path, msgspec.json.encode(body), headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    if response.status >= 300:
        raise RuntimeError(f"{method} {path} answered {response.status}: {answer.decode()}")
    return answer
