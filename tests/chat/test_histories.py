"""The key property of rejoining, for any interleaving of clients with branching histories: the
manager is shown exactly what the client sent, and each agent what was said on that branch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, example, given, settings

from gateway.postgres.database import Database
from tests.chat.clients import Chat, Said, letters, public, words
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import Call, Reply, ScriptedUpstream, say, status
from tests.team import Team, make_team

INPUTS = ("hi", "hi ", "ask a", "ask b", "fail")
"""Few words, so that histories collide. The manager asks the programmer where it is told to."""
FOREIGN: list[list[Any]] = [
    [],
    [{"role": "user", "content": "F1"}, {"role": "assistant", "content": "ok"}],
    [{"role": "assistant", "content": "F2"}],
    [{"role": "system", "content": "S"}],
]


@dataclass(frozen=True)
class Move:
    """A client goes on: from some point of some history that was had, maybe with a tail of its
    own, with some words."""

    client: int
    history: int
    cut: int
    tail: int
    text: str
    streamed: bool


moves = st.builds(
    Move,
    client=st.integers(0, 2),
    history=st.integers(0, 30),
    cut=st.integers(0, 4),
    tail=st.sampled_from((0, 0, 0, 0, 1, 2, 3)),
    text=st.sampled_from(INPUTS),
    streamed=st.booleans(),
)


def playing(upstream: ScriptedUpstream, team: Team) -> None:
    def manage(call: Call) -> Reply | Any:
        party, text = call.inbound[-1]
        if text == "fail":
            return status(418)
        if party == 0 and text.startswith("ask"):
            return say(team["programmer"], text)
        return say(0, " ok ")

    upstream.always("manager", manage)
    upstream.always("programmer", say(team["manager"], "done"))


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rounds=st.lists(st.lists(moves, min_size=1, max_size=5), min_size=1, max_size=6))
@example(rounds=[[Move(0, 0, 0, 0, "hi", False)] * 3, [Move(0, 0, 0, 0, "ask a", False)] * 3])
async def test_the_manager_is_shown_exactly_the_history_that_was_sent(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database, rounds: list[list[Move]]
) -> None:
    team = await make_team(gateway, "programmer", shared=True)
    keys = [await gateway.key(f"user{n}") for n in range(3)]
    playing(upstream, team)
    had: list[list[Any]] = [[]]
    number = 0
    for together in rounds:
        chats = []
        for move in together:
            # The seed is passed on, so it tells which call belongs to which request.
            number += 1
            chats.append((move, _window(gateway, team, keys[move.client], had, move, number)))
        first = len(upstream.calls)
        await asyncio.gather(*(_go_on(move, chat) for move, chat in chats))
        had += [chat.history for _, chat in chats if chat.history[-1]["role"] == "assistant"]
        for _, chat in chats:
            calls = [
                c for c in upstream.calls[first:] if c.body.get("seed") == chat.options["seed"]
            ]
            sent = chat.history[:-1] if chat.conversation else chat.history
            assert [public(call) for call in calls] == [words(sent)] * len(calls)
            assert 0 < len(calls) <= 2
        _check_programmer(upstream.calls[first:], chats)
    await check(database)


def _window(
    gateway: Gateway, team: Team, key: str, had: list[list[Any]], move: Move, number: int
) -> Chat:
    history = list(had[move.history % len(had)])
    history = history[: max(0, len(history) - 2 * move.cut)] + FOREIGN[move.tail]
    return Chat(gateway, team, key, history, {"seed": number})


async def _go_on(move: Move, chat: Chat) -> None:
    try:
        await (chat.stream(move.text) if move.streamed else chat.say(move.text))
    except Exception:
        if move.text != "fail":
            raise


def _check_programmer(calls: list[Call], chats: list[tuple[Move, Chat]]) -> None:
    """A programmer knows a part of what was asked on one of the branches, in its order, and all
    that was asked since its memory begins."""
    branches = [_asks(words(chat.history)) for _, chat in chats]
    for call in calls:
        if call.agent == "programmer":
            asked = [text for role, _, text in letters(call) if role == "user"]
            assert any(asked == branch[len(branch) - len(asked) :] for branch in branches)


def _asks(said: list[Said]) -> list[str]:
    return [text for role, text in said if role == "user" and text.startswith("ask")]
