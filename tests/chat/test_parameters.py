"""What a client of the OpenAI API may send, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import openai
import pytest

from gateway.postgres.database import Database
from tests.chat.asking import ask, finish, stream, text, turns, user, words
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, say_many, silence, status
from tests.scripted import text as prose
from tests.team import make_team

SAMPLING: dict[str, Any] = {
    "temperature": 0.25,
    "top_p": 0.5,
    "frequency_penalty": 0.1,
    "presence_penalty": -0.1,
    "logit_bias": {"50256": -100},
    "seed": 7,
    "reasoning_effort": "low",
    "verbosity": "low",
    "service_tier": "auto",
    "prompt_cache_key": "key",
    "safety_identifier": "id",
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IGNORED: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "logprobs": True,
    "modalities": ["text"],
    "moderation": {"model": "omni-moderation-latest"},
    "parallel_tool_calls": True,
    "prediction": {"type": "content", "content": "Hi"},
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "in_memory",
    "tool_choice": "auto",
    "tools": [TOOL],
    "top_logprobs": 2,
    "web_search_options": {},
}


async def post(gateway: Gateway, agency: int, **body: Any) -> httpx.Response:
    whole = {"model": "m", "messages": [user("Hi")], **body}
    return await gateway.http.post(f"/api/agency/{agency}/chat/completions", json=whole)


# What is echoed and counted


async def test_usage_is_the_sum_over_all_calls(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer", "tester")
    upstream.script(
        "manager",
        say_many((team["programmer"], "?"), (team["tester"], "?"), usage=(100, 10)),
        say(0, "Done.", usage=(200, 20)),
    )
    upstream.script("programmer", say(team["manager"], "1", usage=(1000, 1)))
    upstream.script("tester", say(team["manager"], "2", usage=(2000, 2)))
    usage = (await ask(gateway, team)).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3300, 33, 3333)


async def test_calls_that_failed_or_went_back_are_counted_too(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(99, "?", usage=(10, 1)), say(0, "Done.", usage=(20, 2)))
    usage = (await ask(gateway, team)).usage
    assert usage is not None
    assert usage.total_tokens == 33


async def test_the_model_is_what_was_asked_for_and_agents_use_their_own(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    agents = [
        {"name": "manager", "instructions": ""},
        {"name": "programmer", "instructions": "", "model": "coder-1"},
    ]
    team = await make_team(gateway, agents=agents)
    upstream.script("manager", say(team["programmer"], "?"), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "1"))
    client = gateway.client(team.id)
    answer = await client.chat.completions.create(model="My Team", messages=[user("Hi")])
    assert answer.model == "My Team"
    assert [call.body["model"] for call in upstream.calls] == [
        "gpt-4o-mini",
        "coder-1",
        "gpt-4o-mini",
    ]


async def test_metadata_is_echoed(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Done."))
    answer = await ask(gateway, team, metadata={"order": "7"})
    assert answer.to_dict()["metadata"] == {"order": "7"}


# What is sent along, and to whom


async def test_every_parameter_of_the_api_is_accepted(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Done."))
    everything = {
        **SAMPLING,
        **IGNORED,
        "n": 1,
        "max_tokens": 500,
        "max_completion_tokens": 500,
        "metadata": {"a": "b"},
        "response_format": {"type": "text"},
        "stop": ["never"],
        "store": True,
        "stream": False,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "user": "u",
        "something_new": {"of": "tomorrow"},
    }
    answer = await post(gateway, team.id, **everything)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-gateway-ignored"].split(", ") == sorted(IGNORED)


async def test_a_null_is_as_good_as_nothing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Done."))
    names = (*SAMPLING, *IGNORED, "n", "stop", "max_tokens", "response_format", "stream", "user")
    answer = await post(gateway, team.id, **dict.fromkeys(names))
    assert answer.status_code == 200, answer.text
    assert "x-gateway-ignored" not in answer.headers
    assert not set(SAMPLING) & set(upstream.calls[0].body)


async def test_sampling_parameters_reach_the_managers_calls_only(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script("manager", say(team["programmer"], "?"), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "1"))
    await ask(gateway, team, **SAMPLING)
    for call in upstream.calls_of("manager"):
        assert {k: call.body[k] for k in SAMPLING} == SAMPLING
    (call,) = upstream.calls_of("programmer")
    assert not set(SAMPLING) & set(call.body)


async def test_an_agents_own_params_apply_and_the_clients_go_before_the_managers(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    agents = [
        {"name": "manager", "instructions": "", "params": {"temperature": 1.0, "top_p": 0.9}},
        {"name": "programmer", "instructions": "", "params": {"temperature": 0.0, "seed": 3}},
    ]
    team = await make_team(gateway, agents=agents)
    upstream.script("manager", say(team["programmer"], "?"), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "1"))
    await ask(gateway, team, temperature=0.5)
    manager, programmer, _ = (call.body for call in upstream.calls)
    assert (manager["temperature"], manager["top_p"]) == (0.5, 0.9)
    assert (programmer["temperature"], programmer["seed"]) == (0.0, 3)


async def test_the_context_budget_is_ours_and_not_sent(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    agents = [{"name": "manager", "instructions": "", "params": {"context_tokens": 512}}]
    team = await make_team(gateway, agents=agents)
    upstream.script("manager", say(0, "Done."))
    history = [user("x" * 4000), {"role": "assistant", "content": "Long."}, user("Short.")]
    await ask(gateway, team, history)
    assert "context_tokens" not in upstream.calls[0].body
    assert upstream.calls[0].inbound == [(0, "Short.")]


async def test_tools_are_ignored_and_named(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Done."))
    answer = await post(gateway, team.id, tools=[TOOL], tool_choice="auto")
    assert answer.headers["x-gateway-ignored"] == "tool_choice, tools"
    assert "tools" not in upstream.calls[0].body


# Contents


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}


async def test_text_and_image_parts_reach_the_manager(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script("manager", say(team["programmer"], "?"), say(0, "A cat."), say(0, "Still."))
    upstream.script("programmer", say(team["manager"], "1"))
    parts = [{"type": "text", "text": "What is"}, IMAGE, {"type": "text", "text": "this?"}]
    answer = await ask(gateway, team, [user(parts)])
    for call in upstream.calls_of("manager"):
        assert call.messages[1]["content"] == [
            {"type": "text", "text": '{"from":0,"context":"What is\\nthis?"}'},
            IMAGE,
        ]
    assert "base64" not in json.dumps(upstream.calls_of("programmer")[0].body)
    # In the next turn the image is still before the manager's eyes.
    history = [user(parts), {"role": "assistant", "content": text(answer)}, user("And now?")]
    await ask(gateway, team, history)
    assert upstream.calls[-1].messages[1]["content"][1] == IMAGE


async def test_parts_of_text_alone_are_one_text(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Done."))
    await ask(gateway, team, [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])])
    assert upstream.calls[0].inbound == [(0, "a\nb")]


async def test_content_may_be_null_or_absent_and_roles_of_tools_are_tolerated(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Done."))
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        user("Hi"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
        {"role": "assistant", "refusal": "I won't."},
        {"role": "user", "name": "ann"},
    ]
    answer = await post(gateway, team.id, messages=messages)
    assert answer.status_code == 200, answer.text
    assert upstream.calls[0].inbound[-1] == (0, "")


async def test_system_messages_alone_are_enough(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Done."))
    await ask(gateway, team, [{"role": "system", "content": "Say hello."}])
    assert upstream.calls[0].messages[0]["content"].endswith("Say hello.")


# Bounds of the answer


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("bounds", "answer", "reason"),
    [
        ({"stop": "three"}, "one two ", "stop"),
        ({"stop": ["four", "two"]}, "one ", "stop"),
        ({"max_tokens": 2}, "one two ", "length"),
        ({"max_completion_tokens": 1}, "one ", "length"),
        ({"max_completion_tokens": 1, "max_tokens": 100}, "one ", "length"),
        ({"max_tokens": 100, "stop": "never"}, "one two three four", "stop"),
        ({"max_tokens": 0}, "one two three four", "stop"),
        ({"stop": '"'}, "one two three four", "stop"),
        ({"stop": "one"}, "", "stop"),
    ],
)
async def test_stop_and_token_limits_apply_to_the_final_context(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    database: Database,
    bounds: dict[str, Any],
    answer: str,
    reason: str,
    streamed: bool,
) -> None:
    team = await make_team(gateway, "programmer")
    # They bound neither what agents say to each other nor the envelope.
    upstream.script(
        "manager",
        say(team["programmer"], "one two three four?", chunk=3),
        say(0, "one two three four", chunk=3),
    )
    upstream.script("programmer", say(team["manager"], "one two three four!"))
    if streamed:
        chunks = await stream(gateway, team, **bounds)
        assert (words(chunks), finish(chunks)) == (answer, reason)
    else:
        whole = await ask(gateway, team, **bounds)
        assert (text(whole), whole.choices[0].finish_reason) == (answer, reason)
    for call in upstream.calls:
        assert not {"stop", "max_tokens", "max_completion_tokens"} & set(call.body)
    assert await turns(database) == [("completed", None)]


async def test_a_bounded_stream_ends_the_call_as_soon_as_the_bound_is_met(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "word " * 5000, pace=0.01))
    chunks = await stream(gateway, team, max_tokens=5)
    assert (words(chunks), finish(chunks)) == ("word word word word ", "length")
    await asyncio.wait_for(upstream.calls[0].disconnected.wait(), 10)


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_the_models_own_limit_cut_off_says_so(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    streamed: bool,
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", prose('{"to": 0, "context": "It begins with', finish="length"))
    if streamed:
        chunks = await stream(gateway, team)
        assert (words(chunks), finish(chunks)) == ("It begins with", "length")
    else:
        whole = await ask(gateway, team)
        assert (text(whole), whole.choices[0].finish_reason) == ("It begins with", "length")


# Formats


SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
JSON_SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "number", "strict": True, "schema": SCHEMA},
}


async def test_json_object_is_told_to_the_manager_and_checked(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script(
        "manager", say(team["programmer"], "no JSON here"), say(0, "Sorry."), say(0, '{"a": 1}')
    )
    upstream.script("programmer", say(team["manager"], "nor here"))
    answer = await ask(gateway, team, response_format={"type": "json_object"})
    assert text(answer) == '{"a": 1}'
    told = "The end user's program"
    assert told in upstream.calls[0].messages[0]["content"]
    assert told not in upstream.calls_of("programmer")[0].messages[0]["content"]
    sender, note = upstream.calls[-1].inbound[-1]
    assert sender == -2
    assert "wants JSON" in note


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_json_schema_is_checked_and_the_violation_told(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    streamed: bool,
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, '{"n": "one"}'), say(0, "{}"), say(0, '{"n": 1}'))
    if streamed:
        answer: str | None = words(await stream(gateway, team, response_format=JSON_SCHEMA))
    else:
        answer = text(await ask(gateway, team, response_format=JSON_SCHEMA))
    assert answer == '{"n": 1}'
    assert '"required":["n"]' in upstream.calls[0].messages[0]["content"]
    told = [note for _, note in upstream.calls[-1].inbound[1:]]
    assert "$.n" in told[0]
    assert "required" in told[1]


async def test_an_answer_is_returned_three_times_and_then_the_turn_fails_without_its_words(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", *[say(0, "A private slip")] * 4)
    with pytest.raises(openai.APIStatusError) as failure:
        await ask(gateway, team, response_format={"type": "json_object"})
    assert failure.value.status_code == 502
    assert "response_format" in failure.value.message
    assert "slip" not in failure.value.message
    assert await turns(database) == [("failed", "turn_failed")]


async def test_what_must_be_checked_is_streamed_only_when_it_was(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, '{"n": "bad"}', chunk=1), say(0, '{"n": 2}', chunk=1))
    chunks = await stream(gateway, team, response_format=JSON_SCHEMA)
    assert words(chunks) == '{"n": 2}'


async def test_a_plain_text_format_asks_for_nothing(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello", chunk=1))
    chunks = await stream(gateway, team, response_format={"type": "text"})
    assert words(chunks) == "Hello"
    assert len(chunks) > 5
    assert "JSON:" not in upstream.calls[0].messages[0]["content"]


async def test_a_manager_that_answers_the_wanted_json_without_an_envelope_is_understood_in_the_end(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", *[prose('{"n": 1}')] * 4)
    assert text(await ask(gateway, team, response_format=JSON_SCHEMA)) == '{"n": 1}'


# Streams


async def test_include_usage_adds_one_chunk_without_choices(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello", usage=(7, 3)))
    chunks = await stream(gateway, team, stream_options={"include_usage": True})
    assert [bool(chunk.choices) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 3, 10)


async def test_without_it_no_chunk_has_usage(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello"))
    answer = await post(gateway, team.id, stream=True)
    assert "usage" not in answer.text


# Headers


@pytest.mark.parametrize("streamed", [False, True])
async def test_every_answer_carries_its_ids_and_the_time_spent_outside_of_model_calls(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    streamed: bool,
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello", delay=1.0), status(400), status(400), status(400))
    good = await post(gateway, team.id, stream=streamed)
    bad = await post(gateway, team.id, stream=streamed)
    assert [good.status_code, bad.status_code] == [200, 502]
    for answer in (good, bad):
        assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
        assert re.fullmatch(r"conv_[0-9a-f]{32}", answer.headers["x-conversation-id"])
        assert 0 <= float(answer.headers["x-gateway-overhead-ms"]) < 900


async def test_a_request_id_of_the_client_is_kept(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello"))
    answer = await gateway.http.post(
        f"/api/agency/{team.id}/chat/completions",
        json={"model": "m", "messages": [user("Hi")]},
        headers={"x-request-id": "mine-1"},
    )
    assert answer.headers["x-request-id"] == "mine-1"


@pytest.mark.parametrize("timeout", ["nan", "-5", "0", "inf", "soon"])
async def test_a_nonsensical_timeout_of_a_client_is_none(
    gateway: Gateway, upstream: ScriptedUpstream, timeout: str
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello"))
    answer = await gateway.http.post(
        f"/api/agency/{team.id}/chat/completions",
        json={"model": "m", "messages": [user("Hi")]},
        headers={"x-stainless-read-timeout": timeout},
    )
    assert answer.status_code == 200


async def test_a_clients_read_timeout_bounds_the_turn(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script("manager", say(team["programmer"], "?"), say(0, "Without the programmer."))
    upstream.script("programmer", silence())
    client = gateway.client(team.id).with_options(timeout=3)
    answer = await client.chat.completions.create(model="m", messages=[user("Hi")])
    assert text(answer) == "Without the programmer."


# What is refused


REFUSED: list[tuple[dict[str, Any], str | None]] = [
    ({"n": 2}, "n"),
    ({"n": 0}, "n"),
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [{"role": "user", "content": 7}]}, "content"),
    ({"messages": [user("")] * 4_097}, "messages"),
    ({"messages": [user([{"type": "text", "text": ""}] * 1_001)]}, "content"),
    (
        {"messages": [user("")], "logit_bias": dict.fromkeys(map(str, range(1_001)), 1)},
        "logit_bias",
    ),
    ({"messages": [{"role": "king", "content": "Hi"}]}, "role"),
    ({"messages": [{"content": "Hi"}]}, "messages"),
    ({"messages": [user([{"type": "text"}])]}, "messages"),
    ({"messages": [user("a\0b")]}, "messages"),
    ({"metadata": {"a": "\0"}}, "metadata"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
    ({"metadata": {"k" * 65: ""}}, "metadata"),
    ({"metadata": {"k": "v" * 513}}, "metadata"),
    ({"temperature": 3}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": -1}, "top_p"),
    ({"presence_penalty": 2.5}, "presence_penalty"),
    ({"seed": 2**64}, "seed"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": "a" * 1001}, "stop"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "int"}}}},
        "response_format",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/x"}}}},
        "response_format",
    ),
    ({"model": None}, "model"),
    ({"model": 7}, "model"),
]


@pytest.mark.parametrize(("body", "param"), REFUSED, ids=lambda case: str(case)[:50])
async def test_what_cannot_be_done_is_a_400_that_names_the_parameter(
    gateway: Gateway, database: Database, body: dict[str, Any], param: str | None
) -> None:
    team = await make_team(gateway)
    answer = await post(gateway, team.id, **body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert param in (error["param"] or "")
    assert await turns(database) == []


BROKEN: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"Hi"',
    b'{"model": "m", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
    b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"model": "m", "messages": [{"role": "user", "content": "a\0b"}]}',
    b'{"model": "m", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"model": "m", "tools": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 1e999}',
    b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "n": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: repr(body[:60]))
async def test_a_body_that_cannot_be_read_is_a_400_in_the_same_shape(
    gateway: Gateway, database: Database, body: bytes
) -> None:
    team = await make_team(gateway)
    answer = await gateway.http.post(
        f"/api/agency/{team.id}/chat/completions",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert await turns(database) == []


async def test_an_n_of_2_is_told_so_through_the_sdk(gateway: Gateway) -> None:
    team = await make_team(gateway)
    with pytest.raises(openai.BadRequestError) as refusal:
        await ask(gateway, team, n=2)
    assert refusal.value.param == "n"


async def test_numbers_of_any_size_in_foreign_objects_do_no_harm(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "7"))
    schema = {"type": "json_schema", "json_schema": {"schema": {"maximum": 10**40}}}
    odd = {**IMAGE, "image_url": {"url": "data:,", "weight": 10**40}}
    for body in ({"response_format": schema}, {"messages": [user([odd])]}):
        answer = await post(gateway, team.id, **body)
        assert answer.status_code in (200, 400), answer.text


async def test_the_rehearsal_answers_with_the_same_parameters(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(openai_base_url=None, openai_api_key=None)
    team = await make_team(gateway, "programmer")
    answer = await ask(gateway, team, **SAMPLING, max_tokens=4)
    assert answer.choices[0].finish_reason == "length"
    assert (answer.system_fingerprint or "").startswith("rehearsal-")
