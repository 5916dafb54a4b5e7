"""Accepting, leaving, retrying, cancelling, sweeping and losing leases, all at once."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from openai import APIError

from gateway.ids import TurnId
from gateway.postgres.database import Database
from tests.chat.clients import Chat, letters, named, retry
from tests.conftest import StartGateway
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import Call, Reply, ScriptedUpstream, say
from tests.team import Team, make_team

SECONDS = 6.0


@dataclass
class Storm:
    """People who talk, go away and come back, over two processes, until time is up."""

    gateways: list[Gateway]
    team: Team
    database: Database
    chance: random.Random
    until: float
    heard: list[tuple[str, str]] = field(default_factory=list)
    """(question, answer)"""

    def going_on(self) -> bool:
        return asyncio.get_running_loop().time() < self.until

    async def person(self, number: int) -> None:
        chat = Chat(self.chance.choice(self.gateways), self.team, options={"user": f"p{number}"})
        turn = 0
        while self.going_on():
            turn += 1
            await self._talk(chat, f"p{number}.{turn}")
            if self.chance.random() < 0.2:
                chat = chat.branch(max(0, len(chat.history) - 2))

    async def _talk(self, chat: Chat, question: str) -> None:
        by_name = bool(chat.conversation) and self.chance.random() < 0.3
        for attempt in range(8):
            window = chat.branch()
            window.gateway = self.chance.choice(self.gateways)
            options = named(chat.conversation) if by_name else {}
            headers = {**options.get("extra_headers", {})}
            if attempt and self.chance.random() < 0.8:
                headers |= retry(attempt)["extra_headers"]
            patience = self.chance.choice((0.01, 0.05, 0.2, 5.0))
            send = window.stream if self.chance.random() < 0.5 else window.say
            with suppress(TimeoutError, APIError):
                async with asyncio.timeout(patience):
                    self.heard.append((question, await send(question, extra_headers=headers)))
                    chat.history, chat.conversation = window.history, window.conversation
                    return

    async def meddle(self) -> None:
        """Cancel turns, and let leases and waits run out."""
        while self.going_on():
            await asyncio.sleep(self.chance.random() / 20)
            rows = await self.database.fetch(
                "SELECT id FROM turn WHERE state IN ('running', 'suspended')"
            )
            if not rows:
                continue
            turn_id = TurnId(self.chance.choice(rows)["id"])
            if self.chance.random() < 0.3:
                await self.chance.choice(self.gateways).resources.engine.cancel(turn_id)
            else:
                await self.database.execute(
                    "UPDATE turn SET lease_until = now() - interval '1 second' WHERE id = $1 "
                    "AND lease_until IS NOT NULL",
                    turn_id,
                )


@pytest.mark.parametrize("seed", [1])
async def test_a_storm_leaves_nothing_running_and_nothing_mixed_up(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database, seed: int
) -> None:
    gateways = [await start_gateway(lease=0.6) for _ in range(2)]
    team = await make_team(gateways[0], "programmer")
    chance = random.Random(seed)

    def manage(call: Call) -> Reply:
        # Empty where the turn was cancelled just before its context was read.
        said = [text for party, text in call.inbound if party == 0]
        question = said[-1] if said else "?"
        party = call.inbound[-1][0] if said else 0
        delay = chance.choice((0, 0, 0.02, 0.1))
        if party == 0 and chance.random() < 0.5:
            return say(team["programmer"], question, delay=delay)
        return say(0, f"Re: {question}", delay=delay)

    upstream.always("manager", manage)
    upstream.always("programmer", lambda _: say(team["manager"], "Done.", delay=0.02))
    now = asyncio.get_running_loop().time()
    storm = Storm(gateways, team, database, chance, now + SECONDS)
    people = [storm.person(number) for number in range(12)]
    await asyncio.gather(*people, storm.meddle(), storm.meddle())

    await _settled(gateways, database)
    assert len(storm.heard) > 20
    assert all(answer == f"Re: {question}" for question, answer in storm.heard)
    for call in upstream.calls:
        told = [text for _, _, text in letters(call) if text.startswith(("p", "Re: p"))]
        assert len({text.removeprefix("Re: ").split(".")[0] for text in told}) <= 1
    await check(database)
    await _check_turns(database)


async def _settled(gateways: list[Gateway], database: Database) -> None:
    """Every turn has ended, or waits for its client; nobody runs one, or looks for one to run."""
    engines = [gateway.resources.engine.runner.running for gateway in gateways]
    async with asyncio.timeout(10):
        while await database.fetch("SELECT FROM turn WHERE state = 'running'") or any(
            engine.held or engine.tasks for engine in engines
        ):
            await asyncio.sleep(0.05)


async def _check_turns(database: Database) -> None:
    followed = await database.fetch(
        """SELECT t.id FROM turn t JOIN turn f ON f.conversation_id = t.conversation_id
           AND f.seq > t.seq WHERE t.state NOT IN ('completed', 'failed', 'cancelled')
           AND EXISTS (SELECT FROM message m WHERE m.turn_id = f.id)"""
    )
    assert not followed, "a turn began before the one before had ended"
    answers = await database.fetch(
        """SELECT turn_id FROM message
           WHERE role = 'assistant' AND to_id IS NULL AND turn_id IS NOT NULL
           GROUP BY turn_id HAVING count(*) > 1"""
    )
    assert not answers, "a turn was answered twice"
    silent = await database.fetch(
        """SELECT t.id FROM turn t WHERE t.state = 'completed' AND NOT EXISTS (
               SELECT FROM message m WHERE m.turn_id = t.id AND m.to_id IS NULL
               AND m.role = 'assistant')"""
    )
    assert not silent, "a turn was completed without an answer"
    versions = await database.fetch(
        """SELECT t.id FROM turn t JOIN step s ON s.turn_id = t.id
           GROUP BY t.id HAVING count(*) <> count(DISTINCT s.version)"""
    )
    assert not versions, "two steps of one turn have one version"
