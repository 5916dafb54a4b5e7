"""What a process remembers of a conversation is what the rows say."""

from __future__ import annotations

import random
from collections.abc import Mapping
from uuid import UUID

from gateway.agency.ledger.context_cache import ContextCache, Remembered
from gateway.agency.speech.prompt import GATEWAY, Entry
from gateway.agency.turn.rules import ANSWER_NOW
from gateway.ids import CONVERSATION, new, read
from tests.running import Gateway
from tests.scripted import Call, ScriptedUpstream, Step, say, say_many, text
from tests.team import Team, make_team


class Talk:
    """One client's growing history."""

    def __init__(self, gateway: Gateway, team: Team) -> None:
        self._client = gateway.client(team.id)
        self._history: list[dict[str, str]] = []
        self.conversation_id: UUID | None = None

    async def say(self, words: str) -> str:
        self._history.append({"role": "user", "content": words})
        answer = await self._client.chat.completions.with_raw_response.create(
            model="m",
            messages=self._history,  # type: ignore[arg-type]
        )
        said = answer.parse().choices[0].message.content or ""
        self._history.append({"role": "assistant", "content": said})
        self.conversation_id = read(CONVERSATION, answer.headers["x-conversation-id"])
        return said


def remembered_by(gateway: Gateway) -> Mapping[UUID, Remembered]:
    return gateway.resources.engine.runner.running.cache.kept


async def test_memory_and_rows_tell_the_same(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway, "programmer", "tester")
    dice = random.Random(7)
    manager, programmer, tester = team["manager"], team["programmer"], team["tester"]

    def lead(call: Call) -> Step:
        sender, words = call.inbound[-1]
        if sender == GATEWAY and words.startswith(ANSWER_NOW):
            return say(0, "Enough.")
        match dice.randrange(6):
            case 0:
                return say(programmer, "Again?")
            case 1:
                return say_many((programmer, "You?"), (tester, "And you?"))
            case 2:
                return text("No envelope at all.")
            case 3:
                return say(999_999, "Who are you?")
            case _:
                return say(0, f"Answer {dice.randrange(1000)}.")

    def follow(call: Call) -> Step:
        other = tester if call.agent == "programmer" else programmer
        return say(manager if dice.random() < 0.8 else other, f"Done {dice.randrange(1000)}.")

    upstream.always("manager", lead)
    upstream.always("programmer", follow)
    upstream.always("tester", follow)
    talks = [Talk(gateway, team) for _ in range(3)]
    ledger = gateway.resources.engine.ledger
    compared = 0
    for turn in range(24):
        talk = dice.choice(talks)
        await talk.say(f"Turn {turn}")
        assert talk.conversation_id is not None
        remembered = remembered_by(gateway)[talk.conversation_id]
        for agent in (manager, programmer, tester):
            stored = await ledger.context(talk.conversation_id, agent)
            if agent in remembered.contexts or remembered.all:
                assert remembered.contexts.get(agent, []) == stored
                compared += len(stored)
    assert compared > 100


async def test_a_change_from_elsewhere_is_seen(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "One."), say(0, "Two."), say(0, "Three."))
    client, talk = gateway.client(team.id), Talk(gateway, team)
    await talk.say("A secret")
    await talk.say("Something else")
    listed = await client.chat.completions.list()
    await client.chat.completions.delete(listed.data[0].id)
    await talk.say("And now?")
    assert "A secret" not in [words for _, words in upstream.calls[1].inbound[1:]]


def _entry(words: str) -> Entry:
    return Entry("user", None, 1, words, 1)


def test_the_oldest_conversation_is_forgotten_first() -> None:
    cache = ContextCache(characters=2_000)
    first, second, third = new(), new(), new()
    for conversation in (first, second, third):
        cache.keep(conversation, Remembered(1, {1: [_entry("x" * 500)]}, all=True))
    assert cache.recall(first, 1) is None
    assert cache.recall(second, 1) is not None
    assert cache.recall(third, 1) is not None


def test_a_conversation_too_large_is_not_kept() -> None:
    cache = ContextCache(characters=1_000)
    conversation = new()
    cache.keep(conversation, Remembered(1, {1: [_entry("x" * 5_000)]}, all=True))
    assert cache.recall(conversation, 1) is None
    cache.keep(conversation, Remembered(1, {1: [_entry("x")]}, all=True))
    assert cache.recall(conversation, 1) is not None


def test_another_version_is_not_believed() -> None:
    cache = ContextCache()
    conversation = new()
    cache.keep(conversation, Remembered(3, {}, all=True))
    assert cache.recall(conversation, 4) is None
