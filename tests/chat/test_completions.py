"""Chat completions through the real openai SDK."""

from __future__ import annotations

from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, say_many
from tests.team import make_team


async def test_the_manager_answers(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello there!"))
    answer = await gateway.client(team.id).chat.completions.create(
        model="whatever", messages=[{"role": "user", "content": "Hi"}]
    )
    assert answer.choices[0].message.content == "Hello there!"
    assert answer.model == "whatever"


async def test_a_stream_brings_the_same_words(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello there, how are you?"))
    stream = await gateway.client(team.id).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == "Hello there, how are you?"
    assert len(pieces) > 4


async def test_the_manager_asks_the_team(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway, "programmer", "tester")
    upstream.script(
        "manager",
        say_many((team["programmer"], "Code?"), (team["tester"], "Tests?")),
        say(0, "Both done."),
    )
    upstream.script("programmer", say(team["manager"], "Coded."))
    upstream.script("tester", say(team["manager"], "Tested."))
    answer = await gateway.client(team.id).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Do it"}]
    )
    assert answer.choices[0].message.content == "Both done."
    assert sorted(upstream.calls_of("manager")[1].inbound[1:]) == sorted(
        [(team["programmer"], "Coded."), (team["tester"], "Tested.")]
    )


async def test_a_growing_history_continues(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    client = gateway.client(team.id)
    upstream.script("manager", say(0, "One."), say(0, "Two."))
    first = await client.chat.completions.with_raw_response.create(
        model="m", messages=[{"role": "user", "content": "1"}]
    )
    second = await client.chat.completions.with_raw_response.create(
        model="m",
        messages=[
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": "2"},
        ],
    )
    assert first.headers["x-conversation-id"] == second.headers["x-conversation-id"]
    assert upstream.calls[1].inbound == [(0, "1"), (0, "2")]
