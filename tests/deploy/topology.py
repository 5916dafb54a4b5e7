"""What `deploy/compose.yaml` starts, as processes of this machine: two gateways and a proxy."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml

from tests.deploy import need
from tests.deploy.dockerfile import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
GATEWAYS = ("gateway-1", "gateway-2")
KEY = "agw_root_of_the_topology"
PATIENCE = 90
HEADER_S = 1
"""Seconds in which headers must come, in these tests."""


@dataclass
class Stack:
    """`environment(name, …)` is that of a service, with its hosts and secrets found here."""

    folder: Path
    hosts: Mapping[str, str]
    secrets: Mapping[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def environment(self, name: str, **more: str) -> dict[str, str]:
        said: dict[str, str] = COMPOSE["services"][name]["environment"]
        found = {variable: self._found(value) for variable, value in said.items()}
        found.pop("CHROMA_URL")  # no Chroma server is here: each has an index of its own
        data = {"GATEWAY_DATA_DIR": str(self.folder / name), "PATH": os.environ["PATH"]}
        return {**found, **data, **more}

    def _found(self, value: str) -> str:
        value = re.sub(r"\$\{\w+:-(.*?)}", r"\1", value)
        value = value.replace("/run/secrets", str(self.folder))
        for host, here in self.hosts.items():
            value = value.replace(f"//{host}", f"//{here}")
        return value

    def command(self, service: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a service that ends, or another command of the gateway in its place."""
        for secret, text in self.secrets.items():
            (self.folder / secret).write_text(f"{text}\n")
        words: list[str] = COMPOSE["services"][service]["command"]
        return subprocess.run(
            (sys.executable, "-m", "gateway", *words),
            env=self.environment(service, **more),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def serve(self, name: str, port: int, **more: str) -> None:
        env = self.environment(name, GATEWAY_PORT=str(port), GATEWAY_HOST="127.0.0.1", **more)
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                (sys.executable, "-m", "gateway", "serve"), env=env, stdout=log, stderr=log
            )
        self.ports[name] = port

    def await_ready(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            log = (self.folder / f"{name}.log").read_text()
            assert self.running[name].poll() is None, log
            try:
                if httpx.get(f"http://127.0.0.1:{self.ports[name]}/health/ready").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise TimeoutError(log)

    def end(self, name: str) -> int:
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE)


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs. `tls` trusts its certificate and no other."""

    name: str
    port: int
    tls: ssl.SSLContext
    log: Path

    @property
    def base_url(self) -> str:
        return f"https://localhost:{self.port}"


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """`text` with each pattern's matches replaced. Each must be there."""
    for pattern, new in changes.items():
        text, count = re.subn(pattern, lambda _, new=new: new, text)  # type: ignore[misc]
        assert count, f"{pattern} is not there"
    return text


def nginx_files(folder: Path, gateways: list[int], port: int, plain: int) -> Path:
    """nginx's own configuration around `gateway.conf`, which gets this machine's places."""
    need.program("openssl", "openssl")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    make = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    out = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run((*make, *names, *out), capture_output=True, check=True)
    servers = "\n".join(f"server 127.0.0.1:{p} max_fails=1 fail_timeout=5s;" for p in gateways)
    site = replaced(
        (DEPLOY / "nginx" / "gateway.conf").read_text(),
        {
            r"server 127\.0\.0\.1:8080 .*;": servers,
            r"listen \[::\]:.*;": "",
            r"listen 443 ": f"listen 127.0.0.1:{port} ",
            r"listen 80;": f"listen 127.0.0.1:{plain};",
            r"/etc/letsencrypt/live/gateway\.example\.com/fullchain\.pem": str(certificate),
            r"/etc/letsencrypt/live/gateway\.example\.com/privkey\.pem": str(key),
            r"/var/log/nginx/gateway\.log": str(folder / "access.log"),
            r"client_header_timeout 10s": f"client_header_timeout {HEADER_S}s",
        },
    )
    (folder / "gateway.conf").write_text(site)
    own = folder / "nginx.conf"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own.write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log info;\n"
        + ("user root;\n" if os.geteuid() == 0 else "")
        + "events { worker_connections 512; }\nhttp {\n"
        + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        + f"include {folder}/gateway.conf;\n}}\n"
    )
    return own


@contextmanager
def nginx(folder: Path, gateways: list[int], port: int, plain: int) -> Iterator[Proxy]:
    program = need.program("nginx", "nginx")
    config = nginx_files(folder, gateways, port, plain)
    line = (program, "-c", str(config), "-e", str(folder / "error.log"))
    with _running(line, folder, {}):
        tls = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        yield Proxy("nginx", port, tls, folder / "access.log")


@contextmanager
def caddy(folder: Path, gateways: list[int], port: int, plain: int) -> Iterator[Proxy]:
    program = need.program("caddy", "caddy")
    own = "\n".join(
        (
            "{",
            "admin off",
            "skip_install_trust",
            "default_bind 127.0.0.1",
            f"http_port {plain}",
            f"https_port {port}",
            f"storage file_system {folder}/storage",
        )
    )
    text = (DEPLOY / "caddy" / "Caddyfile").read_text()
    text = replaced(text, {r"(?m)^\{$": own, r"read_header 10s": f"read_header {HEADER_S}s"})
    (folder / "Caddyfile").write_text(text)
    env = {"GATEWAYS": " ".join(f"127.0.0.1:{p}" for p in gateways), "HOME": str(folder)}
    line = (program, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile"))
    with _running(line, folder, env):
        authority = folder / "storage/pki/authorities/local/root.crt"
        deadline = time.monotonic() + PATIENCE
        while not authority.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield Proxy("caddy", port, ssl.create_default_context(cafile=str(authority)), authority)


@contextmanager
def _running(line: tuple[str, ...], folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            line, env={**os.environ, **env}, stdout=out, stderr=out, cwd=folder
        )
    try:
        yield
        assert process.poll() is None, (folder / "out").read_text()
    finally:
        process.terminate()
        process.wait(PATIENCE)
