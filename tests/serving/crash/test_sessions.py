"""Whoever drives sessions by hand goes on through whichever process lives: an answer that comes
again changes nothing, and a session stands as its rows say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from gateway import ids
from gateway.postgres.database import Database
from tests.scripted import Call, ScriptedUpstream, say, say_many
from tests.scripted.replies import Reply
from tests.serving.crash.callers import PATIENCE, Caller
from tests.serving.crash.counting import MANAGER, OTHERS, Counting, quoting, since, view
from tests.serving.crash.invariants import all_ended
from tests.serving.crash.processes import Process
from tests.serving.crash.researching import BIKE, query, read
from tests.sessions.asking import Body, sound
from tests.shelf import make_readers
from tests.team import Team

SEEDS = (60,)
KILLS = 4
MOST_KILLS = 12
"""So many until each kind of work was hit: which one a kill hits is a matter of chance."""
EACH = 2
"""Sessions that are begun before each kill."""
PASSAGES = [{"text": BIKE.text, "source": BIKE.source}]
AGAIN = 0.5
"""The share of answers that are sent once more, though they were taken."""
MOMENT_S = 0.4
"""The longest time that whoever drives takes to think."""
# $1 turn.
_STANDS = """
    SELECT t.state, t.awaited->>'asked' AS asked, t.version,
           (SELECT count(*) FROM message m WHERE m.turn_id = t.id AND m.role = 'user'
            AND m.step_id IS NULL AND (m.from_id = -1 OR m.from_id > 0)) AS answers
    FROM turn t WHERE t.id = $1
"""
# $1 turn. All contexts of a session, those of one agent in order.
_TALK = """
    SELECT m.agent_id, m.role, m.from_id, m.to_id, coalesce(i.content, m.text) AS text
    FROM turn t JOIN message m ON m.conversation_id = t.conversation_id
    LEFT JOIN interaction i ON i.id = m.interaction_id
    WHERE t.id = $1 ORDER BY m.agent_id, m.version, m.ordinal
"""
_STEPS = "SELECT count(*) AS steps FROM step WHERE turn_id = $1 AND error IS NULL"


class Driven(Counting):
    """The manager asks the library, then both others, and is answered by hand."""

    steps = 3

    async def _make(self, process: Process) -> Team:
        return await make_readers(process, *OTHERS)  # type: ignore[arg-type]

    def _manager(self, team: Team, call: Call) -> Reply:
        question, heard = since(call, 0)
        if -1 not in heard:
            return say(-1, query(MANAGER, question))
        if team["designer"] not in heard:
            return say_many(*((team[name], question) for name in OTHERS))
        return say(0, quoting(question, read(heard[-1]), *(heard[team[name]] for name in OTHERS)))

    def answer(self, question: str) -> str:
        return quoting(question, BIKE.text, *(view(name, question) for name in OTHERS))


@dataclass
class Driver:
    """Answers the steps of one agent's sessions, each through whichever process is there."""

    caller: Caller
    team: Team
    chance: random.Random
    taken: int = 0
    """Answers that were sent again although they had been taken."""

    @property
    def path(self) -> str:
        return f"/api/agents/{self.team[MANAGER]}/sessions"

    async def begin(self, question: str) -> Body:
        body = {"messages": [{"role": "user", "content": question}]}
        return sound((await self.caller.post(f"{self.path}?wait=0", body)).json())

    async def drive(self, session: Body, question: str) -> Body:
        """To its end."""
        async with asyncio.timeout(2 * PATIENCE):
            while session["state"] in ("thinking", "search", "call_agent"):
                await asyncio.sleep(self.chance.uniform(0, MOMENT_S))
                session = await self._go_on(session, self._answer(session, question))
        return session

    async def _go_on(self, session: Body, answer: Mapping[str, object]) -> Body:
        path = f"{self.path}/{session['id']}/answers?wait=5"
        found = sound((await self.caller.post(path, answer)).json())
        if len(answer) > 1 and self.chance.random() < AGAIN:
            again = sound((await self.caller.post(f"{path[:-1]}0", answer)).json())
            assert again["step"] >= found["step"] == session["step"] + 1, (again, found)
            self.taken += 1
        return found

    def _answer(self, session: Body, question: str) -> dict[str, object]:
        """What goes with the step; without anything it asks how the session stands."""
        step: dict[str, object] = {"step": session["step"]}
        if session["state"] == "search":
            return step | {"passages": PASSAGES}
        if session["state"] == "call_agent":
            name = next(one for one in OTHERS if self.team[one] == session["call"]["to"])
            return step | {"context": view(name, question)}
        return step


async def check_standing(
    driver: Driver, sessions: Sequence[Body], process: Process, database: Database
) -> int:
    """The process says what the rows say. How many of the sessions wait for an answer."""
    waiting = 0
    for session in sessions:
        turn = ids.read(ids.SESSION, session["id"])
        before = await database.fetchrow(_STANDS, turn)
        path = f"{driver.path}/{session['id']}"
        told = sound((await process.http.get(path, params={"wait": 0})).json())
        row = await database.fetchrow(_STANDS, turn)
        assert row is not None
        if row != before:
            continue  # it went on meanwhile
        waits = {"-1": "search", None: "thinking"}.get(row["asked"], "call_agent")
        stands = {"waiting": waits, "completed": "resolved"}.get(row["state"], "thinking")
        assert (told["state"], told["step"]) == (stands, row["answers"] + 1)
        waiting += row["state"] == "waiting"
    return waiting


async def contexts(database: Database, session: Body, question: str) -> list[tuple[object, ...]]:
    """What every agent of a session has before it, with the question left out."""
    rows = await database.fetch(_TALK, ids.read(ids.SESSION, session["id"]))
    return [(*row[:4], row["text"].replace(question, "...")) for row in rows]


@pytest.mark.parametrize("seed", SEEDS)
async def test_sessions_outlive_the_process(
    seed: int, pair: tuple[Process, Process], upstream: ScriptedUpstream, database: Database
) -> None:
    counting = Driven(upstream, seed, slow=3.0)
    team = await counting.make(pair[0])
    chance = random.Random(seed)
    driver = Driver(Caller(pair, seed), team, chance)
    alone = await driver.drive(await driver.begin("What is it?"), "What is it?")
    undisturbed = await contexts(database, alone, "What is it?")
    assert alone["message"] == counting.answer("What is it?")

    questions: list[str] = []
    sessions: list[Body] = []
    driving: list[asyncio.Task[Body]] = []
    hit = {"model calls": 0, "answers": 0, "waiting": 0}
    for kills in range(MOST_KILLS):
        if kills >= KILLS and all(hit.values()):
            break
        for _ in range(EACH):
            questions.append(f"What of {len(questions)}?")
            sessions.append(await driver.begin(questions[-1]))
            driving.append(asyncio.create_task(driver.drive(sessions[-1], questions[-1])))
        call = await counting.next_call(skip=chance.randrange(3))
        victim, other = pair if call.caller == pair[0].caller else pair[::-1]
        await asyncio.sleep(chance.uniform(0, 0.3))
        hit["model calls"] += len(counting.open_calls(victim))
        await victim.kill()
        hit["waiting"] += await check_standing(driver, sessions, other, database)
        await victim.restart()
        hit["answers"] = sum(len(answer) > 1 for answer in driver.caller.unheard)
    ended = await asyncio.gather(*driving)
    await all_ended(database)

    for session, question in zip(ended, questions, strict=True):
        assert session["state"] == "resolved", session
        assert session["message"] == counting.answer(question)
        assert await contexts(database, session, question) == undisturbed
        row = await database.fetchrow(_STEPS, ids.read(ids.SESSION, session["id"]))
        assert row is not None
        assert row["steps"] == counting.steps
    counting.check(pair)
    assert all(hit.values()), f"the kills hit too little: {hit}"
    assert driver.taken, "no answer was sent again"
