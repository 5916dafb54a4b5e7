"""The time of a turn is limited over all processes that run it, and over all times it waited."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway.agency.ledger.rows import covered
from gateway.postgres.database import Database
from tests.agency.test_recovery import is_, leave, lose, until
from tests.chat.asking import replies
from tests.chat.clients import Chat
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, say_many, silence
from tests.sessions.asking import driving
from tests.team import make_team

LIMIT = {"limits": {"seconds": 20}}
CLOSED = "Answer the end user now, from what you know: send your answer to 0. "
CLOSED += "The limit of 20 seconds is reached."


async def took(database: Database, *seconds: float, ago: float = 0.0) -> None:
    """Have the steps so far been this long, and ended so long ago."""
    steps = await database.fetch("SELECT id FROM step ORDER BY version")
    for row, one in zip(steps, seconds, strict=True):
        await database.execute(
            """UPDATE step SET completed_at = now() - make_interval(secs => $3),
                      started_at = now() - make_interval(secs => $2 + $3) WHERE id = $1""",
            *(row["id"], one, ago),
        )


@pytest.mark.parametrize(("seconds", "closed"), [(5, False), (20, True)])
async def test_whoever_takes_a_turn_up_gives_it_what_is_left_of_its_time(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    database: Database,
    seconds: float,
    closed: bool,
) -> None:
    one = await start_gateway(lease=0.6)
    team = await make_team(one, "programmer", settings=LIMIT)
    upstream.script("manager", say(team["programmer"], "Q"), silence(), say(0, "Enough."))
    upstream.script("programmer", say(team["manager"], "A"))
    asking = asyncio.create_task(Chat(one, team).say("Hi"))
    await upstream.arrived("manager", 2)
    await took(database, seconds, 1)
    lose(one)
    await until(lambda: is_(database, "completed"))
    last = upstream.calls_of("manager")[2].inbound[-1]
    assert last == ((-2, CLOSED) if closed else (team["programmer"], "A"))
    assert await replies(database) == ["Enough."]
    await leave(asking)


async def test_a_session_that_has_used_its_time_ends_when_it_is_answered(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker", settings=LIMIT)
    upstream.script("manager", say(team["baker"], "Rye?"), say(0, "Enough."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    await took(database, 21)
    assert (await driver.answer(session, 1, context="3."))["message"] == "Enough."
    assert upstream.calls[-1].inbound[-1] == (-2, CLOSED)


async def test_waiting_for_a_person_costs_nothing(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker", settings=LIMIT)
    upstream.script("manager", say(team["baker"], "Rye?"), say(0, "3."))
    driver = driving(gateway, team["manager"])
    session = await driver.begin()
    await took(database, 1, ago=3000)
    assert (await driver.answer(session, 1, context="3"))["message"] == "3."
    assert upstream.calls[-1].inbound[-1] == (team["baker"], "3")


async def test_agents_that_are_called_at_the_same_time_use_it_once(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=0.6)
    team = await make_team(one, "baker", "clerk", settings=LIMIT)
    both = say_many((team["baker"], "Rye?"), (team["clerk"], "Stock?"))
    upstream.script("manager", both, silence(), say(0, "3."))
    upstream.script("baker", say(team["manager"], "3"))
    upstream.script("clerk", say(team["manager"], "Plenty."))
    asking = asyncio.create_task(Chat(one, team).say("Hi"))
    await upstream.arrived("manager", 2)
    await took(database, 1, 11, 11)
    lose(one)
    await until(lambda: is_(database, "completed"))
    assert CLOSED not in [said for _, said in upstream.calls[-1].inbound]
    await leave(asking)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        ([], 0),
        ([(0, 10)], 10),
        ([(0, 10), (20, 25)], 15),
        ([(20, 25), (0, 10)], 15),
        ([(0, 10), (5, 12)], 12),
        ([(0, 10), (2, 3), (10, 11)], 11),
    ],
)
def test_a_second_in_which_several_are_called_counts_once(
    spans: list[tuple[int, int]], seconds: float
) -> None:
    times = [(NOON + timedelta(seconds=a), NOON + timedelta(seconds=b)) for a, b in spans]
    assert covered(times) == seconds
