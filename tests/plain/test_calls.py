"""Plain models at `/v1/chat/completions`, through the real openai SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.postgres.database import Database
from tests.chat.reading import refused
from tests.client import bearer
from tests.plain.asking import ASKED, MODEL, OTHER, ask, conversations, row
from tests.running import Gateway
from tests.scripted import Exchange, ScriptedUpstream, raw, text
from tests.scripted.exchange import delta

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
]
CALL = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


class Answers:
    """The upstream answers with these bytes, whatever is asked."""

    def __init__(self, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.body, self.headers = body, headers

    async def play(self, exchange: Exchange) -> None:
        await exchange.whole(self.body, headers=self.headers)


async def test_the_upstreams_answer_comes_as_it_is(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    body = (
        b'{"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-plain-2026",\n'
        b' "big": 123456789012345678901234567890, "choices": [{"index": 0, "finish_reason": "stop",'
        b' "message": {"role": "assistant", "content": "A title"}}],'
        b' "usage": {"prompt_tokens": 12, "completion_tokens": 3.0, "total_tokens": 15,'
        b' "prompt_tokens_details": {"cached_tokens": 8}}}'
    )
    upstream.script("*", Answers(body, {"set-cookie": "a=b", "x-internal": "secret"}))
    answer = await ask(gateway, user="ann@example.com")
    assert answer.content == body
    assert answer.parse().model == "gpt-plain-2026"
    assert "x-conversation-id" not in answer.headers
    assert not {"set-cookie", "x-internal"} & set(answer.headers)
    kept = await row(database)
    assert (kept["key_id"], kept["user"], kept["end_user"]) == ("root", "root", "ann@example.com")
    assert (kept["model"], kept["provider"], kept["streamed"]) == (MODEL, "open_ai", False)
    assert (kept["input_tokens"], kept["cached_tokens"], kept["output_tokens"]) == (12, 8, 3)
    assert (kept["counted"], kept["status"], kept["error"]) == (True, 200, None)
    assert kept["started_at"] <= kept["finished_at"]
    assert await conversations(database) == 0


async def test_the_body_goes_to_the_upstream_as_it_came(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_0", "content": "rain"},
    ]
    sent = {"model": OTHER, "messages": messages, "tools": TOOLS, "tool_choice": "auto", "n": 2}
    text_ = json.dumps({**sent, "top_k": 40, "user": "bob", "temperature": 9, "x": {"ä": None}})
    text_ = text_[:-1] + ', "big": 123456789012345678901234567890, "odd": 1.0e400}'
    upstream.script("*", text("A cat"))
    answer = await gateway.http.post("/v1/chat/completions", content=text_)
    assert answer.status_code == 200, answer.text
    assert upstream.calls[0].body == json.loads(text_)


async def test_nothing_of_the_clients_headers_reaches_the_upstream(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.script("*", text("A title"))
    await ask(gateway, extra_headers={"cookie": "session=1", "openai-organization": "mine"})
    (call,) = upstream.calls
    assert call.headers["authorization"] == "Bearer upstream-key"
    assert not {"cookie", "openai-organization", "x-api-key", "x-stainless-lang"} & set(
        call.headers
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_tool_calls_keep_their_ids(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    if not streamed:
        choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
        upstream.script("*", Answers(json.dumps({**delta(), "choices": [choice]}).encode()))
        said = (await ask(gateway, tools=TOOLS)).parse().choices[0].message
        assert said.tool_calls[0].id == "call_0"
        return
    pieces = (delta(tool_calls=[{"index": 0, **CALL}]), delta("tool_calls"))
    events = b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in pieces)
    upstream.script("*", raw(events + b"data: [DONE]\n\n"))
    chunks = [chunk async for chunk in (await ask(gateway, tools=TOOLS, stream=True)).parse()]
    assert chunks[0].choices[0].delta.tool_calls[0].id == "call_0"


async def test_what_has_no_effect_is_named_and_kept_from_the_upstream(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    upstream.always("*", text("A title"))
    answer = await ask(
        gateway,
        store=True,
        metadata={"a": "b"},
        extra_headers={"idempotency-key": "k", "x-conversation-id": "conv_1"},
    )
    named = answer.headers["x-gateway-ignored"]
    assert named == "metadata, store, Idempotency-Key, X-Conversation-Id"
    assert not {"store", "metadata"} & set(upstream.calls[0].body)
    again = await ask(gateway, store=False, extra_headers={"idempotency-key": "k"})
    assert again.headers["x-gateway-ignored"] == "Idempotency-Key"
    assert upstream.calls[1].body["store"] is False, "which is what the gateway does, too"
    stored = await gateway.http.get("/v1/chat/completions")
    assert stored.json()["data"] == []


async def test_names_that_are_not_offered_are_unknown(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    for name in ("gpt-other", "GPT-PLAIN", "", "agency", "agent/1"):
        answer = await gateway.http.post(
            "/v1/chat/completions", json={"model": name, "messages": ASKED}
        )
        refused(answer, 404, "model_not_found")
        assert answer.json()["error"]["param"] == "model"
    assert not upstream.calls


async def test_a_model_that_was_not_offered_is_not_slipped_in(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    """A member may stand twice in JSON, and some servers read `Model` as `model`."""
    upstream.script("*", text("A title"))
    twice = b'{"model": "dear", "messages": [], "model": "gpt-plain", "stream": false}'
    answer = await gateway.http.post("/v1/chat/completions", content=twice)
    assert answer.status_code == 200, answer.text
    assert upstream.calls[0].body["model"] == MODEL
    for name in ("Model", "MODEL", "\u017ftream", "Store"):
        body = {"model": MODEL, "messages": ASKED, name: "dear"}
        answer = await gateway.http.post("/v1/chat/completions", json=body)
        refused(answer, 400)
        assert answer.json()["error"]["param"] == name
    assert len(upstream.calls) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"nothing", None),
        (b'{"messages": []}', "model"),
        (b'{"model": 5}', "model"),
        (b'{"model": "gpt-plain", "messages": \xff}', None),
        (b'{"model": "gpt-plain", "messages": [{"role": "user", "content": "\xff"}]}', None),
        (b'{"model": "gpt-plain", "user": "\\ud800"}', None),
        (b'{"model": "gpt-plain", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", None),
    ],
)
async def test_what_is_no_request_is_refused(
    gateway: Gateway, upstream: ScriptedUpstream, body: bytes, param: str | None
) -> None:
    answer = await gateway.http.post("/v1/chat/completions", content=body)
    refused(answer, 400)
    assert answer.json()["error"]["param"] == param
    assert not upstream.calls


async def test_half_a_character_is_called_so(gateway: Gateway) -> None:
    for model in ("gpt-plain", "agency/1"):
        body = b'{"model": "%s", "messages": [{"role": "user", "content": "\\ud83d"}]}'
        answer = await gateway.http.post("/v1/chat/completions", content=body % model.encode())
        refused(answer, 400)
        assert "half of a character" in answer.json()["error"]["message"]


async def test_a_key_needs_the_scope_chat_and_its_life(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    upstream.always("*", text("A title"))
    body = {"model": MODEL, "messages": ASKED}
    other = bearer(await gateway.key("ann", "retrieval"))
    refused(await gateway.http.post("/v1/chat/completions", json=body, headers=other), 403)
    mine = bearer(await gateway.key("ann"))
    answer = await gateway.http.post("/v1/chat/completions", json=body, headers=mine)
    assert answer.status_code == 200
    await database.execute("UPDATE api_key SET revoked_at = now() WHERE \"user\" = 'ann'")
    refused(await gateway.http.post("/v1/chat/completions", json=body, headers=mine), 401)
    refused(await gateway.anonymous.post("/v1/chat/completions", json=body), 401)
    assert len(upstream.calls) == 1
    assert (await row(database))["user"] == "ann"


async def test_an_agency_still_answers_to_its_own_name(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    for name in ("agency/999", "agency/x"):
        answer = await gateway.http.post(
            "/v1/chat/completions", json={"model": name, "messages": ASKED}
        )
        assert answer.status_code == 404
    answer = await gateway.http.post(
        "/v1/chat/completions", json={"model": "agency/1", "messages": [{"role": "nobody"}]}
    )
    refused(answer, 400)
    assert "role" in answer.json()["error"]["message"]
