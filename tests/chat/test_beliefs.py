"""Keys and agencies are believed from memory; what accepts a turn checks them."""

from __future__ import annotations

import pytest
from openai import AuthenticationError, NotFoundError

from gateway.auth import Callers
from gateway.postgres.database import Database
from tests.chat.clients import Chat, retry
from tests.conftest import StartGateway
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say
from tests.team import make_team


async def key_of(gateway: Gateway, database: Database, user: str) -> tuple[str, str]:
    """A new key and its id."""
    known, token = await Callers(database).create(user, ("chat",))
    return token, known.id


@pytest.mark.parametrize("again", [False, True], ids=["the next message", "a retry"])
async def test_a_revoked_key_is_refused_though_it_is_remembered(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database, again: bool
) -> None:
    team = await make_team(gateway, shared=True)
    token, key_id = await key_of(gateway, database, "ann")
    ann = Chat(gateway, team, token)
    upstream.script("manager", say(0, "A1"))
    before = ann.branch()
    await ann.say("Hi")
    await Callers(database).revoke(key_id)  # by another process
    with pytest.raises(AuthenticationError):
        await (before.say("Hi", **retry()) if again else ann.say("Go on"))
    with pytest.raises(AuthenticationError):
        await before.say("Something new")


async def test_a_changed_agency_answers_as_it_is_now(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    one, other = await start_gateway(), await start_gateway()
    team = await make_team(one)
    ann = Chat(one, team)
    upstream.script("manager", say(0, "A1"), say(0, "A2"))
    await ann.say("Hi")
    path = f"/api/agencies/{team.id}/agents/{team['manager']}"
    changed = await other.http.patch(path, json={"instructions": "You sing."})
    assert changed.status_code == 200, changed.text
    await ann.say("Go on")
    assert "You sing." in upstream.calls[1].messages[0]["content"]


@pytest.mark.parametrize("again", [False, True], ids=["the next message", "a retry"])
async def test_a_deleted_agency_is_not_found_though_it_is_remembered(
    start_gateway: StartGateway, upstream: ScriptedUpstream, again: bool
) -> None:
    one, other = await start_gateway(), await start_gateway()
    team = await make_team(one)
    ann = Chat(one, team)
    upstream.script("manager", say(0, "A1"))
    before = ann.branch()
    await ann.say("Hi")
    gone = await other.http.delete(f"/api/agencies/{team.id}")
    assert gone.status_code in (200, 204), gone.text
    with pytest.raises(NotFoundError):
        await (before.say("Hi", **retry()) if again else ann.say("Go on"))


async def test_an_agency_that_is_no_longer_shared_is_not_found_by_others(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    one, other = await start_gateway(), await start_gateway()
    team = await make_team(one, shared=True)
    ann = Chat(one, team, await one.key("ann"))
    upstream.script("manager", say(0, "A1"))
    before = ann.branch()
    await ann.say("Hi")
    changed = await other.http.patch(f"/api/agencies/{team.id}", json={"shared": False})
    assert changed.status_code == 200, changed.text
    with pytest.raises(NotFoundError):
        await ann.say("Go on")
    with pytest.raises(NotFoundError):
        await before.say("Hi", **retry())


async def test_a_retry_finds_its_turn_though_the_agency_has_changed(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    one, other = await start_gateway(), await start_gateway()
    team = await make_team(one)
    ann = Chat(one, team)
    upstream.script("manager", say(0, "A1"))
    before = ann.branch()
    await ann.say("Hi")
    await other.http.patch(f"/api/agencies/{team.id}", json={"name": "Other"})
    assert await before.say("Hi", **retry()) == "A1"
    assert before.completion == ann.completion
