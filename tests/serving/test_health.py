"""Probes are answered without a key, and say which resource fails."""

from __future__ import annotations

from tests.running import Gateway


async def test_a_living_process_says_so(gateway: Gateway) -> None:
    answer = await gateway.anonymous.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_ready_names_every_resource(gateway: Gateway) -> None:
    answer = await gateway.anonymous.get("/health/ready")
    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "ok"
    assert {name: item["mode"] for name, item in body["resources"].items()} == {
        "postgres": "postgres",
        "upstream": "openai",
    }
