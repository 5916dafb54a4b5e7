"""The way to the upstream leads through the proxy that the environment names."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gateway.agency.model import ModelCall
from gateway.agency.models.upstream.client import Upstream
from gateway.errors import InvalidRequest
from gateway.network.proxy import proxy_for

ANSWER = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
CALL = ModelCall("m", [{"role": "user", "content": "Hi"}], timeout=10)


@pytest.mark.parametrize(
    ("variable", "value", "url", "proxy"),
    [
        ("HTTPS_PROXY", "http://proxy:3128", "https://api.example/v1", "http://proxy:3128"),
        ("https_proxy", "proxy:3128", "https://api.example/v1", "http://proxy:3128"),
        ("ALL_PROXY", "http://proxy:3128", "https://api.example/v1", "http://proxy:3128"),
        ("HTTP_PROXY", "http://proxy:3128", "https://api.example/v1", None),
        ("HTTP_PROXY", "http://u:p@proxy:3128", "http://api.example/v1", "http://u:p@proxy:3128"),
        ("HTTP_PROXY", "", "http://api.example/v1", None),
    ],
)
def test_variables_name_the_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, url: str, proxy: str | None
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv(variable, value)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize("spared", ["api.example", ".example", "*", "other, api.example:8443"])
def test_an_address_may_be_spared(monkeypatch: pytest.MonkeyPatch, spared: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", spared)
    assert proxy_for("https://api.example:8443/v1") is None


def test_a_proxy_that_does_not_speak_http_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://u:secret@proxy:1080")
    with pytest.raises(InvalidRequest, match="HTTPS_PROXY") as refused:
        proxy_for("https://api.example/v1")
    assert "secret" not in refused.value.message


async def test_calls_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        body = msgspec.json.encode(ANSWER)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        async with Upstream("http://api.example/v1", "sk-key") as model:
            assert (await model.complete(CALL)).text == "Hi"
    assert asked[0].startswith(b"POST http://api.example/v1/chat/completions HTTP/1.1\r\n")
