"""Failures of plain calls: the upstream's status, code and param in the gateway's form."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.postgres.database import Database
from tests.chat.reading import refused
from tests.conftest import StartGateway
from tests.plain.asking import ASKED, MODEL, row
from tests.running import Gateway
from tests.scripted import (
    ScriptedUpstream,
    garbage,
    html,
    redirect,
    reset,
    silence,
    status,
    text,
    truncated,
)

BODY = {"model": MODEL, "messages": ASKED}


async def post(gateway: Gateway, **options: Any) -> Any:
    return await gateway.http.post("/v1/chat/completions", json={**BODY, **options})


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("code", "error", "status_", "word"),
    [
        (400, {"code": "unsupported_value", "param": "temperature"}, 400, "unsupported_value"),
        (404, {"code": "model_not_found", "param": None}, 404, "model_not_found"),
        (413, {"code": None, "param": None}, 413, "upstream_rejected"),
        (429, {"code": "insufficient_quota", "param": None}, 429, "insufficient_quota"),
        (500, {"code": "server_error", "param": None}, 500, "server_error"),
        (504, {"code": 504, "param": None}, 504, "upstream_unavailable"),
        (401, {"code": "invalid_api_key", "param": None}, 502, "upstream_refused"),
        (403, {"code": "forbidden", "param": None}, 502, "upstream_refused"),
    ],
)
async def test_an_error_keeps_its_status_code_and_param(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    database: Database,
    streamed: bool,
    code: int,
    error: dict[str, Any],
    status_: int,
    word: str,
) -> None:
    told = {"message": "Not with upstream-key today", **error}
    upstream.script("*", status(code, headers={"retry-after": "7"}, body={"error": told}))
    answer = await post(gateway, stream=streamed, stream_options=None, temperature=9)
    refused(answer, status_, word)
    shown = answer.json()["error"]
    assert shown["param"] == (error["param"] if status_ == code else None)
    assert "upstream-key" not in answer.text
    if code < 500 and status_ == code:
        assert shown["message"] == "Not with … today"
    if code == 429:
        assert answer.headers["retry-after"] == "7"
    kept = await row(database)
    assert (kept["status"], kept["error"], kept["input_tokens"]) == (status_, word, None)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"error": "model 'x' not found"}, "model 'x' not found"),
        ({"object": "error", "message": "Too long", "code": 400}, "Too long"),
        ({"detail": "Field required"}, "Field required"),
        ([1], "rejected the request"),
    ],
)
async def test_an_error_is_read_in_other_servers_spellings(
    gateway: Gateway, upstream: ScriptedUpstream, body: Any, sentence: str
) -> None:
    upstream.script("*", status(400, body=body))
    answer = await post(gateway)
    refused(answer, 400, "upstream_rejected")
    assert sentence in answer.json()["error"]["message"]


async def test_an_error_under_status_200_is_an_error(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    report = {"error": {"message": "No credit", "code": 402}}
    for streamed in (False, True):
        upstream.script("*", Report(report))
        refused(await post(gateway, stream=streamed), 402)


class Report:
    def __init__(self, report: Any) -> None:
        self.report = report

    async def play(self, exchange: Any) -> None:
        if not exchange.call.streams:
            await exchange.json(self.report)
            return
        await exchange.open_stream()
        await exchange.event(self.report)
        await exchange.end()


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (html(), "upstream_bad_content_type"),
        (redirect("http://127.0.0.1:1/"), "upstream_redirect"),
        (truncated("Half"), "upstream_truncated"),
    ],
)
async def test_what_is_no_answer_is_502(
    gateway: Gateway, upstream: ScriptedUpstream, step: Any, code: str
) -> None:
    upstream.script("*", step)
    refused(await post(gateway), 502, code)


async def test_an_answer_that_only_the_client_can_judge_is_passed_on(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    upstream.script("*", garbage())
    answer = await post(gateway)
    assert (answer.status_code, answer.text) == (200, '{"choices": [oops')
    assert (await row(database))["counted"] is False


async def test_a_connection_that_fails_is_tried_again_and_an_answer_is_not(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.script("*", reset(), text("A title"), status(503))
    assert (await post(gateway)).status_code == 200
    refused(await post(gateway), 503, "upstream_unavailable")


async def test_an_upstream_that_is_away_is_said_so(
    start_gateway: StartGateway, database: Database
) -> None:
    gateway = await start_gateway(models=(MODEL,), openai_base_url="http://127.0.0.1:1/v1")
    refused(await post(gateway), 503, "upstream_unavailable")
    kept = await row(database)
    assert (kept["status"], kept["input_tokens"]) == (503, None)


async def test_a_call_that_takes_too_long_is_ended(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    gateway.resources.plain.total = 0.5
    upstream.script("*", silence())
    refused(await post(gateway), 504, "upstream_timeout")
    async with asyncio.timeout(20):
        await upstream.calls[0].disconnected.wait()
    assert (await row(database))["status"] == 504


async def test_no_call_is_made_that_no_row_can_be_kept_of(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    upstream.script("*", text("A title"))
    assert (await post(gateway)).status_code == 200
    await database.execute("ALTER TABLE plain_call RENAME TO away")
    assert (await post(gateway)).status_code >= 500
    await database.execute("ALTER TABLE away RENAME TO plain_call")
    assert len(upstream.calls) == 1


async def test_a_row_that_can_not_be_completed_is_logged_and_the_answer_sent(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hold = asyncio.Event()
    upstream.script("*", text("A title", usage=(31, 4), hold=hold))
    asking = asyncio.create_task(post(gateway))
    await upstream.arrived()
    # The row can't be completed, as by a database that refuses to write.
    await database.execute("ALTER TABLE plain_call ADD CHECK (finished_at IS NULL)")
    hold.set()
    assert (await asking).status_code == 200
    async with asyncio.timeout(10):
        while not (lost := [r for r in caplog.records if "could not be completed" in r.message]):
            await asyncio.sleep(0.02)
    assert lost[0].ending.tokens.input == 31  # type: ignore[attr-defined]
