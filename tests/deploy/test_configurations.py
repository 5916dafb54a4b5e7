"""What `deploy/` sets up is read by the programs that it is for, and names what is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.settings import SECRETS, VARIABLES
from tests.deploy import need
from tests.deploy.dockerfile import ROOT
from tests.deploy.topology import COMPOSE, DEPLOY, nginx, nginx_files
from tests.ports import free_port

EXPOSURE = 20
"""Tenths, of systemd's measure from 0 (safe) to 100."""
NAMES = {*VARIABLES, *(f"{name}_FILE" for name in SECRETS)}
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_compose_is_what_the_specification_says() -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    line = (check, "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_whatever_a_service_names_is_there(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    for other, how in service.get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            image = SERVICES[other]
            assert image.get("healthcheck", {}).get("test") or "build" in image, other
    for volume in service.get("volumes", ()):
        source, *_ = volume.split(":")
        if source.startswith("."):
            assert (DEPLOY / source).is_file()
        else:
            assert source in COMPOSE["volumes"]
    for value in service.get("environment", {}).values():
        for secret in re.findall(r"^/run/secrets/(.+)$", value):
            assert secret in service["secrets"]


def test_gateways_get_settings_that_exist_and_secrets_as_files() -> None:
    ours = [service for service in SERVICES.values() if "build" in service]
    assert len(ours) == 3
    for service in ours:
        assert set(service["environment"]) <= NAMES
        assert "DATABASE_URL_FILE" in service["environment"]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_databases_can_be_reached_by_gateways_alone() -> None:
    assert COMPOSE["networks"]["inside"]["internal"]
    for name in ("postgres", "redis", "chroma"):
        assert SERVICES[name]["networks"] == ["inside"]
        assert "ports" not in SERVICES[name]


def test_images_have_a_version_and_chroma_that_of_its_client() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[\w/-]+:\d[\w.-]*", service["image"])
    lock = (ROOT / "requirements" / "runtime.txt").read_text()
    client = re.search(r"^chromadb==(\S+)", lock, re.MULTILINE)
    assert client is not None
    assert SERVICES["chroma"]["image"] == f"chromadb/chroma:{client[1]}"
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert SERVICES["gateway-1"]["image"] == f"agency-gateway:{version[1]}"


def test_the_secrets_of_compose_stay_out_of_the_clone() -> None:
    files = [secret["file"] for secret in COMPOSE["secrets"].values()]
    line = ("git", "check-ignore", *(f"deploy/{file.removeprefix('./')}" for file in files))
    told = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert len(told.stdout.splitlines()) == len(files)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with its secrets, and a program in place of the one that is not installed here."""
    text = (DEPLOY / "systemd" / "gateway.service").read_text()
    program = "/opt/gateway/.venv/bin/gateway"
    assert text.count(program) == 1
    (tmp_path / "gateway.service").write_text(text.replace(program, sys.executable))
    beside = tmp_path / "gateway.service.d"
    beside.mkdir()
    (beside / "secrets.conf").write_text((DEPLOY / "systemd" / "secrets.conf").read_text())
    return tmp_path / "gateway.service"


def test_systemd_finds_no_fault(unit: Path) -> None:
    program = need.program("systemd-analyze", "systemd")
    told = subprocess.run((program, "verify", unit), capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout + told.stderr) == (0, "")
    line = (program, "security", "--offline=yes", f"--threshold={EXPOSURE}", unit)
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


def test_the_unit_sets_what_the_gateway_reads() -> None:
    for name in ("gateway.service", "secrets.conf"):
        text = (DEPLOY / "systemd" / name).read_text()
        said = set(re.findall(r"^Environment=(\w+)=", text, re.MULTILINE))
        assert said - {"HOME", "PYTHONDONTWRITEBYTECODE"} <= NAMES


def test_nginx_without_a_gateway_says_so_in_openais_form(tmp_path: Path) -> None:
    with nginx(tmp_path, [free_port()], free_port(), free_port()) as proxy:
        deadline = time.monotonic() + 30
        while True:
            try:
                told = httpx.get(f"{proxy.base_url}/v1/models", verify=proxy.tls)
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
        assert told.status_code == 503
        assert told.json()["error"].keys() == {"message", "type", "param", "code"}
        assert told.headers["retry-after"] == "2"


def test_nginx_finds_no_fault(tmp_path: Path) -> None:
    program = need.program("nginx", "nginx")
    config = nginx_files(tmp_path, [8080, 8081], 8443, 8088)
    line = (program, "-t", "-c", str(config), "-e", str(tmp_path / "error.log"))
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "warn" not in told.stderr


def test_caddy_finds_no_fault(tmp_path: Path) -> None:
    program = need.program("caddy", "caddy")
    file = DEPLOY / "caddy" / "Caddyfile"
    env = {**os.environ, "HOME": str(tmp_path), "GATEWAYS": "gateway-1:8080 gateway-2:8080"}
    line = (program, "validate", "--adapter", "caddyfile", "--config", str(file))
    told = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    formatted = subprocess.run((program, "fmt", file), capture_output=True, text=True, check=False)
    assert formatted.stdout == file.read_text()
