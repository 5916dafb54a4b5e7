"""An agent of one gateway works in the agency of another."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from gateway.ids import TURN, show
from gateway.network.addresses import origin
from gateway.postgres.database import Database, open_database
from tests.agency.test_recovery import is_, leave, only_turn, until
from tests.chat.asking import ask, steps, stream, system, talk, text, user, words
from tests.chat.clients import Chat, letters
from tests.conftest import StartGateway
from tests.remote.asking import managed_from, steps_of, team_with
from tests.remote.conftest import LOOPBACK
from tests.remote.elsewhere import Elsewhere, session, thinks
from tests.running import Gateway
from tests.scripted import Call, ScriptedUpstream, say, say_many, silence
from tests.scripted.replies import Reply
from tests.sessions.asking import driving
from tests.team import make_team


async def test_a_team_of_two_gateways_answers_through_the_sdk(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    far: Gateway,
    far_upstream: ScriptedUpstream,
    database: Database,
) -> None:
    key = await far.key("carol", "agencies", "conversations")
    theirs = await make_team(far, "baker", owner_key=key)
    near = await start_gateway(egress_allow=LOOPBACK, remote_keys={origin(far.base_url): key})
    ours = await team_with(near, f"{far.base_url}/api/agents/{theirs['manager']}")
    upstream.script("manager", say(ours["expert"], "What is rye?"), say(0, "Rye is 3."))
    far_upstream.script("manager", say(theirs["baker"], "Rye?"), say(0, "It is 3."))
    far_upstream.script("baker", say(theirs["manager"], "3"))

    assert text(await ask(near, ours, "Rye?")) == "Rye is 3."

    manager, expert = ours["manager"], ours["expert"]
    assert await talk(database, expert) == [
        ("user", manager, expert, "What is rye?"),
        ("assistant", expert, manager, "It is 3."),
    ]
    assert letters(upstream.calls[1])[-1] == ("user", expert, "It is 3.")
    assert await steps_of(database, expert) == [("remote", 0, None)]
    assert [output for _, output, _ in await steps(database)] == [None] * 3
    told = far_upstream.calls[0]
    assert told.inbound == [(0, "What is rye?")]
    assert told.messages[0]["content"].endswith("Be brief.")
    keys = {call.headers["authorization"] for call in far_upstream.calls}
    assert keys == {"Bearer upstream-key"}


async def test_what_goes_out_holds_the_key_for_that_origin_and_nothing_else(
    start_gateway: StartGateway, upstream: ScriptedUpstream, elsewhere: Elsewhere
) -> None:
    keys = {origin(elsewhere.origin): "theirs", "http://127.0.0.1:1": "another's"}
    near = await start_gateway(
        egress_allow=LOOPBACK, remote_keys=keys, openai_api_key="secret-upstream"
    )
    team = await team_with(near, elsewhere.address)
    upstream.script("manager", say(team["expert"], "Q"), say(0, "A"))
    caller = await near.key("root", "chat")
    client = near.client(team.id, key=caller)
    cookie = {"cookie": "session=ours", "x-request-id": "r-1"}
    await client.chat.completions.create(model="m", messages=[user("Hi")], extra_headers=cookie)
    known = {"host", "accept", "accept-encoding", "connection", "user-agent", "authorization"}
    for seen in elsewhere.seen:
        of_body = {"content-type", "content-length", "x-gateway-hops"}
        assert set(seen.headers) == known | (of_body if seen.body else set()), seen
        assert seen.headers["authorization"] == "Bearer theirs"
        assert "secret-upstream" not in str(seen)
        assert caller not in str(seen)
    (begun,) = elsewhere.of("POST")
    assert begun.path == "/api/agents/7/sessions"
    assert begun.headers["x-gateway-hops"] == "1"
    assert begun.body == {
        "messages": [system("Be brief."), user("Q")],
        "drive": "auto",
    }


async def test_without_a_key_for_its_origin_none_is_sent(
    start_gateway: StartGateway, upstream: ScriptedUpstream, elsewhere: Elsewhere
) -> None:
    others = {f"http://localhost:{elsewhere.port}": "a", f"https://127.0.0.1:{elsewhere.port}": "b"}
    near = await start_gateway(egress_allow=LOOPBACK, remote_keys=others)
    team = await team_with(near, elsewhere.address)
    upstream.script("manager", say(team["expert"], "Q"), say(0, "A"))
    await ask(near, team)
    assert elsewhere.seen
    assert not any("authorization" in seen.headers for seen in elsewhere.seen)


async def test_cookies_are_forgotten(
    near: Gateway, upstream: ScriptedUpstream, elsewhere: Elsewhere
) -> None:
    async def bakes(request: web.Request) -> web.StreamResponse:
        answer = web.json_response(session("resolved", message="A"), status=201)
        answer.set_cookie("crumb", "1")
        return answer

    elsewhere.answers["POST"] = bakes
    team = await team_with(near, elsewhere.address)
    upstream.script("manager", say(team["expert"], "1"), say(team["expert"], "2"), say(0, "A"))
    await ask(near, team)
    assert len(elsewhere.seen) == 2
    assert not any("cookie" in seen.headers for seen in elsewhere.seen)


async def test_a_manager_that_lives_elsewhere_talks_with_the_end_user(
    near: Gateway, elsewhere: Elsewhere, database: Database
) -> None:
    team = await managed_from(near, elsewhere.address)
    ann = Chat(near, team, history=[system("Rhyme!")])
    assert await ann.say("Hi") == "Done."
    assert await ann.say("More") == "Done."
    assert elsewhere.of("POST")[1].body["messages"] == [
        system("Be brief.\n\nRhyme!"),
        user("Hi"),
        {"role": "assistant", "content": "Done."},
        user("More"),
    ]
    assert words(await stream(near, team, "Streamed?")) == "Done."
    assert await steps_of(database, team["manager"]) == [("remote", 0, None)] * 3


async def test_it_answers_all_who_had_asked_it_and_the_later_ones_later(
    near: Gateway, upstream: ScriptedUpstream, elsewhere: Elsewhere, database: Database
) -> None:
    asked = asyncio.Event()
    answers = iter(("First.", "Second."))

    async def answer(request: web.Request) -> web.StreamResponse:
        await asked.wait()
        return web.json_response(session("resolved", message=next(answers)))

    elsewhere.answers["GET"] = answer
    team = await team_with(near, elsewhere.address, "clerk")
    expert, clerk, manager = team["expert"], team["clerk"], team["manager"]

    async def release() -> None:
        await upstream.arrived("clerk")
        await until(lambda: _heard(database, expert, 2))
        asked.set()

    upstream.script("manager", say_many((expert, "One?"), (clerk, "Two?")), say(0, "A"))
    upstream.script("clerk", say(expert, "Three?"), say(manager, "Two."))
    releasing = asyncio.create_task(release())
    assert text(await ask(near, team)) == "A"
    await releasing
    first, second = elsewhere.of("POST")
    assert first.body["messages"] == [system("Be brief."), user("One?")]
    told, *rest = second.body["messages"]
    assert told["content"].startswith("Be brief.\n\nSeveral speak with you.")
    assert rest == [
        user(_by(manager, "One?")),
        {"role": "assistant", "content": "First."},
        user(_by(clerk, "Three?")),
    ]
    assert await talk(database, clerk) == [
        ("user", manager, clerk, "Two?"),
        ("assistant", clerk, expert, "Three?"),
        ("user", expert, clerk, "Second."),
        ("assistant", clerk, manager, "Two."),
    ]


def _by(agent: int, words: str) -> str:
    """As it is told where more than one speaks."""
    return f'{{"by":{{"kind":"agent","identifier":"{agent}"}},"context":"{words}"}}'


async def _heard(database: Database, agent: int, count: int) -> bool:
    row = await database.fetchrow(
        "SELECT count(*) AS heard FROM message WHERE agent_id = $1 AND role = 'user'", agent
    )
    return row is not None and row["heard"] >= count


async def test_cancelling_a_turn_cancels_the_session(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    far: Gateway,
    far_upstream: ScriptedUpstream,
    database: Database,
) -> None:
    keys = {origin(far.base_url): far.root_key}
    near = await start_gateway(egress_allow=LOOPBACK, remote_keys=keys)
    theirs = await make_team(far)
    ours = await team_with(near, f"{far.base_url}/api/agents/{theirs['manager']}")
    upstream.script("manager", say(ours["expert"], "Q"))
    far_upstream.script("manager", silence())
    asking = asyncio.create_task(near.http.post(f"/api/agency/{ours.id}/chat/completions", json=HI))
    call = await far_upstream.arrived()
    turn = await only_turn(database)
    answer = await near.http.post(f"/api/turns/{show(TURN, turn['id'])}/cancel")
    assert answer.status_code == 200
    assert (await asking).json()["error"]["code"] == "turn_cancelled"
    async with asyncio.timeout(20):
        await call.disconnected.wait()
    async with open_database(far.dsn, pool_size=1) as theirs_rows:
        await until(lambda: is_(theirs_rows, "cancelled"))


HI: dict[str, Any] = {"model": "m", "messages": [user("Hi")]}


async def test_a_client_that_leaves_ends_the_session_and_another_is_begun_for_its_retry(
    near: Gateway, upstream: ScriptedUpstream, elsewhere: Elsewhere, database: Database
) -> None:
    team = await team_with(near, elsewhere.address)
    patient = elsewhere.answers["GET"]
    elsewhere.answers["GET"] = thinks
    upstream.script("manager", say(team["expert"], "Q"), say(0, "A"))
    asking = asyncio.create_task(ask(near, team))
    await elsewhere.arrived("GET")
    await leave(asking)
    cancelled = await elsewhere.arrived("DELETE")
    assert cancelled.path == "/api/agents/7/sessions/sess_00000000000000000000000000000001"
    elsewhere.answers["GET"] = patient
    # Sooner, the same request without the mark of a retry would be a question of its own.
    await until(lambda: is_(database, "suspended"))
    assert text(await ask(near, team)) == "A"
    assert len(elsewhere.of("POST")) == 2


async def test_who_is_cancelled_while_it_begins_leaves_no_session_behind(
    near: Gateway, upstream: ScriptedUpstream, elsewhere: Elsewhere, database: Database
) -> None:
    begins, begin = asyncio.Event(), elsewhere.answers["POST"]

    async def slow(request: web.Request) -> web.StreamResponse:
        await begins.wait()
        return await begin(request)

    elsewhere.answers["POST"] = slow
    team = await team_with(near, elsewhere.address)
    upstream.script("manager", say(team["expert"], "Q"))
    asking = asyncio.create_task(ask(near, team))
    await elsewhere.arrived("POST")
    await leave(asking)
    await until(lambda: is_(database, "suspended"))
    begins.set()
    await elsewhere.arrived("DELETE")
    assert not elsewhere.of("GET")


async def test_a_process_that_ends_leaves_no_session_behind_and_another_begins_one(
    start_gateway: StartGateway, upstream: ScriptedUpstream, elsewhere: Elsewhere
) -> None:
    one = await start_gateway(egress_allow=LOOPBACK)
    team = await team_with(one, elsewhere.address)
    patient = elsewhere.answers["GET"]
    elsewhere.answers["GET"] = thinks
    upstream.script("manager", say(team["expert"], "Q"), say(0, "A"))
    session = await driving(one, team["manager"]).begin(**HI, drive="auto", wait=0)
    await elsewhere.arrived("GET")
    elsewhere.answers["GET"] = patient
    one.resources.drain.begin()
    await elsewhere.arrived("DELETE")
    other = await start_gateway(egress_allow=LOOPBACK)
    assert (await driving(other, team["manager"]).read(session))["message"] == "A"
    assert len(elsewhere.of("POST")) == 2


async def test_agents_that_ask_each_other_in_a_circle_are_stopped(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    keys: dict[str, str] = {}
    near = await start_gateway(egress_allow=LOOPBACK, remote_keys=keys)
    keys[origin(near.base_url)] = near.root_key
    team = await team_with(near, f"{near.base_url}/api/agents/1")
    path = f"/api/agencies/{team.id}/agents/{team['expert']}"
    address = f"{near.base_url}/api/agents/{team['manager']}"
    assert (await near.http.patch(path, json={"remote": address})).status_code == 200

    def again(call: Call) -> Reply:
        sender, heard = call.inbound[-1]
        return say(team["expert"], "Again") if sender == 0 else say(0, heard)

    upstream.always("manager", again)
    answer = text(await ask(near, team))
    assert answer is not None
    assert answer.endswith("rejected the request (HTTP 400, too_many_hops).")
    rows = await database.fetch("SELECT request->'hops' AS hops FROM turn ORDER BY id")
    assert [row["hops"] for row in rows] == [None, "1", "2", "3", "4"]
