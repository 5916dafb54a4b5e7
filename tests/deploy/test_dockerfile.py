"""The image: linted, and its steps run; what they make serves on a read-only root."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.client import bearer
from tests.deploy import need
from tests.deploy.dockerfile import DOCKERFILE, ROOT, Step, is_sent, stages
from tests.deploy.image import USER, Image, built_image
from tests.ports import free_port

IGNORED = ".dockerignore"
PATIENCE = 90


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint has a wheel for Linux on x86-64 alone")
    told = subprocess.run((hadolint, DOCKERFILE), capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


def test_the_base_is_named_in_full_and_once() -> None:
    (base,) = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    assert [stage.base for stage in stages(DOCKERFILE.read_text())] == ["${PYTHON}"] * 2


def test_what_runs_is_no_root_and_ends_when_told() -> None:
    last = stages(DOCKERFILE.read_text())[-1]
    assert last.one("USER").text == f"{USER}:{USER}"
    assert last.one("STOPSIGNAL").text == "SIGTERM"
    assert last.one("ENTRYPOINT").words() + last.one("CMD").words() == ["gateway", "serve"]
    assert "GATEWAY_HOST=0.0.0.0" in last.one("ENV").text


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".gateway/root_key",
        ".venv/bin/python",
        "deploy/secrets/root_key",
        "gateway/__pycache__/app.cpython-313.pyc",
        "tests/conftest.py",
    ],
)
def test_secrets_and_leftovers_stay_out_of_the_image(path: str) -> None:
    assert not is_sent(path, (ROOT / IGNORED).read_text())


def test_the_gateway_gets_into_the_image() -> None:
    ignored = (ROOT / IGNORED).read_text()
    for path in (
        "gateway/agency/turn/rules.py",
        "gateway/cli/example.yaml",
        "requirements/runtime.txt",
    ):
        assert (ROOT / path).is_file()
        assert is_sent(path, ignored)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    need.root()
    for name, package in (("unshare", "util-linux"), ("setpriv", "util-linux")):
        need.program(name, package)
    context = tmp_path_factory.mktemp("image") / "context"
    context.mkdir()
    with built_image(context) as built:
        yield built


@pytest.mark.timeout(900)
def test_the_image_can_be_written_nowhere_but_in_data_and_tmp(image: Image) -> None:
    def run(*words: str) -> str:
        told = subprocess.run(image.command(words), capture_output=True, text=True, check=False)
        return told.stdout + told.stderr

    assert run("id", "-u").strip() == str(USER)
    for place in ("/opt/gateway", "/", "/etc", "/usr/local/lib"):
        assert re.search("Read-only|denied", run("touch", f"{place}/written"))
    for place in ("/data", "/tmp"):
        assert run("touch", f"{place}/written") == ""
        assert run("rm", f"{place}/written") == ""


@pytest.mark.timeout(900)
def test_the_image_serves_and_its_health_check_knows(image: Image, tmp_path: Path) -> None:
    last = stages(DOCKERFILE.read_text())[-1]
    kind, _, check = last.one("HEALTHCHECK").text.partition(" CMD ")
    assert "--interval" in kind
    settings = {"GATEWAY_HOST": "127.0.0.1", "GATEWAY_PORT": str(free_port())}
    health = image.command(Step("CMD", check.strip()).words(), **settings)
    words = last.one("ENTRYPOINT").words() + last.one("CMD").words()
    with (tmp_path / "out").open("w") as out:
        gateway = subprocess.Popen(image.command(words, **settings), stdout=out, stderr=out)
    try:
        base = f"http://127.0.0.1:{settings['GATEWAY_PORT']}"
        _await_ready(base, gateway, tmp_path / "out")
        assert subprocess.run(health, check=False).returncode == 0
        key = image.path("/data/root_key").read_text().strip()
        body = {"model": "agency/1", "messages": [{"role": "user", "content": "A web page?"}]}
        headers = bearer(key)
        told = httpx.post(f"{base}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert told.json()["choices"][0]["message"]["content"], told.text
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(PATIENCE) == 0
        assert not image.path("/data/postgres/postmaster.pid").exists()
        assert subprocess.run(health, capture_output=True, check=False).returncode != 0
    finally:
        gateway.kill()
        gateway.wait()


def _await_ready(base: str, gateway: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert gateway.poll() is None, out.read_text()
        try:
            if httpx.get(f"{base}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(out.read_text())
