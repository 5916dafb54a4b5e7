"""A process is killed while it waits for an agent of another gateway."""

from __future__ import annotations

import httpx

from gateway.postgres.database import Database
from tests.agency.test_recovery import is_, only_turn, until
from tests.remote.elsewhere import Elsewhere, tells, thinks
from tests.scripted import ScriptedUpstream, say
from tests.serving.crash.conftest import Spawn
from tests.serving.crash.processes import LEASE_S

ALLOWED = {"GATEWAY_EGRESS_ALLOW": "127.0.0.1"}


async def make_agency(http: httpx.AsyncClient, address: str) -> dict[str, int]:
    agents = [
        {"name": "manager", "instructions": ""},
        {"name": "expert", "instructions": "", "remote": address},
    ]
    body = {"name": "Team", "manager": "manager", "agents": agents}
    made = await http.post("/api/agencies", json=body)
    assert made.status_code == 201, made.text
    return {agent["name"]: agent["id"] for agent in made.json()["agents"]}


async def test_another_process_asks_again_and_finishes_the_turn(
    spawn: Spawn, upstream: ScriptedUpstream, database: Database
) -> None:
    async with Elsewhere() as elsewhere:
        key = {"GATEWAY_REMOTE_KEYS": f"{elsewhere.origin}=theirs"}
        one = await spawn("one", **ALLOWED, **key)
        other = await spawn("other", **ALLOWED, **key)
        team = await make_agency(one.http, elsewhere.address)
        upstream.script("manager", say(team["expert"], "Q"), say(0, "A"))
        elsewhere.answers["GET"] = thinks
        path = f"/api/agents/{team['manager']}/sessions"
        asked = {"messages": [{"role": "user", "content": "Hi"}], "drive": "auto"}
        begun = await one.http.post(path, json=asked, params={"wait": 0})
        await elsewhere.arrived("GET")
        assert (await only_turn(database))["state"] == "running"
        await one.kill()
        elsewhere.answers["GET"] = tells("resolved", message="Done.")
        await until(lambda: is_(database, "completed"), within=LEASE_S + 20)
        session = await other.http.get(f"{path}/{begun.json()['id']}")
        assert session.json()["message"] == "A"
        first, second = elsewhere.of("POST")
        assert first.body == second.body
        assert second.headers["authorization"] == "Bearer theirs"
        rows = await database.fetch("SELECT model FROM step ORDER BY version")
        assert [row["model"] for row in rows][1] == "remote"
        assert len(upstream.calls_of("manager")) == 2
