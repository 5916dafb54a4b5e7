"""The client of the upstream: what it asks, what it understands, and what it does not believe."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from gateway.agency.model import Completion, ModelCall, Piece, Text, Usage
from gateway.agency.models.upstream.client import Upstream
from gateway.agency.speech import envelope
from gateway.errors import InvalidRequest, UpstreamError
from tests.scripted import (
    ScriptedUpstream,
    Step,
    completion,
    delta,
    endless_line,
    error_in_stream,
    garbage,
    html,
    raw,
    redirect,
    reset,
    say,
    silence,
    status,
    text,
    truncated,
)

KEY = "sk-secret-Key123"
SECRET = "the prompt nobody may see"
MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": SECRET}]
CALL = ModelCall("gpt", MESSAGES, timeout=10)
ASKING = ModelCall("gpt", MESSAGES, allowed=(0, 143), timeout=10)


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def model(scripted: ScriptedUpstream) -> AsyncIterator[Upstream]:
    async with Upstream(scripted.base_url, KEY, idle=0.5, backoff=0.01) as model:
        yield model


class Heard:
    """A listener that keeps what it is told, read by read."""

    def __init__(self, enough_after: int | None = None) -> None:
        self.reads: list[list[str]] = []
        self.enough_after = enough_after

    def __call__(self, deltas: Sequence[Piece]) -> bool:
        self.reads.append([piece.text for piece in deltas])
        return self.enough_after is None or len(self.reads) < self.enough_after

    @property
    def text(self) -> str:
        return "".join(delta for deltas in self.reads for delta in deltas)


async def streamed(model: Upstream, call: ModelCall = CALL) -> Completion:
    return await model.complete(call, Heard())


async def whole(model: Upstream, call: ModelCall = CALL) -> Completion:
    return await model.complete(call)


both = pytest.mark.parametrize("run", [whole, streamed])


async def error_of(model: Upstream, run: Any, call: ModelCall = CALL) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await run(model, call)
    error = caught.value
    shown = f"{error} {error!r} {error.message} {error.__cause__}"
    assert KEY not in shown
    assert SECRET not in shown
    return error


# ------------------------------------------------------------------------------------- what it asks


@both
async def test_the_request_is_an_openai_one(
    scripted: ScriptedUpstream, model: Upstream, run: Any
) -> None:
    scripted.script("*", text("Hi"))
    await run(model)
    (call,) = scripted.calls
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.headers["content-type"] == "application/json"
    stream = {"stream": True, "stream_options": {"include_usage": True}} if call.streams else {}
    assert call.body == {"model": "gpt", "messages": MESSAGES, **stream}


async def test_a_local_upstream_needs_no_key(scripted: ScriptedUpstream) -> None:
    scripted.script("*", text("Hi"))
    async with Upstream(scripted.base_url + "/") as model:
        await model.complete(CALL)
    assert "authorization" not in scripted.calls[0].headers


async def test_parameters_are_passed_on_but_override_nothing(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    scripted.script("*", text("Hi"))
    mine = {"temperature": 0.5, "seed": 7, "logit_bias": {"50256": -100}}
    reserved = dict.fromkeys(
        ("model", "messages", "stream", "stream_options", "response_format", "n"), 3
    )
    await model.complete(ModelCall("gpt", MESSAGES, {**mine, **reserved}))
    assert scripted.calls[0].body == {"model": "gpt", "messages": MESSAGES, **mine}


@both
async def test_envelopes_are_asked_for_by_schema(
    scripted: ScriptedUpstream, model: Upstream, run: Any
) -> None:
    scripted.script("*", say(0, "Hi"))
    await run(model, ASKING)
    assert scripted.calls[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "envelope", "strict": True, "schema": envelope.schema((0, 143))},
    }


def formats(scripted: ScriptedUpstream) -> list[str | None]:
    return [call.body.get("response_format", {}).get("type") for call in scripted.calls]


@both
@pytest.mark.parametrize("code", [400, 422])
@pytest.mark.parametrize(
    ("refusals", "last"), [(1, "json_object"), (2, None)], ids=["json_object", "none"]
)
async def test_a_refused_format_falls_back_and_is_remembered(
    scripted: ScriptedUpstream,
    model: Upstream,
    run: Any,
    code: int,
    refusals: int,
    last: str | None,
) -> None:
    scripted.script("*", *[status(code)] * refusals, say(0, "Hi"), say(0, "Again"), say(0, "Else"))
    await run(model, ASKING)
    await run(model, ASKING)
    await run(model, ModelCall("other", MESSAGES, allowed=(0,)))
    ladder = ["json_schema", "json_object", None][: refusals + 1]
    assert formats(scripted) == [*ladder, last, "json_schema"]


@both
async def test_what_is_refused_in_every_format_is_an_error_and_not_remembered(
    scripted: ScriptedUpstream, model: Upstream, run: Any
) -> None:
    body = {"error": {"message": SECRET, "type": "x", "code": "invalid_json_schema"}}
    scripted.script("*", *[status(400, body=body)] * 3, say(0, "Hi"))
    error = await error_of(model, run, ASKING)
    assert (error.status, error.code, error.transient) == (502, "upstream_rejected", False)
    assert "HTTP 400, invalid_json_schema" in error.message
    await run(model, ASKING)
    assert formats(scripted) == ["json_schema", "json_object", None, "json_schema"]


@both
async def test_a_prompt_of_megabytes_is_sent(
    scripted: ScriptedUpstream, model: Upstream, run: Any
) -> None:
    scripted.script("*", status(503), text("Long!"))
    messages = [{"role": "user", "content": "ä" * (2 << 20)}]
    assert (await run(model, ModelCall("gpt", messages))).text == "Long!"
    assert scripted.calls[-1].messages == messages


# ------------------------------------------------------------------------------ what it understands


def events(*bodies: Any) -> list[bytes]:
    return [b"data: %s\n\n" % json.dumps(body, ensure_ascii=False).encode() for body in bodies]


STREAM = b"".join(
    [
        *events(delta(role="assistant"), delta(content="Grüße"), delta(content=", 😀!")),
        *events(
            delta("stop"), {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
        ),
        b"data: [DONE]\n\n",
    ]
)
ODD_STREAMS = {
    "plain": STREAM,
    "CRLF": STREAM.replace(b"\n", b"\r\n"),
    "CR": STREAM.replace(b"\n", b"\r"),
    "heartbeats": b"data:\n\ndata: \n\n" + STREAM.replace(b"\n\n", b"\n\ndata:\n\n"),
    "no space": STREAM.replace(b"data: ", b"data:"),
    "BOM": b"\xef\xbb\xbf" + STREAM,
    "comments": b": ping\n\n" + STREAM.replace(b"\n\n", b"\n\n: ping\n\n"),
    "other fields": STREAM.replace(b"data: {", b"event: chunk\nid: 7\nretry: 5\nfoo\ndata: {"),
    "several lines": STREAM.replace(b'"choices"', b'\ndata: "choices"'),
    "more blank lines": STREAM.replace(b"\n\n", b"\n\n\n\n"),
    "unknown": STREAM.replace(b'"choices"', b'"x": {"y": [1, null]}, "choices"'),
    "null content": b"".join(events(delta(content=None, tool_calls=None))) + STREAM,
    "null choices": b"".join(events({"choices": None, "error": None, "usage": None})) + STREAM,
    "empty choices": b"".join(events({"choices": [], "prompt_filter_results": []})) + STREAM,
    "empty finish reason": STREAM.replace(b'"finish_reason": null', b'"finish_reason": ""'),
    "another choice": b"".join(
        events({"choices": [{"index": 1, "delta": {"content": "No!"}, "finish_reason": None}]})
    )
    + STREAM,
    "no DONE": STREAM.removesuffix(b"data: [DONE]\n\n"),
    "usage, then none": STREAM.replace(
        b"data: [DONE]", b'data: {"choices": [], "usage": {}}\n\ndata: [DONE]'
    ),
    "usage with the finish": STREAM.replace(b'"stop"}]}\n\ndata: {"choices": [], ', b'"stop"}], '),
}


@pytest.mark.parametrize("body", ODD_STREAMS.values(), ids=ODD_STREAMS)
async def test_a_stream_is_understood_however_it_is_written(
    scripted: ScriptedUpstream, model: Upstream, body: bytes
) -> None:
    scripted.script("*", raw(body))
    heard = Heard()
    completion = await model.complete(CALL, heard)
    assert completion == Completion((Text("Grüße, 😀!"),), "stop", Usage(9, 4))
    assert heard.reads == [["Grüße", ", 😀!"]], "all that one read brings comes as one list"


async def test_a_stream_may_come_byte_by_byte(scripted: ScriptedUpstream, model: Upstream) -> None:
    body = ODD_STREAMS["CRLF"]
    scripted.script("*", raw(*(body[at : at + 1] for at in range(len(body)))))
    heard = Heard()
    completion = await model.complete(CALL, heard)
    assert heard.text == completion.text == "Grüße, 😀!"
    assert len(heard.reads) == 2


def odd(old: bytes, new: bytes) -> bytes:
    assert old in STREAM
    return STREAM.replace(old, new)


LOOSE_STREAMS = {
    "usage as floats": odd(b'"prompt_tokens": 9', b'"prompt_tokens": 9.0'),
    "usage as texts": odd(b'"completion_tokens": 4', b'"completion_tokens": "4"'),
    "usage details as a text": odd(b'"prompt_tokens"', b'"details": "none", "prompt_tokens"'),
    "index as a text": odd(b'"index": 0', b'"index": "0"'),
    "index as null": odd(b'"index": 0', b'"index": null'),
    "numeric finish reason": odd(b'"finish_reason": "stop"', b'"finish_reason": 1'),
    "choices of null": b"".join(events({"choices": [None]})) + STREAM,
    "choices as a text": b"".join(events({"choices": ""})) + STREAM,
    "delta as an empty text": b"".join(events({"choices": [{"delta": ""}]})) + STREAM,
    "delta as a list": b"".join(events({"choices": [{"delta": []}]})) + STREAM,
    "refusal as a list": odd(b'"role": "assistant"', b'"refusal": []'),
    "content as parts": odd(
        '"content": "Grüße"'.encode(),
        '"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, '
        '{"type": "text", "text": "Grüße"}]'.encode(),
    ),
    "content as a part": odd(
        '"content": "Grüße"'.encode(), '"content": {"type": "text", "text": "Grüße"}'.encode()
    ),
    "a character in two halves": odd(
        '"content": ", 😀!"'.encode(),
        b'"content": ", \\ud83d"}}]}\n\ndata: {"choices": [{"delta": {"content": "\\ude00!"',
    ),
    "no error": odd(b'"choices": []', b'"error": "", "choices": []'),
    "thoughts in fields": odd(
        b'"role": "assistant"', b'"reasoning_content": "Hm.", "reasoning": "Hm."'
    ),
}


@pytest.mark.parametrize("body", LOOSE_STREAMS.values(), ids=LOOSE_STREAMS)
async def test_one_odd_member_does_not_cost_the_answer(
    scripted: ScriptedUpstream, model: Upstream, body: bytes
) -> None:
    scripted.script("*", raw(body))
    heard = Heard()
    completion = await model.complete(CALL, heard)
    assert completion == Completion((Text("Grüße, 😀!"),), "stop", Usage(9, 4))
    assert heard.text == completion.text


async def test_usage_that_is_no_number_is_estimated(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    for usage in (b'"many"', b"[9]", b"true", b"1e999", b'"nan"', b"9" * 5000):
        scripted.script("*", raw(odd(b'"prompt_tokens": 9', b'"prompt_tokens": ' + usage)))
        assert (await streamed(model)).usage.prompt_tokens > 0


async def test_half_a_character_that_stays_alone_is_replaced(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    scripted.script("*", raw(odd('"Grüße"'.encode(), rb'"a\ud83d"')))
    assert (await streamed(model)).text == "a\ufffd, 😀!"


async def test_a_whole_answer_is_read_with_the_same_tolerance(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    body = completion("", "stop", (9, 4))
    body["choices"][0]["index"] = "0"
    body["choices"][0]["message"]["content"] = [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "Two "},
        {"text": "days."},
    ]
    body["usage"]["prompt_tokens"] = "9"
    scripted.script("*", status(200, body=body))
    assert await whole(model) == Completion((Text("Two days."),), "stop", Usage(9, 4))


async def test_what_is_odd_is_logged_once_for_each_model(
    scripted: ScriptedUpstream, model: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    body = LOOSE_STREAMS["index as a text"]
    scripted.script("*", *[raw(body)] * 3)
    with caplog.at_level("INFO", logger="gateway.agency.models"):
        await streamed(model)
        await streamed(model)
        await streamed(model, ModelCall("other", MESSAGES))
    told = [(record.__dict__["model"], record.__dict__["odd"]) for record in caplog.records]
    assert told == [("gpt", ["choices[].index"]), ("other", ["choices[].index"])]
    assert SECRET not in caplog.text


@pytest.mark.parametrize("content_type", ["Text/Event-Stream", "text/event-stream;charset=UTF-8"])
async def test_the_content_type_may_have_parameters(
    scripted: ScriptedUpstream, model: Upstream, content_type: str
) -> None:
    scripted.script("*", raw(STREAM, content_type=content_type))
    assert (await streamed(model)).text == "Grüße, 😀!"


@both
@pytest.mark.parametrize(
    ("sent", "given"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "stop"),
        ("function_call", "stop"),
        ("eos", "stop"),
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("SAFETY", "content_filter"),
    ],
)
async def test_finish_reasons_are_those_that_the_engine_knows(
    scripted: ScriptedUpstream, model: Upstream, run: Any, sent: str, given: str
) -> None:
    scripted.script("*", text("Hi", finish=sent))
    assert (await run(model)).finish_reason == given


async def test_a_refusal_is_text(scripted: ScriptedUpstream, model: Upstream) -> None:
    scripted.script("*", raw(*events(delta(refusal="I "), delta(refusal="won't"), delta("stop"))))
    assert (await streamed(model)).text == "I won't"
    body = completion("", "stop", None)
    body["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "No."}
    scripted.script("*", status(200, body=body))
    assert (await whole(model)).text == "No."


async def test_nul_never_gets_further(scripted: ScriptedUpstream, model: Upstream) -> None:
    scripted.script("*", text("a\0b"))
    assert (await whole(model)).text == "a\ufffdb"


@both
async def test_the_usage_is_the_upstreams(
    scripted: ScriptedUpstream, model: Upstream, run: Any
) -> None:
    scripted.script("*", text("Hi", usage=(123, 45)))
    assert (await run(model)).usage == Usage(123, 45)


@both
@pytest.mark.parametrize("usage", [None, (-1, 5), (5, 1 << 40)])
async def test_missing_or_absurd_usage_is_estimated(
    scripted: ScriptedUpstream, model: Upstream, run: Any, usage: tuple[int, int] | None
) -> None:
    scripted.script("*", text("12345", usage=usage))
    parts = [{"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {"url": "x"}}]
    messages = [{"role": "user", "content": "12345"}, {"role": "user", "content": parts}]
    assert (await run(model, ModelCall("gpt", messages))).usage == Usage(3, 2)


async def test_an_answer_without_usage_does_not_wait_for_the_end_of_the_body(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    never = asyncio.Event()

    class Lingering:
        async def play(self, exchange: Any) -> None:
            await exchange.open_stream()
            await exchange.send(STREAM)
            await never.wait()

    scripted.script("*", Lingering())
    started = time.monotonic()
    assert (await streamed(model)).text == "Grüße, 😀!"
    assert time.monotonic() - started < 5
    await asyncio.wait_for(scripted.calls[0].disconnected.wait(), 10)


@pytest.mark.parametrize("ending", [truncated("Hi", cut=True), reset("Hi")])
async def test_a_connection_that_breaks_after_the_finish_reason_does_no_harm(
    scripted: ScriptedUpstream, model: Upstream, ending: Any
) -> None:
    class Finished:
        async def play(self, exchange: Any) -> None:
            await exchange.open_stream()
            await exchange.send(b"".join(events(delta(content="Hi"), delta("stop"))))
            await asyncio.sleep(0.05)
            exchange.hang_up(reset=isinstance(ending, reset))

    scripted.script("*", Finished())
    assert (await streamed(model)).text == "Hi"


async def test_connections_are_used_again(scripted: ScriptedUpstream, model: Upstream) -> None:
    scripted.always("*", text("Hi"))
    for run in (whole, streamed) * 5:
        await run(model)
    assert scripted.connections == 1


# ------------------------------------------------------------------------- what it does not believe


FAULTS: dict[str, tuple[Step, str, int]] = {
    "html": (html(), "upstream_bad_content_type", 502),
    "redirect": (redirect("http://127.0.0.1:1/elsewhere"), "upstream_redirect", 502),
    "garbage": (garbage(), "upstream_invalid", 502),
    "endless line": (endless_line(), "upstream_too_large", 502),
    "401": (status(401, body={"error": {"message": KEY, "code": KEY}}), "upstream_refused", 502),
    "403": (status(403), "upstream_refused", 502),
    "404": (status(404, body=SECRET), "upstream_rejected", 502),
    "400": (status(400, body=b"\xff"), "upstream_rejected", 502),
    "418": (status(418), "upstream_rejected", 502),
    "no message": (
        raw(b'{"choices": []}', content_type="application/json"),
        "upstream_invalid",
        502,
    ),
    "null": (raw(b"null", content_type="application/json"), "upstream_invalid", 502),
}


@both
@pytest.mark.parametrize(("step", "code", "http"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_a_clear_error_and_not_tried_again(
    scripted: ScriptedUpstream, model: Upstream, run: Any, step: Step, code: str, http: int
) -> None:
    scripted.script("*", step)
    error = await error_of(model, run)
    assert (error.code, error.status, error.transient) == (code, http, False)
    assert len(scripted.calls) == 1


@both
@pytest.mark.parametrize(
    ("code", "kind", "transient"),
    [
        (KEY, SECRET, False),
        ("invalid_json_schema", "invalid_request_error", False),
        (None, "server_error", True),
        ("rate_limit_exceeded", None, True),
    ],
)
async def test_an_error_under_status_200_is_an_error(
    scripted: ScriptedUpstream,
    model: Upstream,
    run: Any,
    code: str | None,
    kind: str | None,
    transient: bool,
) -> None:
    scripted.script("*", error_in_stream(message=SECRET, code=code, kind=kind))
    error = await error_of(model, run)
    assert (error.code, error.status, error.transient) == ("upstream_error", 502, transient)
    assert len(scripted.calls) == 1


@both
async def test_what_the_client_must_mend_is_told_so_also_under_status_200(
    scripted: ScriptedUpstream, model: Upstream, run: Any
) -> None:
    scripted.script("*", error_in_stream(message=SECRET, code="context_length_exceeded"))
    error = await error_of(model, run)
    assert (error.code, error.status, error.retryable) == ("context_length_exceeded", 400, False)


@both
@pytest.mark.parametrize("reason", ["error", "ERROR", "abort", "insufficient_system_resource"])
async def test_a_finish_reason_may_say_that_the_answer_broke_off(
    scripted: ScriptedUpstream, model: Upstream, run: Any, reason: str
) -> None:
    scripted.script("*", *[text("", finish=reason)] * 2, text("Hi"))
    assert (await run(model)).text == "Hi"


@both
@pytest.mark.parametrize(
    ("status_told", "code", "transient"),
    [
        (429, "upstream_rate_limited", True),
        (503, "upstream_unavailable", True),
        (401, "upstream_refused", False),
        (404, "upstream_rejected", False),
    ],
)
async def test_a_status_in_an_errors_code_means_what_it_means_elsewhere(
    scripted: ScriptedUpstream,
    model: Upstream,
    run: Any,
    status_told: int,
    code: str,
    transient: bool,
) -> None:
    step = error_in_stream(message=SECRET, code=status_told, kind=None)
    scripted.script("*", *[step] * (3 if transient else 1))
    error = await error_of(model, run)
    assert (error.code, error.transient) == (code, transient)


async def test_a_refusal_within_a_stream_is_given_way_to_unless_text_was_heard(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    told = "Unsupported parameter: 'stream_options'"
    scripted.script("*", error_in_stream(message=told, code=400), text("Hi"))
    assert (await streamed(model)).text == "Hi"
    scripted.script("*", error_in_stream("So far", message="No 'seed'", code=400))
    call = ModelCall("other", MESSAGES, {"seed": 7}, timeout=10)
    error = await error_of(model, streamed, call)
    assert error.code == "upstream_rejected"


async def test_an_error_may_stand_bare_in_a_stream(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    bare = b'data: {"object": "error", "message": "x", "type": "y", "code": 404}\n\n'
    scripted.script("*", raw(bare, b"data: [DONE]\n\n"))
    assert (await error_of(model, streamed)).code == "upstream_rejected"


async def test_json_may_come_where_a_stream_was_asked_for(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    body = json.dumps(completion("Hi", "length", None)).encode()
    scripted.script("*", raw(body, content_type="application/json"))
    heard = Heard()
    answer = await model.complete(CALL, heard)
    assert (answer.text, heard.text, answer.finish_reason) == ("Hi", "Hi", "length")


async def test_a_whole_answer_may_have_an_empty_delta_too(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    body = completion("Hi", "stop", None)
    body["choices"][0]["delta"] = {"role": "assistant", "content": ""}
    scripted.script("*", status(200, body=body))
    assert (await whole(model)).text == "Hi"


BAD_EVENTS = {
    "not JSON": (b"data: {oops\n\n", "upstream_invalid"),
    "not an object": (b"data: [1]\n\n", "upstream_invalid"),
    "not UTF-8": (b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n', "upstream_invalid"),
    "wrong type": (b'data: {"choices": [{"delta": {"content": 5}}]}\n\n', "upstream_invalid"),
    "too deep": (b"data: " + b"[" * 100_000 + b"\n\n", "upstream_invalid"),
    "error text": (b'data: {"error": "overloaded"}\n\n', "upstream_error"),
    "error object": (b'data: {"error": {"code": 5, "message": "x"}}\n\n', "upstream_error"),
    "endless line": (b"x" * (2 << 20), "upstream_too_large"),
    "long event": (b"data: %s\n" % (b"x" * 1000) * 2000, "upstream_too_large"),
}


@pytest.mark.parametrize(("event", "code"), BAD_EVENTS.values(), ids=BAD_EVENTS)
async def test_what_came_before_a_bad_event_is_still_heard(
    scripted: ScriptedUpstream, model: Upstream, event: bytes, code: str
) -> None:
    scripted.script("*", raw(*events(delta(content="So far")), event))
    heard = Heard()
    error = await error_of(model, lambda model, call: model.complete(call, heard))
    assert error.code == code
    assert heard.text == "So far"


@pytest.mark.parametrize(
    "ending",
    [
        truncated("So far"),
        truncated("So far", done=True),
        truncated("So far", cut=True),
        reset("So far"),
        text("So far", finish=None),
    ],
    ids=["end", "done", "cut", "reset", "no finish reason"],
)
async def test_a_stream_without_finish_reason_is_truncated_and_not_tried_again(
    scripted: ScriptedUpstream, model: Upstream, ending: Step
) -> None:
    scripted.script("*", ending)
    heard = Heard()
    error = await error_of(model, lambda model, call: model.complete(call, heard))
    assert (error.code, error.status, error.transient) == ("upstream_truncated", 502, True)
    assert heard.text == "So far"


async def test_a_stream_may_be_longer_than_a_body_but_its_text_may_not(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    padded = events({**delta(content="x"), "padding": "x" * 1_000_000})
    scripted.script("*", raw(*padded * 20, *events(delta("stop"))))
    assert (await streamed(model)).text == "x" * 20
    scripted.script("*", raw(*events(delta(content="x" * 1_000_000)) * 20))
    assert (await error_of(model, streamed)).code == "upstream_too_large"


@both
async def test_a_broken_http_response_is_invalid(
    scripted: ScriptedUpstream, model: Upstream, run: Any
) -> None:
    class Nonsense:
        async def play(self, exchange: Any) -> None:
            await exchange.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
            exchange.hang_up()

    scripted.script("*", Nonsense())
    assert (await error_of(model, run)).code == "upstream_invalid"


# ------------------------------------------------------------------------------------- how it waits


async def test_a_silent_stream_runs_into_the_idle_deadline(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    never = asyncio.Event()
    for step in (silence(), text("Hi there, you", hold=never, hold_after=1)):
        scripted.script("*", step)
        started = time.monotonic()
        error = await error_of(model, streamed)
        assert (error.code, error.status) == ("upstream_timeout", 504)
        assert 0.4 < time.monotonic() - started < 5
        await asyncio.wait_for(scripted.calls[-1].disconnected.wait(), 10)


async def test_comments_keep_a_stream_alive(scripted: ScriptedUpstream, model: Upstream) -> None:
    class Thinking:
        async def play(self, exchange: Any) -> None:
            await exchange.open_stream()
            for _ in range(8):
                await exchange.send(b": thinking\n\n")
                await asyncio.sleep(0.1)
            await exchange.send(STREAM)
            await exchange.end()

    scripted.script("*", Thinking())
    assert (await streamed(model)).text == "Grüße, 😀!"


async def test_a_plain_answer_may_take_longer_than_the_idle_deadline(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    scripted.script("*", text("Slow", delay=0.8))
    assert (await whole(model)).text == "Slow"


@both
@pytest.mark.parametrize("step", [silence(), text("x" * 100, pace=0.1)], ids=["silent", "slow"])
async def test_the_whole_call_has_a_deadline(
    scripted: ScriptedUpstream, model: Upstream, run: Any, step: Step
) -> None:
    scripted.script("*", step if run is streamed else silence())
    started = time.monotonic()
    error = await error_of(model, run, ModelCall("gpt", MESSAGES, timeout=0.3))
    assert (error.code, error.status, error.transient) == ("upstream_timeout", 504, True)
    assert 0.2 < time.monotonic() - started < 5
    await asyncio.wait_for(scripted.calls[0].disconnected.wait(), 10)


async def test_a_call_without_time_left_is_not_made(model: Upstream) -> None:
    error = await error_of(model, whole, ModelCall("gpt", MESSAGES, timeout=0))
    assert error.code == "upstream_timeout"


# ------------------------------------------------------------------------------- how it tries again


RETRIED: dict[str, tuple[Step, str, int]] = {
    "429": (status(429), "upstream_rate_limited", 429),
    "408": (status(408), "upstream_unavailable", 503),
    "500": (status(500), "upstream_unavailable", 503),
    "502": (status(502), "upstream_unavailable", 503),
    "503": (status(503), "upstream_unavailable", 503),
    "504": (status(504), "upstream_unavailable", 503),
    "reset": (reset(), "upstream_unavailable", 503),
    "truncated": (truncated(), "upstream_truncated", 502),
}


@both
@pytest.mark.parametrize(("step", "code", "http"), RETRIED.values(), ids=RETRIED)
async def test_what_may_pass_is_tried_twice_more(
    scripted: ScriptedUpstream, model: Upstream, run: Any, step: Step, code: str, http: int
) -> None:
    scripted.script("*", step, step, text("At last"))
    assert (await run(model)).text == "At last"
    scripted.script("*", step, step, step)
    error = await error_of(model, run)
    assert (error.code, error.status, error.transient) == (code, http, True)


@pytest.mark.parametrize("ending", [truncated("So far", cut=True), reset("So far")])
async def test_once_text_was_heard_nothing_is_tried_again(
    scripted: ScriptedUpstream, model: Upstream, ending: Step
) -> None:
    scripted.script("*", status(503), ending)
    assert (await error_of(model, streamed)).code == "upstream_truncated"
    assert len(scripted.calls) == 2


async def test_a_role_alone_is_no_text(scripted: ScriptedUpstream, model: Upstream) -> None:
    scripted.script("*", raw(*events(delta(role="assistant", content=""))), text("At last"))
    assert (await streamed(model)).text == "At last"


async def test_nobody_listening_is_tried_again_too() -> None:
    async with Upstream("http://127.0.0.1:9", KEY, backoff=0.01) as model:
        error = await error_of(model, whole)
    assert (error.code, error.status, error.transient) == ("upstream_unavailable", 503, True)


async def test_the_pauses_grow(scripted: ScriptedUpstream) -> None:
    scripted.script("*", status(500), status(500), text("Hi"))
    async with Upstream(scripted.base_url, KEY, backoff=0.2) as model:
        await model.complete(CALL)
    first, second, third = (call.started_at for call in scripted.calls)
    assert 0.1 <= second - first < 5
    assert 0.2 <= third - second < 5


def in_two_seconds() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)


@pytest.mark.parametrize("asked", ["1", "0.7", in_two_seconds], ids=["s", "fraction", "date"])
async def test_retry_after_is_honoured(
    scripted: ScriptedUpstream, model: Upstream, asked: Any
) -> None:
    headers = {"Retry-After": asked if isinstance(asked, str) else asked()}
    scripted.script("*", status(429, headers=headers), text("Hi"))
    started = time.monotonic()
    await streamed(model)
    assert 0.7 <= time.monotonic() - started < 10


@both
@pytest.mark.parametrize("asked", ["21", "6"], ids=["too long", "beyond the deadline"])
async def test_a_retry_after_that_does_not_fit_is_named_at_once(
    scripted: ScriptedUpstream, model: Upstream, run: Any, asked: str
) -> None:
    scripted.script("*", status(429, headers={"Retry-After": asked}))
    started = time.monotonic()
    error = await error_of(model, run, ModelCall("gpt", MESSAGES, timeout=5))
    assert error.code == "upstream_rate_limited"
    assert error.retry_after == int(asked)
    assert time.monotonic() - started < 4


FAR = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"


@pytest.mark.parametrize(
    "asked", ["soon", "-5", "nan", "1e400", "Wed, 99 Foo 2026", "9" * 5000, FAR]
)
async def test_a_senseless_retry_after_is_ignored(
    scripted: ScriptedUpstream, model: Upstream, asked: str
) -> None:
    scripted.script("*", status(429, headers={"Retry-After": asked}), text("Hi"))
    assert (await whole(model)).text == "Hi"


async def test_a_retry_after_of_the_past_means_now(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    scripted.script("*", status(503, headers={"Retry-After": past}), text("Hi"))
    assert (await whole(model)).text == "Hi"


async def test_a_used_up_quota_is_not_tried_again(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    scripted.script("*", status(429, body={"error": {"code": "insufficient_quota"}}))
    error = await error_of(model, whole)
    assert (error.code, error.transient) == ("upstream_rate_limited", False)


# ------------------------------------------------------------------------------------ how it leaves


async def test_a_listener_that_has_had_enough_closes_the_connection(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    never = asyncio.Event()
    scripted.script("*", text("12345678901234", hold=never, hold_after=1))
    heard = Heard(enough_after=1)
    completion = await model.complete(CALL, heard)
    assert completion.text == heard.text == "1234567"
    assert completion.usage == Usage(7, 2)
    await asyncio.wait_for(scripted.calls[0].disconnected.wait(), 10)


@both
@pytest.mark.parametrize("hold_after", [0, 2], ids=["before the first token", "within the stream"])
async def test_cancelling_closes_the_connection(
    scripted: ScriptedUpstream, model: Upstream, run: Any, hold_after: int
) -> None:
    never = asyncio.Event()
    scripted.script("*", text("x" * 100, hold=never, hold_after=hold_after))
    task = asyncio.create_task(run(model))
    call = await scripted.arrived()
    await asyncio.sleep(0.05)
    assert call.open
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(call.disconnected.wait(), 10)


async def test_cancelling_between_two_tries_ends_them(scripted: ScriptedUpstream) -> None:
    scripted.script("*", status(503))
    async with Upstream(scripted.base_url, KEY, backoff=60) as model:
        task = asyncio.create_task(model.complete(ModelCall("gpt", MESSAGES)))
        await scripted.arrived()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_calls_wait_for_a_connection_no_longer_than_their_deadline(
    scripted: ScriptedUpstream,
) -> None:
    scripted.script("*", silence())
    async with Upstream(scripted.base_url, KEY, connections=1) as model:
        first = asyncio.create_task(model.complete(CALL))
        await scripted.arrived()
        error = await error_of(model, whole, ModelCall("gpt", MESSAGES, timeout=0.2))
        assert error.code == "upstream_timeout"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


# --------------------------------------------------------------------------------------------- ping


@pytest.mark.parametrize("answer", [200, 404, 405, 429, 307])
async def test_an_upstream_that_answers_is_reachable(
    scripted: ScriptedUpstream, model: Upstream, answer: int
) -> None:
    scripted.models = status(answer, body={})
    await model.ping()


@pytest.mark.parametrize(
    ("answer", "code", "advice"),
    [
        (status(401), "upstream_refused", "Check OPENAI_API_KEY"),
        (status(403), "upstream_refused", "Check OPENAI_API_KEY"),
        (status(503), "upstream_unavailable", "HTTP 503"),
        (reset(), "upstream_unavailable", "Check OPENAI_BASE_URL"),
    ],
)
async def test_a_ping_says_what_to_do(
    scripted: ScriptedUpstream, model: Upstream, answer: Step, code: str, advice: str
) -> None:
    scripted.models = answer
    error = await error_of(model, lambda model, _: model.ping())
    assert error.code == code
    assert advice in error.message


async def test_a_ping_waits_five_seconds(scripted: ScriptedUpstream, model: Upstream) -> None:
    scripted.models = silence()
    started = time.monotonic()
    error = await error_of(model, lambda model, _: model.ping())
    assert "Check OPENAI_BASE_URL" in error.message
    assert 4.5 < time.monotonic() - started < 15


# ----------------------------------------------------------------------------------------- settings


UNUSABLE = [
    "api.openai.com/v1",
    "ftp://x/v1",
    "http://",
    "http://user:password@x/v1",
    "http://[::1/v1",
    "https://x:99999/v1",
    "https://x/v1?key=secret",
]


@pytest.mark.parametrize("url", UNUSABLE)
def test_an_unusable_base_url_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(InvalidRequest, match="OPENAI_BASE_URL must look like"):
        Upstream(url, KEY)


def test_an_unusable_key_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidRequest, match="OPENAI_API_KEY") as caught:
        Upstream(None, KEY + "\r\nX-Evil: 1")
    assert KEY not in str(caught.value)
