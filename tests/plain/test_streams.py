"""Streams of plain models: passed on event by event, counted beside it, and ended in order."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import APIError, BadRequestError

from gateway.postgres.database import Database
from tests.conftest import StartGateway
from tests.plain.asking import ASKED, MODEL, ask, row, rows
from tests.running import Gateway
from tests.scripted import (
    Call,
    Exchange,
    ScriptedUpstream,
    error_in_stream,
    raw,
    reset,
    silence,
    status,
    text,
    truncated,
)
from tests.scripted.exchange import delta

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def event(body: Any) -> bytes:
    return b"data: %s\n\n" % json.dumps(body).encode()


async def heard(answer: Any, said: list[str] | None = None) -> list[str]:
    """The words of a stream; `said` has them also if it ends with an error."""
    said = [] if said is None else said
    async for chunk in answer.parse():
        said += [choice.delta.content or "" for choice in chunk.choices]
    return said


async def bytes_of(gateway: Gateway, **options: Any) -> bytes:
    body = {"model": MODEL, "messages": ASKED, "stream": True, **options}
    return (await gateway.http.post("/v1/chat/completions", json=body)).content


async def test_a_stream_comes_as_the_upstream_wrote_it(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """Whatever its line ends, comments and other fields."""
    written = (
        b": hello\r\n\r\n"
        b"id: 1\r\nevent: chunk\r\n"
        b'data: {"choices": [{"index": 0, "delta": {"content": "A "}}]}\r\n\r\n'
        b'data: {"choices": [{"index": 0,\ndata:  "delta": {"content": "b"}}], "n": 1e999}\n\n'
        b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )
    pieces = [written[at : at + 11] for at in range(0, len(written), 11)]
    upstream.script("*", raw(*pieces))
    assert await bytes_of(gateway) == written
    kept = await row(database)
    assert (kept["status"], kept["streamed"], kept["counted"]) == (200, True, False)
    assert (kept["input_tokens"], kept["output_tokens"]) == (4, 1), "estimates: 13 and 3 characters"


async def test_words_pass_before_the_stream_ends(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    hold = asyncio.Event()
    upstream.script("*", text("one two", chunk=4, hold=hold, hold_after=1))
    stream = (await ask(gateway, stream=True)).parse()
    said = ""
    async with asyncio.timeout(20):
        while said != "one ":
            said += (await anext(stream)).choices[0].delta.content or ""
    hold.set()
    assert [chunk async for chunk in stream]


@pytest.mark.parametrize("asked", [None, {"include_usage": False}, {"include_obfuscation": False}])
async def test_usage_that_only_the_gateway_wants_is_taken_out_again(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database, asked: Any
) -> None:
    upstream.script("*", text("A title", usage=(31, 4)))
    got = await bytes_of(gateway, **({} if asked is None else {"stream_options": asked}))
    assert upstream.calls[0].body["stream_options"] == {**(asked or {}), "include_usage": True}
    assert b"prompt_tokens" not in got
    assert got.endswith(b"data: [DONE]\n\n")
    kept = await row(database)
    assert (kept["input_tokens"], kept["output_tokens"], kept["counted"]) == (31, 4, True)


async def test_usage_that_the_client_wants_comes_through(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    upstream.script("*", text("A title", usage=(31, 4)))
    answer = await ask(gateway, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in answer.parse()]
    assert chunks[-1].usage.prompt_tokens == 31
    assert (await row(database))["output_tokens"] == 4


async def test_usage_beside_a_choice_stays(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """So that no chunk with words is ever taken out."""
    last = {**delta("stop", content="!"), "usage": USAGE}
    upstream.script("*", raw(event(last) + b"data: [DONE]\n\n"))
    assert b'"content": "!"' in await bytes_of(gateway)
    assert (await row(database))["input_tokens"] == 7


async def test_an_upstream_without_stream_options_is_asked_without(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    def picky(call: Call) -> Any:
        if "stream_options" in call.body:
            detail = "Extra inputs are not permitted: stream_options"
            return status(422, body={"detail": detail})
        return text("A title", usage=None)

    upstream.always("*", picky)
    for _ in range(2):
        assert "".join(await heard(await ask(gateway, stream=True))) == "A title"
    assert ["stream_options" in call.body for call in upstream.calls] == [True, False, False]
    assert [kept["counted"] for kept in await rows(database, 2)] == [False, False]


async def test_a_refusal_of_something_else_is_not_tried_again(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    error = {"message": "Too long", "param": "messages", "code": "context_length_exceeded"}
    upstream.script("*", status(400, body={"error": error}))
    with pytest.raises(BadRequestError, match="Too long") as raised:
        await ask(gateway, stream=True)
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize(
    ("step", "code", "words"),
    [
        (truncated("Half"), "upstream_truncated", "Half"),
        (truncated("Half", cut=True), "upstream_truncated", "Half"),
        (reset("Half"), "upstream_truncated", "Half"),
        (error_in_stream("Half", code="overloaded"), "overloaded", "Half"),
    ],
    ids=["ends", "is cut", "is reset", "reports"],
)
async def test_a_failure_after_the_first_words_ends_the_stream_with_an_error(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    database: Database,
    step: Any,
    code: str,
    words: str,
) -> None:
    upstream.script("*", step)
    said: list[str] = []
    with pytest.raises(APIError) as raised:
        await heard(await ask(gateway, stream=True), said)
    assert (raised.value.code, "".join(said)) == (code, words)
    kept = await row(database)
    assert (kept["status"], kept["error"]) == (502, code)
    assert (kept["output_tokens"], kept["counted"]) == (1, False), "it is paid for all the same"


async def test_a_connection_that_breaks_after_the_answers_end_costs_nothing(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    class Breaks:
        async def play(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(delta("stop", content="Whole"))
            await asyncio.sleep(0.05)
            exchange.hang_up(reset=True)

    upstream.script("*", Breaks())
    assert await heard(await ask(gateway, stream=True)) == ["Whole"]
    assert (await row(database))["status"] == 200


async def test_a_client_that_leaves_closes_the_upstreams_call(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    hold = asyncio.Event()
    upstream.script("*", text("one two three", chunk=4, hold=hold, hold_after=2))
    answer = await ask(gateway, stream=True)
    async with answer.parse() as stream:
        await anext(stream)
        await anext(stream)
    async with asyncio.timeout(20):
        await upstream.calls[0].disconnected.wait()
    kept = await row(database)
    assert (kept["status"], kept["counted"]) == (499, False)
    assert kept["input_tokens"] == 4


async def test_a_client_that_leaves_before_the_first_word_closes_it_too(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    for streamed in (True, False):
        upstream.script("*", silence())
        asking = asyncio.create_task(ask(gateway, stream=streamed))
        call = await upstream.arrived(count=1 + (not streamed))
        asking.cancel()
        async with asyncio.timeout(20):
            await call.disconnected.wait()
    assert [kept["status"] for kept in await rows(database, 2)] == [499, 499]


async def test_a_client_that_leaves_at_the_finish_reason_is_still_counted(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    class Late:
        async def play(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(delta("stop", content="Whole"))
            await left.wait()
            await exchange.event({**delta(), "choices": [], "usage": USAGE})
            await exchange.send(b"data: [DONE]\n\n")
            await exchange.end()

    left = asyncio.Event()
    upstream.script("*", Late())
    async with (await ask(gateway, stream=True)).parse() as stream:
        assert (await anext(stream)).choices[0].finish_reason == "stop"
    await asyncio.sleep(0.3)
    left.set()
    kept = await row(database)
    assert (kept["status"], kept["counted"], kept["input_tokens"]) == (200, True, 7)


async def test_a_connection_serves_many_streams(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    upstream.always("*", text("A title"))
    for count in range(1, 4):
        await heard(await ask(gateway, stream=True))
        await rows(database, count)
    assert upstream.connections == 1


async def test_a_silent_stream_is_kept_open_by_comments(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(models=(MODEL,), ping=0.2)
    hold = asyncio.Event()
    upstream.script("*", text("A title", hold=hold))
    body = {"model": MODEL, "messages": ASKED, "stream": True}
    async with gateway.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith(":")
        hold.set()
        assert [line async for line in lines if line.startswith("data: ")][-1] == "data: [DONE]"
    assert len(upstream.calls) == 1, "the call goes on, it is not made anew"


async def test_a_process_that_ends_says_so_on_its_streams(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    gateway.resources.plain.last = 0.1
    upstream.script("*", text("one two", chunk=4, hold=asyncio.Event(), hold_after=1))
    said: list[str] = []
    reading = asyncio.create_task(heard(await ask(gateway, stream=True), said))
    async with asyncio.timeout(10):
        while "one " not in said:
            await asyncio.sleep(0.01)
    gateway.resources.drain.begin()
    with pytest.raises(APIError) as raised:
        await reading
    assert ("".join(said), raised.value.code) == ("one ", "unavailable")
    assert (await row(database))["status"] == 503
