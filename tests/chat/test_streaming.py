"""The manager's answer as a stream: what comes when, and what never comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest

from gateway.postgres.database import Database
from tests.chat.asking import ask, replies, stream, text, turns, user, words
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, error_in_stream, say, say_many, silence, status
from tests.scripted import text as raw
from tests.team import Team, make_team


class Reader:
    """Reads the events of one raw stream, so that comments and order are seen."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.comments = 0
        self.lines: list[str] = []
        self._lines = response.aiter_lines()

    async def event(self, within: float = 5) -> dict[str, Any] | None:
        """The next event's data; None for `[DONE]`. Raises StopAsyncIteration at the end."""
        async with asyncio.timeout(within):
            while True:
                line = await anext(self._lines)
                self.lines.append(line)
                self.comments += line.startswith(":")
                if line == "data: [DONE]":
                    return None
                if line.startswith("data: "):
                    decoded: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    return decoded

    async def rest(self) -> list[dict[str, Any] | None]:
        events = []
        try:
            while True:
                events.append(await self.event())
        except StopAsyncIteration:
            return events


@asynccontextmanager
async def reading(gateway: Gateway, team: Team, **body: Any) -> AsyncIterator[Reader]:
    whole = {"model": "m", "messages": [user("Hi")], "stream": True, **body}
    path = f"/api/agency/{team.id}/chat/completions"
    async with gateway.http.stream("POST", path, json=whole) as response:
        yield Reader(response)


def content(event: dict[str, Any] | None) -> str:
    assert event is not None
    return event["choices"][0]["delta"].get("content") or ""


# What comes when


async def test_the_first_words_arrive_while_the_model_is_still_speaking(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    hold = asyncio.Event()
    upstream.script("manager", say(0, "Hello there, friend", chunk=10, hold=hold, hold_after=4))
    async with reading(gateway, team) as reader:
        assert content(await reader.event()) == ""
        heard = ""
        while len(heard) < 5:
            heard += content(await reader.event())
        assert upstream.open_calls
        assert "Hello there, friend".startswith(heard)
        hold.set()
        events = await reader.rest()
    assert heard + "".join(content(event) for event in events[:-2]) == "Hello there, friend"


async def test_every_delta_of_the_model_is_a_chunk_of_its_own(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "0123456789", chunk=1, pace=0.005))
    chunks = await stream(gateway, team)
    contents = [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content]
    assert contents == list("0123456789")


async def test_a_stream_begins_with_the_role_and_ends_with_the_reason_and_done(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Hello"))
    async with reading(gateway, team) as reader:
        events = await reader.rest()
        assert reader.response.headers["content-type"].startswith("text/event-stream")
        assert "no-" in reader.response.headers["cache-control"]
        assert reader.response.headers["x-accel-buffering"] == "no"
    first, *middle, last, done = events
    assert first is not None
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert done is None
    assert last is not None
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    for event in (first, *middle):
        assert event is not None
        assert event["choices"][0]["finish_reason"] is None
    assert len({(e["id"], e["created"], e["model"], e["object"]) for e in events if e}) == 1
    assert first["id"].startswith("chatcmpl-")
    assert first["object"] == "chat.completion.chunk"


async def test_a_stream_and_a_whole_answer_are_the_same(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    said = 'Grüße, "Welt"!\n\\o/ 🙂 \u2028 }{ ['
    for chunk in (1, 2, 3, 5, 1000):
        upstream.script("manager", say(0, said, chunk=chunk))
        assert words(await stream(gateway, team)) == said
    upstream.script("manager", say(0, said))
    assert text(await ask(gateway, team)) == said


async def test_escapes_that_are_cut_anywhere_come_out_whole(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    content = r'{"to": 0, "context": "\ud83d\ude42 \u00e9 \" \\ \n"}'
    upstream.script("manager", raw(content, chunk=1))
    assert words(await stream(gateway, team)) == '\U0001f642 é " \\ \n'


async def test_comments_keep_a_silent_stream_open(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(ping=0.1)
    team = await make_team(gateway)
    hold = asyncio.Event()
    upstream.script("manager", say(0, "At last", hold=hold))
    async with reading(gateway, team) as reader:
        role = await reader.event(within=1)
        assert role is not None
        assert role["choices"][0]["delta"]["role"] == "assistant"
        asyncio.get_running_loop().call_later(0.5, hold.set)
        events = await reader.rest()
        assert reader.comments >= 3
    assert "".join(content(event) for event in events[:-2]) == "At last"


async def test_comments_come_also_in_the_middle_and_the_sdk_does_not_mind(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(ping=0.1)
    team = await make_team(gateway)
    hold = asyncio.Event()
    upstream.script("manager", say(0, "Half and half", hold=hold, hold_after=5))
    asyncio.get_running_loop().call_later(0.5, hold.set)
    assert words(await stream(gateway, team)) == "Half and half"


async def test_a_failure_before_the_first_words_has_a_status_of_its_own(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", *[status(400)] * 3)
    async with reading(gateway, team) as reader:
        assert reader.response.status_code == 502
        await reader.response.aread()
        error = reader.response.json()["error"]
    assert error["code"] == "upstream_rejected"


async def test_a_failure_after_long_silence_is_told_inside_the_stream(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(ping=0.1)
    team = await make_team(gateway)
    hold = asyncio.Event()
    upstream.script("manager", say(99, "?", hold=hold), *[status(400)] * 3)
    asyncio.get_running_loop().call_later(0.3, hold.set)
    async with reading(gateway, team) as reader:
        events = await reader.rest()
        assert reader.response.status_code == 200
    assert events[-1] is not None
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}


async def test_a_failure_after_the_first_words_is_told_inside_the_stream_and_they_are_kept(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", error_in_stream('{"to": 0, "context": "So far, so'))
    heard: list[str] = []
    with pytest.raises(openai.APIError) as failure:
        await stream(gateway, team, heard=heard)
    assert "".join(heard) == "So far, so"
    assert failure.value.code == "upstream_error"
    assert await turns(database) == [("failed", "upstream_error")]
    assert await replies(database) == ["So far, so"]


async def test_after_an_error_inside_a_stream_there_is_no_done(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", error_in_stream('{"to": 0, "context": "So far'))
    async with reading(gateway, team) as reader:
        events = await reader.rest()
    assert events[-1] is not None
    assert "error" in events[-1]


# What never comes


INNER = "INNER TALK"


@pytest.mark.parametrize("chunk", [1, 3, 1000])
async def test_not_a_character_of_inner_talk_or_of_json_leaks(
    gateway: Gateway, upstream: ScriptedUpstream, chunk: int
) -> None:
    team = await make_team(gateway, "programmer", "tester")
    programmer, tester = team["programmer"], team["tester"]
    upstream.script(
        "manager",
        raw(f"<think>{INNER}</think>{{{INNER}", chunk=chunk),  # goes back
        say(programmer, f'{INNER} {{"to": 0, "context": "{INNER}"}}', chunk=chunk),
        say_many((programmer, INNER), (tester, INNER), chunk=chunk),
        raw(
            f'```json\n[{{"context": "Only this.", "why": "{INNER}", "to": 0}}, '
            f'{{"to": {tester}, "context": "{INNER}"}}, {{"to": 0, "context": "{INNER}"}}]\n``` '
            f"{INNER}",
            chunk=chunk,
        ),
    )
    upstream.script(
        "programmer", say(0, f"{INNER} 1", chunk=chunk), say(team["manager"], INNER, chunk=chunk)
    )
    upstream.script("tester", say(0, f"{INNER} 2", chunk=chunk))
    async with reading(gateway, team) as reader:
        events = await reader.rest()
        assert INNER not in "".join(reader.lines)
    assert "".join(content(event) for event in events[:-2]) == "Only this."


async def test_an_address_that_comes_last_holds_the_answer_back_until_it_is_known(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(ping=0.05)
    team = await make_team(gateway, "programmer")
    hold = asyncio.Event()
    content_first = '{"context": "For whom?", "to": '
    upstream.script(
        "manager",
        raw(content_first + f"{team['programmer']}}}", chunk=1),
        raw(content_first + "0}", chunk=len(content_first), hold=hold, hold_after=1),
    )
    upstream.script("programmer", say(team["manager"], "For you."))
    async with reading(gateway, team) as reader:
        assert content(await reader.event()) == ""
        waiting = asyncio.create_task(reader.event())
        await upstream.arrived("manager", 2)
        await asyncio.sleep(0.2)
        assert not waiting.done()
        hold.set()
        first = await waiting
        events = [first, *await reader.rest()]
    assert "".join(content(event) for event in events[:-2]) == "For whom?"


async def test_an_answer_among_siblings_is_let_out_and_they_are_not_delivered(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script(
        "manager", say_many((team["programmer"], "One more thing"), (0, "Done."), chunk=2)
    )
    assert words(await stream(gateway, team)) == "Done."
    rows = await database.fetch("SELECT text FROM message WHERE agent_id = $1", team["programmer"])
    assert rows == []
    # What was not delivered is kept with the step.
    (step,) = await database.fetch("SELECT output FROM step")
    assert "One more thing" in step["output"]


async def test_an_answer_that_was_heard_stays_though_what_follows_it_is_broken(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway)
    broken = '[{"to": 0, "context": "Done."}, {"to": [], "context": '
    upstream.script("manager", raw(broken, chunk=3), raw(broken))
    assert words(await stream(gateway, team)) == "Done."
    assert text(await ask(gateway, team)) == "Done."
    assert await turns(database) == [("completed", None)] * 2


async def test_while_several_agents_speak_only_the_managers_answer_is_streamed(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer", "tester")
    upstream.script(
        "manager",
        say_many((team["programmer"], "Code?"), (team["tester"], "Tests?")),
        say(0, "Both answered.", chunk=2, pace=0.002),
    )
    upstream.script("programmer", say(team["manager"], "A", delay=0.05))
    upstream.script("tester", say(team["manager"], "B", delay=0.05))
    assert words(await stream(gateway, team)) == "Both answered."
    assert upstream.most_open == 2
    # Only the manager's calls need to be streams.
    assert [call.streams for call in upstream.calls] == [True, False, False, True]


async def test_two_streams_at_a_time_do_not_mix(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    hold = asyncio.Event()
    for word in ("one", "two"):
        upstream.script(
            "manager",
            lambda call: say(0, f"{call.inbound[-1][1]} " * 20, chunk=3, pace=0.002, hold=hold),
        )
        assert word
    asyncio.get_running_loop().call_later(0.2, hold.set)
    one, two = await asyncio.gather(stream(gateway, team, "one"), stream(gateway, team, "two"))
    assert words(one) == "one " * 20
    assert words(two) == "two " * 20


async def test_a_stream_whose_time_is_up_ends_with_an_error_and_what_was_said_is_kept(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, settings={"limits": {"seconds": 1}})
    never = asyncio.Event()
    upstream.script("manager", say(0, "The beginning of it", chunk=25, hold=never, hold_after=1))
    async with reading(gateway, team) as reader:
        events = await reader.rest()
    assert events[-1] is not None
    assert events[-1]["error"]["code"] == "upstream_timeout"
    assert (await replies(database))[0]
    assert "The beginning of it".startswith((await replies(database))[0])


async def test_silence_until_the_limit_is_told_to_a_streaming_client_too(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, settings={"limits": {"seconds": 1}})
    upstream.script("manager", silence(), say(0, "In short: yes.", chunk=3))
    assert words(await stream(gateway, team)) == "In short: yes."
