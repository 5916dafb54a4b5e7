"""The scripted upstream notices what a test did not expect."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.scripted import ScriptedUpstream, say, say_many, silence, text

MANAGER = {"messages": [{"role": "system", "content": "You are #7 (manager).\nLead."}]}


async def post(upstream: ScriptedUpstream, body: object) -> str:
    url = f"{upstream.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        answer = await response.json()
    return answer["choices"][0]["message"]["content"] if response.ok else str(response.status)


async def test_each_agent_has_its_queue() -> None:
    async with ScriptedUpstream() as upstream:
        upstream.script("manager", say(143, "Why?"), say_many((1, "a"), (2, "b")))
        upstream.script("*", text("A title"))
        assert await post(upstream, MANAGER) == '{"to": 143, "context": "Why?"}'
        assert await post(upstream, {"messages": []}) == "A title"
        assert (await post(upstream, MANAGER)).startswith('[{"to": 1, ')
        assert [call.agent_id for call in upstream.calls] == [7, None, 7]
        assert not upstream.open_calls


async def test_always_serves_when_the_queue_is_empty() -> None:
    async with ScriptedUpstream() as upstream:
        upstream.always("manager", lambda call: text(f"Call of {call.agent_id}"))
        upstream.script("manager", text("First"))
        assert [await post(upstream, MANAGER) for _ in range(3)] == ["First", *["Call of 7"] * 2]


async def expect_failure(upstream: ScriptedUpstream, match: str) -> None:
    with pytest.raises(AssertionError, match=match):
        await upstream.__aexit__(None, None, None)


async def test_an_unexpected_call_fails_the_test() -> None:
    upstream = await ScriptedUpstream().__aenter__()
    assert await post(upstream, MANAGER) == "418"
    await expect_failure(upstream, "unexpected call of manager")


async def test_an_unused_step_fails_the_test() -> None:
    upstream = await ScriptedUpstream().__aenter__()
    upstream.script("manager", say(0, "Hello"))
    await expect_failure(upstream, "unused step of manager: .*Hello")


async def test_a_step_that_raises_fails_the_test() -> None:
    upstream = await ScriptedUpstream().__aenter__()
    upstream.script("manager", lambda call: text(call.body["missing"]))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(upstream, MANAGER)
    await expect_failure(upstream, "a step failed: KeyError")


async def test_a_failing_test_is_told_what_was_left() -> None:
    async def failing() -> None:
        async with ScriptedUpstream() as upstream:
            upstream.script("manager", say(0, "Hello"))
            raise LookupError

    with pytest.raises(LookupError) as caught:
        await failing()
    assert "unused step of manager" in caught.value.__notes__[0]


async def test_a_caller_that_leaves_is_noticed() -> None:
    async with ScriptedUpstream() as upstream:
        upstream.script("manager", silence())
        task = asyncio.create_task(post(upstream, MANAGER))
        call = await upstream.arrived("manager")
        assert upstream.open_calls == [call]
        task.cancel()
        await asyncio.wait_for(call.disconnected.wait(), 10)
        assert not call.finished
        assert upstream.most_open == 1
