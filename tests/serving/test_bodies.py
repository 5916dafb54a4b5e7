"""Bodies as clients send them: packed, with a BOM, too large, refused while they are sent."""

from __future__ import annotations

import codecs
import gzip
import json
import socket
import zlib
from asyncio import to_thread

import httpx
import pytest

from gateway.errors import InvalidRequest
from gateway.routes.http.encodings import STEP, Unpacking
from gateway.routes.http.errors import MAX_BODY
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say
from tests.team import make_team

KEY = {"user": "ann", "scopes": ["chat"]}


def raw_deflate(body: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(body) + engine.flush()


PACKED = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("identity", bytes),
    ("", bytes),
]


async def packed(
    gateway: Gateway, path: str, body: bytes, encoding: str = "gzip", **headers: str
) -> httpx.Response:
    told = {"content-encoding": encoding, "content-type": "application/json", **headers}
    return await gateway.http.post(path, content=body, headers=told)


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
async def test_a_packed_body_is_read(gateway: Gateway, encoding: str, pack: object) -> None:
    assert callable(pack)
    for mark in (b"", codecs.BOM_UTF8):
        body = pack(mark + json.dumps(KEY).encode())
        assert (await packed(gateway, "/api/keys", body, encoding)).status_code == 201


async def test_it_is_read_at_every_door(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Heard"))
    chat = f"/api/agency/{team.id}/chat/completions"
    asked = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    owner = {"owner": {"type": "user", "identifier": "root"}}
    form = gateway.http.build_request(
        "POST", "/v1/files", files={"file": ("a.txt", b"words")}, data={"purpose": "user_data"}
    )
    doors = [
        (chat, asked, {}),
        ("/rpc/2025-02-12/list_conversations_with_interactions", json.dumps(owner).encode(), {}),
        ("/v1/files", form.read(), {"content-type": form.headers["content-type"]}),
    ]
    for path, body, headers in doors:
        answer = await packed(gateway, path, gzip.compress(body), **headers)
        assert answer.status_code == 200, answer.text
        if headers == {}:
            marked = await gateway.http.post(path, content=codecs.BOM_UTF8 + body)
            assert marked.status_code == 200, marked.text


async def test_an_idempotency_key_stands_for_the_unpacked_body(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Once"))
    path = f"/api/agency/{team.id}/chat/completions"
    asked = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    key = {"idempotency-key": "one"}
    answers = [
        await gateway.http.post(path, content=asked, headers=key),
        await packed(gateway, path, gzip.compress(asked), **key),
        await packed(gateway, path, zlib.compress(asked), "deflate", **key),
    ]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(upstream.calls) == 1


async def test_another_encoding_is_415_to_a_caller(gateway: Gateway) -> None:
    for encoding in ("br", "zstd", "gzip, gzip", "compress", "nonsense"):
        answer = await packed(gateway, "/api/keys", b"{}", encoding)
        assert answer.status_code == 415, answer.text
        assert answer.json()["error"]["code"] == "unsupported_content_encoding"
        assert answer.headers["accept-encoding"] == "gzip, deflate"
        stranger = await packed(gateway, "/api/keys", b"{}", encoding, authorization="Bearer no")
        assert stranger.status_code == 401


@pytest.mark.parametrize(
    ("encoding", "body", "says"),
    [
        ("gzip", json.dumps(KEY).encode(), "not encoded as"),
        ("deflate", json.dumps(KEY).encode(), "not encoded as"),
        ("gzip", gzip.compress(json.dumps(KEY).encode(), mtime=0)[:-9], "ends before"),
        ("gzip", gzip.compress(json.dumps(KEY).encode(), mtime=0) * 2, "goes on after"),
        ("deflate", b"x", "ends before"),
    ],
)
async def test_what_is_not_packed_as_it_says_is_400(
    gateway: Gateway, encoding: str, body: bytes, says: str
) -> None:
    answer = await packed(gateway, "/api/keys", body, encoding)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


async def test_a_bomb_is_413(gateway: Gateway) -> None:
    bomb = gzip.compress(b" " * (50 * MAX_BODY), compresslevel=1)
    assert len(bomb) < MAX_BODY
    answer = await packed(gateway, "/api/keys", bomb)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_no_step_gives_more_than_a_step() -> None:
    unpacking = Unpacking(b"gzip")
    unpacking.feed(gzip.compress(bytes(10 * STEP)))
    sizes = []
    while unpacking.pending:
        sizes.append(len(unpacking.step()))
    assert sum(sizes) == 10 * STEP
    assert max(sizes) <= STEP
    assert unpacking.ended


def test_a_body_may_come_in_single_bytes() -> None:
    for encoding, pack in ((b"gzip", gzip.compress), (b"deflate", zlib.compress)):
        unpacking, text = Unpacking(encoding), b""
        for byte in pack(b"some words"):
            unpacking.feed(bytes((byte,)))
            while unpacking.pending:
                text += unpacking.step()
        assert (text, unpacking.ended) == (b"some words", True)
    unpacking.feed(b"more")
    with pytest.raises(InvalidRequest):
        unpacking.step()


@pytest.mark.parametrize(
    ("path", "size", "authorization", "status"),
    [
        ("/v1/files", MAX_BODY // 2, "Bearer nonsense", 401),
        ("/v1/chat/completions", MAX_BODY // 2, "", 401),
        ("/api/keys", MAX_BODY + 1, "Bearer agw_root_test", 413),
        ("/v1/nowhere", MAX_BODY // 2, "Bearer agw_root_test", 404),
        ("/api/me", MAX_BODY // 2, "Bearer agw_root_test", 405),
        ("/api/keys", 3 * MAX_BODY, "Bearer nonsense", 401),
    ],
)
async def test_a_client_that_reads_only_when_it_has_sent_all_reads_the_refusal(
    gateway: Gateway, path: str, size: int, authorization: str, status: int
) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: {authorization}\r\n"
        f"content-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    )
    answer = await to_thread(_sent, gateway.base_url, head.encode(), size)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer


def _sent(base_url: str, head: bytes, size: int) -> bytes:
    host, port = base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head)
        for _ in range(size // 65536):
            connection.sendall(b" " * 65536)
        connection.sendall(b" " * (size % 65536))
        return connection.recv(4096)


async def test_who_asks_before_sending_is_refused_before_sending(gateway: Gateway) -> None:
    head = (
        "POST /v1/files HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer nonsense\r\n"
        "expect: 100-continue\r\ncontent-length: 1000000\r\n\r\n"
    )
    answer = await to_thread(_sent, gateway.base_url, head.encode(), 0)
    assert answer.startswith(b"HTTP/1.1 401 ")
