"""What an upstream refuses keeps its meaning on the way to the client."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.chat.asking import ask, user
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.scripted import (
    Call,
    ScriptedUpstream,
    Step,
    error_in_stream,
    garbage,
    say,
    status,
    text,
)
from tests.scripted.providers import alternating, openai_values
from tests.team import make_team

TOO_LONG = {"error": {"message": "Too long.", "code": "context_length_exceeded"}}
FILTERED = {"error": {"message": "No.", "code": "content_filter"}}
FOR_GOOD: dict[str, tuple[Step, int, str]] = {
    "401": (status(401), 502, "upstream_refused"),
    "403": (status(403), 502, "upstream_refused"),
    "404": (status(404), 502, "upstream_rejected"),
    "quota": (
        status(429, body={"error": {"code": "insufficient_quota"}}),
        429,
        "upstream_rate_limited",
    ),
    "garbage": (garbage(), 502, "upstream_invalid"),
    "too long": (status(400, body=TOO_LONG), 400, "context_length_exceeded"),
    "filtered": (status(400, body=FILTERED), 400, "content_filter"),
    "in a stream": (error_in_stream(code="content_filter"), 400, "content_filter"),
}


@pytest.mark.parametrize(("step", "http", "code"), FOR_GOOD.values(), ids=FOR_GOOD)
async def test_no_sdk_runs_the_team_again_for_what_is_refused_for_good(
    gateway: Gateway, upstream: ScriptedUpstream, step: Step, http: int, code: str
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", step)
    client = gateway.client(team.id).with_options(max_retries=2)
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model="m", messages=[user("Hi")])
    assert (caught.value.status_code, caught.value.code) == (http, code)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.calls) == 1


async def test_what_may_pass_is_left_to_the_sdk(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway()
    team = await make_team(gateway)
    upstream.script("manager", status(429, headers={"retry-after": "25"}))
    answer = await post(gateway, team.id)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "25"
    assert "x-should-retry" not in answer.headers


async def post(gateway: Gateway, agency: int, **body: Any) -> httpx.Response:
    whole = {"model": "m", "messages": [user("Hi")], **body}
    return await gateway.http.post(f"/api/agency/{agency}/chat/completions", json=whole)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_parameter_of_the_clients_that_is_refused_is_named(
    gateway: Gateway, upstream: ScriptedUpstream, stream: bool
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", openai_values(say(0, "Hi"), temperature=1))
    answer = await post(gateway, team.id, temperature=0.2, stream=stream)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "temperature")
    assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_value")
    assert "Only the default (1) value is supported." in error["message"]


async def test_colleagues_who_reply_at_the_same_time_do_not_break_the_turn_of_roles(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    """With the templates of Mistral 7B and Gemma, which also know no system role."""
    team = await make_team(gateway, "programmer", "tester")
    one, two = team["programmer"], team["tester"]
    both = f'[{{"to":{one},"context":"Code?"}},{{"to":{two},"context":"Tests?"}}]'
    answers = iter([both, '{"to":0,"context":"Done."}'])

    def choose(call: Call) -> Step:
        first = call.messages[0]["content"]
        if call.messages[0]["role"] == "system":
            return alternating(say(0, "never said"))(call)
        if "(manager)" in first.split(".")[0]:
            return alternating(text(next(answers)))(call)
        return alternating(say(team["manager"], "Yes."))(call)

    for agent in ("*", "manager", "programmer", "tester"):
        upstream.always(agent, choose)
    answer = await ask(gateway, team)
    assert answer.choices[0].message.content == "Done."
