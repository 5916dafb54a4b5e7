"""Answering, repeating, cancelling, changing the drive and losing processes, all at once."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from itertools import count
from uuid import UUID

import pytest

from gateway.postgres.database import Database
from tests.agency.test_recovery import lose, until
from tests.conftest import StartGateway
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import Call, Reply, ScriptedUpstream, say, say_many
from tests.sessions.asking import Body, driving, sound
from tests.shelf import Passage, Shelf, lend, make_readers
from tests.team import Team

SECONDS = 6.0
SESSIONS = 12

# Who asked the library less often than it answered.
UNBALANCED = """
    SELECT q.turn_id FROM (
        SELECT turn_id, from_id, to_id, count(*) AS said FROM message
        WHERE role = 'assistant' AND to_id IS NOT NULL GROUP BY 1, 2, 3
    ) q
    JOIN turn t ON t.id = q.turn_id AND t.state = 'completed'
    WHERE q.to_id = -1 AND q.said < (
        SELECT count(*) FROM message m
        WHERE m.turn_id = q.turn_id AND m.from_id = -1 AND m.to_id = q.from_id)
"""


@dataclass
class Storm:
    gateways: list[Gateway]
    team: Team
    chance: random.Random
    until: float
    refused: int = 0

    def going_on(self) -> bool:
        return asyncio.get_running_loop().time() < self.until

    async def drive(self) -> None:
        """One session to its end, by several hands."""
        session = await driving(self.chance.choice(self.gateways), self.team["manager"]).begin()
        await asyncio.gather(*(self._hand(session) for _ in range(2)))

    async def _hand(self, session: Body) -> None:
        while session["state"] not in ("resolved", "failed"):
            driver = driving(self.chance.choice(self.gateways), self.team["manager"])
            answer = await driver.give(session, session["step"], 0.3, **self._given(session))
            assert answer.status_code in (200, 409), answer.text
            body = answer.json()
            self.refused += answer.status_code == 409
            session = sound(body["session"] if answer.status_code == 409 else body)
            if self.chance.random() < 0.02:
                session = await driver.cancel(session)

    def _given(self, session: Body) -> dict[str, object]:
        match session["state"]:
            case "search":
                return {"passages": [{"text": f"By hand {self.chance.random()}."}]}
            case "call_agent":
                return {"context": f"By hand {self.chance.random()}."}
            case _:
                return {}

    async def steer(self, database: Database) -> None:
        while self.going_on():
            rows = await database.fetch("SELECT id FROM conversation")
            if rows:
                chosen: UUID = self.chance.choice(rows)["id"]
                engine = self.chance.choice(self.gateways).resources.engine
                await engine.set_drive(chosen, self.chance.choice(("auto", "manual")))
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """No process is lost so often that a turn is given up for it."""
        await asyncio.sleep(SECONDS / 4)
        lose(self.gateways[0])


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_each_session_ends_and_nothing_is_said_twice(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database, seed: int
) -> None:
    gateways = [await start_gateway(lease=0.9), await start_gateway(lease=0.9)]
    lend(Shelf({"x": [Passage("X.")]}), *gateways)
    limits = {"limits": {"model_calls": 12}}
    team = await make_readers(
        gateways[0], "baker", "clerk", readers=("manager", "clerk"), settings=limits
    )
    chance, numbers = random.Random(seed), count()
    others = [-1, team["baker"], team["clerk"]]

    def manage(call: Call) -> Reply:
        told_to = any(sender == -2 for sender, _ in call.inbound)
        if told_to or len(call.messages) > 9 or chance.random() < 0.2:
            return say(0, "Done.", delay=chance.random() / 20)
        asked = chance.sample(others, chance.randint(1, 3))
        return say_many(*((to, f"Q{next(numbers)}") for to in asked), delay=chance.random() / 20)

    def assist(call: Call) -> Reply:
        to = -1 if call.agent == "clerk" and chance.random() < 0.3 else team["manager"]
        return say(to, f"A{next(numbers)}", delay=chance.random() / 20)

    upstream.always("manager", manage)
    upstream.always("baker", assist)
    upstream.always("clerk", assist)
    storm = Storm(gateways, team, chance, asyncio.get_running_loop().time() + SECONDS)
    async with asyncio.timeout(60):
        await asyncio.gather(
            storm.steer(database), storm.kill(), *(storm.drive() for _ in range(SESSIONS))
        )

    async def ended() -> bool:
        rows = await database.fetch("SELECT state FROM turn")
        return {row["state"] for row in rows} <= {"completed", "cancelled", "failed"}

    await until(ended)
    states = await database.fetch("SELECT state, error->>'message' AS why FROM turn")
    assert len(states) == SESSIONS
    assert not [row["why"] for row in states if row["state"] == "failed"]
    assert storm.refused  # they did get in each other's way
    assert not await database.fetch(UNBALANCED)
    await check(database)
