"""The headers that let a page in, as the Fetch standard wants them."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

import gateway as package
from gateway.errors import InvalidRequest
from gateway.routes.http.cors import EXPOSED
from gateway.settings import read
from tests.conftest import StartGateway
from tests.running import Gateway

PAGE = "https://app.example.com"
OTHER = "https://other.example.com"
DOORS = (
    "/v1/chat/completions",
    "/rpc/2025-02-12/create_conversation",
    "/streams/conv_1",
    "/nowhere",
)
LETTERS = re.compile(r"\bx-[a-z]+(?:-[a-z]+)*\b")
READ_NOT_SENT = {
    "x-api-key",
    "x-gateway-hops",  # to other gateways
    "x-gzip",
    "x-should-retry-count",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
}
SENT_TO_PROXIES = {"x-accel-buffering", "x-content-type-options"}


def granted(answer: httpx.Response) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k.startswith("access-control-")}


async def preflight(gateway: Gateway, path: str, origin: str, **more: str) -> httpx.Response:
    asked = {f"access-control-request-{name}": value for name, value in more.items()}
    headers = {"origin": origin, "access-control-request-method": "POST", **asked}
    return await gateway.anonymous.options(path, headers=headers)


async def test_without_the_setting_no_page_is_let_in(gateway: Gateway) -> None:
    answer = await preflight(gateway, DOORS[0], PAGE)
    assert (answer.status_code, granted(answer)) == (401, {})
    answer = await gateway.http.get("/api/me", headers={"origin": PAGE})
    assert granted(answer) == {}
    assert "vary" not in answer.headers


@pytest.mark.parametrize("path", DOORS)
async def test_a_preflight_needs_no_key_and_no_route(
    start_gateway: StartGateway, path: str
) -> None:
    gateway = await start_gateway(cors_origins=(PAGE, OTHER))
    wanted = "authorization,content-type,x-stainless-os,idempotency-key,last-event-id"
    answer = await preflight(gateway, path, PAGE, headers=wanted)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == wanted
    methods = set(answer.headers["access-control-allow-methods"].split(", "))
    assert methods == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
    assert "Origin" in answer.headers["vary"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", PAGE + ".evil.com"])
async def test_another_origin_is_granted_nothing(start_gateway: StartGateway, origin: str) -> None:
    gateway = await start_gateway(cors_origins=(PAGE,))
    for answer in (
        await preflight(gateway, DOORS[0], origin, headers="authorization"),
        await gateway.http.get("/api/me", headers={"origin": origin}),
        await gateway.http.get("/api/me"),
    ):
        assert granted(answer) == {}
        assert "Origin" in answer.headers["vary"]  # a cache must not give it to those who may


@pytest.mark.parametrize("origins", [(PAGE,), ("*",)])
async def test_every_answer_says_what_a_page_may_read_of_it(
    start_gateway: StartGateway, origins: tuple[str, ...]
) -> None:
    gateway = await start_gateway(cors_origins=origins)
    from_page = {"origin": PAGE}
    wrong = {**from_page, "authorization": "Bearer nonsense"}
    answers = [
        await gateway.http.get("/api/me", headers=from_page),
        await gateway.http.get("/v1/nothing", headers=from_page),
        await gateway.http.put("/api/keys", headers=from_page),
        await gateway.http.post("/api/keys", headers=from_page, content=b"{nonsense"),
        await gateway.anonymous.post("/v1/chat/completions", headers=wrong, json={}),
        await gateway.anonymous.get("/streams/conv_1?token=nonsense", headers=from_page),
        await gateway.anonymous.get("/health/live", headers=from_page),
    ]
    assert [one.status_code for one in answers] == [200, 404, 405, 400, 401, 401, 200]
    for answer in answers:
        allowed = granted(answer)
        assert allowed.pop("access-control-allow-origin") == ("*" if origins == ("*",) else PAGE)
        exposed = allowed.pop("access-control-expose-headers")
        assert set(exposed.split(", ")) == set(EXPOSED)
        assert not allowed  # credentials least of all
        assert answer.headers.get("vary") == (None if origins == ("*",) else "Origin")


async def test_options_that_is_no_preflight_is_a_request_like_others(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(cors_origins=("*",))
    answer = await gateway.anonymous.options("/api/me", headers={"origin": PAGE})
    assert answer.status_code == 401


async def test_a_private_network_is_opened_to_named_origins_alone(
    start_gateway: StartGateway,
) -> None:
    for origins, opened in (((PAGE,), "true"), (("*",), None), ((OTHER,), None)):
        gateway = await start_gateway(cors_origins=origins)
        answer = await preflight(gateway, DOORS[0], PAGE, **{"private-network": "true"})
        assert answer.headers.get("access-control-allow-private-network") == opened
        answer = await preflight(gateway, DOORS[0], PAGE)
        assert "access-control-allow-private-network" not in answer.headers


def test_a_page_may_read_every_header_that_the_gateway_sends() -> None:
    """Finds names in the source: with an origin that is named, `x-gateway-*` covers nothing."""
    source = Path(package.__file__).parent
    named = {
        name for file in source.rglob("*.py") for name in _headers(file.read_text("utf-8").lower())
    }
    assert "x-gateway-overhead-ms" in named  # or nothing was looked for
    assert named - READ_NOT_SENT - SENT_TO_PROXIES <= set(EXPOSED)


def _headers(source: str) -> set[str]:
    """What stands in quotes as a whole."""
    return {name for name in LETTERS.findall(source) if f'"{name}"' in source}


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (" https://App.example.com , http://localhost:3000 ", (PAGE, "http://localhost:3000")),
        ("https://app.example.com:443,http://[::1]:80", (PAGE, "http://[::1]")),
        (
            "chrome-extension://abcdef,app://obsidian.md",
            ("chrome-extension://abcdef", "app://obsidian.md"),
        ),
    ],
)
def test_origins_are_spelled_as_browsers_spell_them(value: str, origins: tuple[str, ...]) -> None:
    assert read({"GATEWAY_CORS_ORIGINS": value}).cors_origins == origins


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("*,https://app.example.com", "alone"),
        ("null", "can't name null"),
        ("https://app.example.com/", "without a path"),
        ("https://app.example.com/chat", "without a path"),
        ("https://*.example.com", "wildcards"),
        ("app.example.com", "https://"),
        ("https://app.example.com:99999", "'https://app.example.com:99999'"),
        ("https://user@app.example.com", "origins"),
        ("https://bücher.example", "origins"),
        ("https://a.example,,https://b.example", "''"),
    ],
)
def test_what_no_browser_sends_is_refused_at_start(value: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match="GATEWAY_CORS_ORIGINS") as refused:
        read({"GATEWAY_CORS_ORIGINS": value})
    assert says in refused.value.message
