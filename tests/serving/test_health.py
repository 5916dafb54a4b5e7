"""Probes are answered without a key, and say which resource fails."""

from __future__ import annotations

import asyncio
import socket
import time

from tests.conftest import StartGateway
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, silence, status


async def test_a_living_process_says_so(gateway: Gateway) -> None:
    answer = await gateway.anonymous.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_ready_names_every_resource(gateway: Gateway) -> None:
    answer = await gateway.anonymous.get("/health/ready")
    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "ok"
    modes = {name: item["mode"] for name, item in body["resources"].items()}
    assert modes == {"postgres": "postgres", "upstream": "openai"}


async def test_ready_says_plainly_that_it_rehearses(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(openai_api_key=None, openai_base_url=None)
    upstream = (await gateway.anonymous.get("/health/ready")).json()["resources"]["upstream"]
    assert (upstream["status"], upstream["mode"]) == ("ok", "rehearsal")


async def test_what_is_away_is_named(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.models = status(401)
    await gateway.resources.database.close_connection_pool()
    answer = await gateway.anonymous.get("/health/ready")
    assert answer.status_code == 503
    resources = answer.json()["resources"]
    assert {name: item["status"] for name, item in resources.items()} == {
        "postgres": "failed",
        "upstream": "failed",
    }
    assert all(item["error"] for item in resources.values())
    assert (await gateway.anonymous.get("/health/live")).status_code == 200


async def test_a_silent_resource_is_not_waited_for(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.models = silence()
    began = time.monotonic()
    answer = await gateway.anonymous.get("/health/ready")
    assert 1.5 < time.monotonic() - began < 15
    assert answer.json()["resources"]["upstream"]["error"] == "no answer within 2 s"


async def test_a_crowd_of_probes_asks_the_upstream_once(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    asked = 0

    class Counting:
        async def play(self, exchange: object) -> None:
            nonlocal asked
            asked += 1
            await status(200, body={"object": "list", "data": []}).play(exchange)  # type: ignore[arg-type]

    upstream.models = Counting()
    await asyncio.gather(*(gateway.anonymous.get("/health/ready") for _ in range(20)))
    assert asked == 1


async def test_redis_and_chroma_count_only_if_they_are_set(start_gateway: StartGateway) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        gateway = await start_gateway(
            redis_url=f"redis://127.0.0.1:{port}", chroma_url=f"http://127.0.0.1:{port}"
        )
        answer = await gateway.anonymous.get("/health/ready", timeout=15)
    resources = answer.json()["resources"]
    failed = {name for name, item in resources.items() if item["status"] == "failed"}
    assert (answer.status_code, failed) == (503, {"redis", "chroma"})


async def test_a_chroma_that_is_away_is_named_and_the_rest_serves(
    start_gateway: StartGateway,
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gateway = await start_gateway(chroma_url=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        answer = await gateway.anonymous.get("/health/ready", timeout=15)
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    chroma = answer.json()["resources"]["chroma"]
    assert (chroma["status"], chroma["mode"]) == ("failed", "remote")


async def test_the_openapi_document_describes_the_routes(gateway: Gateway) -> None:
    document = (await gateway.anonymous.get("/schema/openapi.json")).json()
    assert document["info"]["title"] == "Agency gateway"
    assert {"/health/ready", "/api/keys", "/v1/chat/completions"} <= set(document["paths"])
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
