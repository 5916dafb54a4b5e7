"""Servers for the tests: a real Chroma, which can be killed, frozen and started again, and an
upstream that makes vectors."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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
        return set(self._collections())

    def count(self, name: str) -> int:
        """The vectors of a collection."""
        answer = httpx.get(f"{self._place}/{self._collections()[name]}/count", timeout=10)
        return int(answer.raise_for_status().json())

    @property
    def _place(self) -> str:
        place = "tenants/default_tenant/databases/default_database/collections"
        return f"{self.url}/api/v2/{place}"

    def _collections(self) -> dict[str, str]:
        answer = httpx.get(self._place, params={"limit": 1000}, timeout=10)
        return {one["name"]: one["id"] for one in answer.raise_for_status().json()}

    def stop(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)


class EmbeddingServer:
    """An upstream that makes vectors: of `width` numbers, two of which tell cats from dogs. While
    `status` is not 200, that is all it answers."""

    def __init__(self) -> None:
        self.width = 4
        self.status = 200
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["content-length"]))
                body = outer.answer(json.loads(sent)) if outer.status == 200 else b"{}"
                self.send_response(outer.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def answer(self, asked: dict[str, Any]) -> bytes:
        self.asked += asked["input"]
        data = []
        for place, text in enumerate(asked["input"]):
            vector = [0.1 + ("cat" in text), 0.1 + ("dog" in text), *[0.0] * (self.width - 2)]
            packed = base64.b64encode(struct.pack(f"<{self.width}f", *vector)).decode()
            shown = packed if asked.get("encoding_format") == "base64" else vector
            data.append({"object": "embedding", "index": place, "embedding": shown})
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        told = {"object": "list", "data": data, "model": asked["model"], "usage": usage}
        return json.dumps(told).encode()

    def __enter__(self) -> EmbeddingServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
