"""Sessions that are left to the gateway from their beginning."""

from __future__ import annotations

import pytest

from gateway.postgres.database import Database
from tests.agency.test_recovery import is_, lose, until
from tests.conftest import StartGateway
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, silence
from tests.sessions.asking import driving
from tests.sessions.test_drive import PRICES, script
from tests.shelf import Shelf, lend, make_readers
from tests.team import make_team

ASKED = {"messages": [{"role": "user", "content": "What is rye?"}], "drive": "auto"}


async def test_the_gateway_searches_and_calls_by_itself(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    shelf = lend(Shelf(PRICES), gateway)
    team = await make_readers(gateway, "baker", "clerk")
    script(upstream, team)
    session = await driving(gateway, team["manager"]).begin(**ASKED)
    assert (session["state"], session["message"]) == ("resolved", "3, dark.")
    assert len(shelf.searches) == 1
    assert len(upstream.calls) == 6
    await check(database)


async def test_while_it_works_it_thinks_and_asks_nobody_outside(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "baker")
    upstream.script("manager", say(team["baker"], "Rye?"))
    upstream.script("baker", silence())
    driver = driving(gateway, team["manager"])
    session = await driver.begin(**ASKED, wait=0)
    call = await upstream.arrived("baker")
    assert (await driver.read(session, wait=0))["state"] == "thinking"
    assert (await driver.late(session, 1, context="3"))["state"] == "thinking"
    cancelled = await driver.cancel(session)
    assert (cancelled["state"], cancelled["error"]["code"]) == ("failed", "turn_cancelled")
    await call.disconnected.wait()


async def test_it_goes_on_without_its_caller_and_its_process(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one, other = await start_gateway(lease=0.6), await start_gateway(lease=0.6)
    team = await make_team(one, "baker")
    upstream.script("manager", say(team["baker"], "Rye?"), say(0, "3."))
    upstream.script("baker", silence(), say(team["manager"], "3"))
    session = await driving(one, team["manager"]).begin(**ASKED, wait=0)
    await upstream.arrived("baker")
    lose(one)
    await until(lambda: is_(database, "completed"))
    assert (await driving(other, team["manager"]).read(session))["message"] == "3."
    await check(database)


async def test_what_its_drive_is_not_is_refused(gateway: Gateway) -> None:
    team = await make_team(gateway)
    path = f"/api/agents/{team['manager']}/sessions"
    answer = await gateway.http.post(path, json={**ASKED, "drive": "fast"})
    assert answer.status_code == 400


@pytest.mark.parametrize(("hops", "status"), [("0", 201), ("4", 201), ("5", 400), ("9" * 30, 400)])
async def test_a_question_is_handed_on_by_so_many_gateways_and_no_more(
    gateway: Gateway, upstream: ScriptedUpstream, hops: str, status: int
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "3."))
    path = f"/api/agents/{team['manager']}/sessions"
    answer = await gateway.http.post(path, json=ASKED, headers={"x-gateway-hops": hops})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"]["code"] == "too_many_hops"
        assert "more than 4 gateways" in answer.json()["error"]["message"]


@pytest.mark.parametrize("hops", ["-1", "many", "1.5"])
async def test_what_is_no_number_of_gateways_is_refused(gateway: Gateway, hops: str) -> None:
    team = await make_team(gateway)
    path = f"/api/agents/{team['manager']}/sessions"
    answer = await gateway.http.post(path, json=ASKED, headers={"x-gateway-hops": hops})
    assert answer.status_code == 400
