"""Run the openai package's own tests against a gateway: `make conformance`.

They come in its source distribution, whose hash is the one in requirements/runtime.txt. Taken are
the tests that create chat completions, and those that list and retrieve models; the others ask for
ids that the package's authors made up.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEY = "My API Key"
"""What the tests send."""
MODEL = "gpt-6-astra"
"""What the tests ask for."""
TESTS = ("tests/api_resources/chat/test_completions.py", "tests/api_resources/test_models.py")
CHOSEN = "(Completions and create) or (Models and (list or retrieve))"
START_S = 60


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        suite = fetch(Path(scratch))
        with serving(Path(scratch) / "data") as base_url:
            return run(suite, f"{base_url}/api/agency/1")


def fetch(scratch: Path) -> Path:
    """The unpacked source distribution of the openai that is locked."""
    lock = (ROOT / "requirements" / "runtime.txt").read_text()
    pin = re.search(r"^openai==.*(\n +--hash=.*)+", lock, re.MULTILINE)
    assert pin is not None, "requirements/runtime.txt pins no openai"
    wanted = scratch / "openai.txt"
    wanted.write_text(pin[0] + "\n")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    # Metadata is all that pip builds of it, with the hatchling that requirements/dev.txt pins.
    how = ("--no-deps", "--no-binary", "openai", "--no-build-isolation", "--require-hashes")
    subprocess.run((*pip, *how, "-d", scratch, "-r", wanted), check=True)
    (archive,) = scratch.glob("openai-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


@contextmanager
def serving(data_dir: Path) -> Iterator[str]:
    """A gateway as a user would start it, in rehearsal."""
    port = _free_port()
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {
        **inherited,
        "GATEWAY_PORT": str(port),
        "GATEWAY_DATA_DIR": str(data_dir),
        "GATEWAY_ROOT_KEY": KEY,
        "GATEWAY_DEFAULT_MODEL": MODEL,
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


def run(suite: Path, base_url: str) -> int:
    environment = {**os.environ, "TEST_API_BASE_URL": base_url}
    own = ("-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short", "-q")
    command = (sys.executable, "-m", "pytest", *own, "-k", CHOSEN, *TESTS)
    return subprocess.run(command, cwd=suite, env=environment, check=False).returncode


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
            time.sleep(0.05)
        finally:
            connection.close()
    raise TimeoutError("the gateway does not get ready")


if __name__ == "__main__":
    sys.exit(main())
