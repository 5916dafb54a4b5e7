"""Two users of one API never meet, whatever they say at the same time or in the same words."""

from __future__ import annotations

import asyncio
import random
from itertools import product

import pytest

from gateway.postgres.database import Database
from tests.chat.clients import Chat, letters, public, words
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import Call, Reply, ScriptedUpstream, say
from tests.team import Team, make_team


def greeting(upstream: ScriptedUpstream) -> None:
    upstream.always("manager", say(0, "Hello."))


async def test_equal_openings_behind_one_key_part_when_they_go_on(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway)
    greeting(upstream)
    ann, bob = Chat(gateway, team), Chat(gateway, team)
    for chat in (ann, bob):
        await chat.say("Hi")
    ways: dict[str, set[str]] = {"Ann": set(), "Bob": set()}
    for number in range(3):
        for name, chat in (("Ann", ann), ("Bob", bob)):
            await chat.say(f"{name} {number}")
            ways[name].add(chat.conversation)
            assert public(upstream.calls[-1]) == words(chat.history[:-1])
    assert not ways["Ann"] & ways["Bob"]
    await check(database)


async def test_those_who_say_the_same_for_long_are_still_two(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    """A copy that was made for one of them must not make them one family."""
    team = await make_team(gateway)
    greeting(upstream)
    ann, bob = Chat(gateway, team), Chat(gateway, team)
    ways: dict[str, set[str]] = {"Ann": set(), "Bob": set()}
    for question in ("Hi", "How are you?", "And now?"):
        for name, chat in (("Ann", ann), ("Bob", bob)):
            await chat.say(question)
            ways[name].add(chat.conversation)
    for name, chat in (("Bob", bob), ("Ann", ann)):
        await chat.say(f"I am {name}")
        ways[name].add(chat.conversation)
    assert not ways["Ann"] & ways["Bob"]


async def test_somebody_whose_conversation_was_deleted_joins_nobody_elses(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway)
    greeting(upstream)
    ann, bob = Chat(gateway, team), Chat(gateway, team)
    for chat in (ann, bob):
        await chat.say("Hi")
    await database.execute(
        "UPDATE conversation SET deleted_at = now() WHERE id::text LIKE $1",
        f"{ann.conversation[5:13]}-{ann.conversation[13:17]}-%{ann.conversation[-12:]}",
    )
    his = bob.conversation
    await ann.say("I am Ann")
    assert ann.conversation != his


@pytest.mark.parametrize("streamed", [False, True])
async def test_users_of_different_names_and_keys_never_share_a_history(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    team = await make_team(gateway, shared=True)
    greeting(upstream)
    keys = [await gateway.key(name) for name in ("ann", "bob")]
    options: list[dict[str, str]] = [{}, {"user": ""}, {"user": "ann"}, {"user": "bob"}]
    chats = [
        Chat(gateway, team, key, options=dict(option)) for key, option in product(keys, options)
    ]
    seen = []
    for question in ("Hi", "Go on"):
        for chat in chats:
            await (chat.stream(question) if streamed else chat.say(question))
        seen.append([chat.conversation for chat in chats])
    assert len(set(seen[0])) == len(chats)
    assert seen[0] == seen[1]


async def test_another_users_identical_history_is_imported_and_not_joined(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer", shared=True)
    ann = Chat(gateway, team, await gateway.key("ann"))
    upstream.script("manager", say(team["programmer"], "Private"), say(0, "A1"), say(0, "A2"))
    upstream.script("programmer", say(team["manager"], "Very private"))
    await ann.say("one")
    thief = ann.branch()
    thief.key = await gateway.key("thief")
    await thief.say("two")
    assert thief.conversation != ann.conversation
    assert letters(upstream.calls[-1]) == [
        ("user", 0, "one"),
        ("assistant", 0, "A1"),
        ("user", 0, "two"),
    ]


def consulting(upstream: ScriptedUpstream, team: Team) -> None:
    def manage(call: Call) -> Reply:
        party, text = call.inbound[-1]
        return say(0, "Hello.") if party else say(team["programmer"], text)

    upstream.always("manager", manage)
    upstream.always("programmer", say(team["manager"], "Done."))


@pytest.mark.parametrize("streamed", [False, True])
async def test_twenty_pairs_at_once_keep_to_themselves(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database, streamed: bool
) -> None:
    team = await make_team(gateway, "programmer")
    consulting(upstream, team)
    chance = random.Random(20 + streamed)
    ways: list[set[str]] = [set() for _ in range(40)]

    async def talk(number: int) -> None:
        chat = Chat(gateway, team)
        for turn in range(4):
            question = f"pair {number // 2}" if turn == 0 else f"me:{number}:{turn}"
            await asyncio.sleep(chance.random() / 20)
            await (chat.stream(question) if streamed else chat.say(question))
            if turn:
                ways[number].add(chat.conversation)

    await asyncio.gather(*map(talk, range(40)))
    assert len(set().union(*ways)) == 40
    assert {len(way) for way in ways} == {1}
    for call in upstream.calls:
        told = [text for _, _, text in letters(call) if text.startswith("me:")]
        assert len({text.split(":")[1] for text in told}) <= 1
    await check(database)
