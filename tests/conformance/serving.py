"""A gateway as a user would start it, in rehearsal."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEY = "agw_conformance"
MODEL = "gpt-6-astra"
EMBEDDINGS = "text-embedding-3-small"
"""What they ask for."""
START_S = 120


@contextmanager
def serving(data_dir: Path) -> Iterator[str]:
    """The base URL of the whole gateway; its agency 1 is the example."""
    port = _free_port()
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {
        **inherited,
        "GATEWAY_PORT": str(port),
        "GATEWAY_DATA_DIR": str(data_dir),
        "GATEWAY_ROOT_KEY": KEY,
        "GATEWAY_DEFAULT_MODEL": MODEL,
        "GATEWAY_EMBEDDING_ALIASES": EMBEDDINGS,
    }
    command = (sys.executable, "-m", "gateway", "serve")
    log = data_dir.with_suffix(".log")
    with log.open("w") as out:
        gateway = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=out)
    try:
        _await_ready(port, gateway)
        yield f"http://127.0.0.1:{port}"
    except BaseException:
        sys.stderr.write(log.read_text())
        raise
    finally:
        gateway.terminate()
        gateway.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_ready(port: int, gateway: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert gateway.poll() is None, "the gateway ended"
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise TimeoutError("the gateway does not get ready")
