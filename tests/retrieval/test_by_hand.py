"""A team of three with a real library: what the gateway does by itself and what a person does for
it by hand, step by step, come to the same."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.postgres.database import Database
from tests.chat.clients import Chat, letters
from tests.client import bearer
from tests.integrity import check
from tests.retrieval.shelf import Shelf
from tests.retrieval.test_agencies import LIBRARY, OPENING, pass_on
from tests.rooms.asking import Caller, heard, settled
from tests.scripted import Call, ScriptedUpstream, say
from tests.sessions.asking import Body, Driver, talk
from tests.streams.reading import following
from tests.team import Team, make_team

QUESTION = "When can I buy bread, and is there a rhyme for it?"
RHYME = "Bread rhymes with head."
TIDY = "Say it as it is."


@dataclass
class Bakery:
    """Ann's agency, whose manager has the documents; a reader and a poet are beside it."""

    shelf: Shelf
    team: Team
    http: httpx.AsyncClient
    key: str

    @property
    def driver(self) -> Driver:
        return Driver(self.http, self.team["manager"])

    @property
    def ann(self) -> Caller:
        return Caller(self.http, "ann")

    async def searched(self, session: Body) -> list[dict[str, Any]]:
        """What whoever answers a search finds in the library, as the API gives it."""
        search = session["search"]
        (name,) = search["collections"]
        asked = {"query": search["query"], "limit": search["limit"]}
        answer = await self.http.post(f"/api/collections/{name}/query", json=asked)
        assert answer.status_code == 200, answer.text
        kept = ("text", "source", "score")
        return [{one: passage[one] for one in kept} for passage in answer.json()["data"]]

    async def answered(self, session: Body) -> Body:
        """The session when its step was answered by hand, by whoever is asked."""
        if session["state"] == "search":
            passages = await self.searched(session)
            return await self.driver.answer(session, session["step"], passages=passages)
        assert session["state"] == "call_agent", session
        words = RHYME if session["call"]["to"] == self.team["poet"] else TIDY
        return await self.driver.answer(session, session["step"], context=words)

    async def waiting(self) -> Body:
        """The session that waits for somebody."""
        (session,) = await self.driver.until_waiting()
        return session


@pytest.fixture
async def bakery(shelf: Shelf) -> Bakery:
    gateway = shelf.gateway
    await shelf.create("books")
    await shelf.ready("Cats sleep most of the day.", source="cats.md")
    await shelf.ready(OPENING, source="hours.md")
    key = await gateway.key("ann", "agencies", "chat", "conversations", "retrieval")
    names = ("manager", "reader", "poet")
    agents = [
        {"name": name, "instructions": "", "collections": ["books"] if name == "manager" else []}
        for name in names
    ]
    team = await make_team(gateway, *names[1:], owner_key=key, agents=agents)
    http = httpx.AsyncClient(base_url=gateway.base_url, headers=bearer(key), timeout=30)
    gateway.clients.push_async_callback(http.aclose)
    return Bakery(shelf, team, http, key)


def script(upstream: ScriptedUpstream, team: Team, *, alone: bool) -> None:
    """A manager who searches, asks both others, and answers with all that it was told. The others
    have a script only where nobody answers for them."""
    manager = team["manager"]

    upstream.script(
        "manager",
        say(LIBRARY, "opening hours of the bakery"),
        pass_on(team["reader"]),
        say(team["poet"], "A rhyme for bread?"),
        lambda call: say(0, found(call)),
    )
    if alone:
        upstream.script("reader", say(manager, TIDY))
        upstream.script("poet", say(manager, RHYME))


def found(call: Call) -> str:
    """All that the library and the others have told the manager."""
    return "\n".join(text for sender, text in call.inbound if sender != 0)


def manager_saw(upstream: ScriptedUpstream) -> list[list[tuple[str, int, str]]]:
    return [letters(call) for call in upstream.calls_of("manager")]


async def forget(database: Database) -> None:
    """All that was said, so that ids and rows of the next time can be compared."""
    said = "message", "step", "turn", "interaction", "participant", "participant_right"
    for table in (*said, "conversation"):
        await database.execute(f"DELETE FROM {table}")  # noqa: S608


async def test_the_sdk_and_a_person_come_to_the_same_contexts(
    bakery: Bakery, upstream: ScriptedUpstream, database: Database
) -> None:
    script(upstream, bakery.team, alone=True)
    answer = await Chat(bakery.shelf.gateway, bakery.team, bakery.key).say(QUESTION)
    assert OPENING in answer
    assert '{"number":1,"source":"hours.md",' in answer
    assert RHYME in answer
    by_itself, seen = await talk(database), manager_saw(upstream)
    await forget(database)

    script(upstream, bakery.team, alone=False)
    session = await bakery.driver.begin(QUESTION)
    states = []
    while session["state"] != "resolved":
        states.append(session["state"])
        session = await bakery.answered(session)
    assert states == ["search", "call_agent", "call_agent"]
    assert session["message"] == answer
    assert await talk(database) == by_itself
    assert manager_saw(upstream)[len(seen) :] == seen
    await check(database)


async def test_a_room_announces_each_step_and_whoever_may_answers_it(
    bakery: Bakery, upstream: ScriptedUpstream, database: Database
) -> None:
    ann = bakery.ann
    script(upstream, bakery.team, alone=True)
    auto = await ann.create(("agency", bakery.team.id))
    await ann.say(auto["id"], QUESTION)
    (_, (_, answer)) = heard(await settled(ann, auto["id"]))
    assert OPENING in answer
    by_itself = await talk(database)
    await forget(database)

    script(upstream, bakery.team, alone=False)
    room = await ann.create(("agency", bakery.team.id), drive="manual")
    async with following(ann.http, room["id"]) as stream:
        await stream.until(lambda one: one.told)
        await ann.say(room["id"], QUESTION)
        for step in range(1, 4):
            await stream.until(lambda one, step=step: len(announced(one)) == step)
            awaits = announced(stream)[-1]
            session = await bakery.driver.read({"id": awaits["session_id"]}, wait=0)
            assert awaits == {
                "session_id": session["id"],
                "agent_id": session["agent_id"],
                "step": session["step"],
                "state": session["state"],
            }
            assert (session["step"], session["conversation_id"]) == (step, room["id"])
            await bakery.answered(session)
        await stream.until(
            lambda one: (
                [told["turn"]["state"] for told in one.of("turn.updated")][-1:] == ["completed"]
            )
        )
        assert stream.of("turn.updated")[-1]["turn"]["awaits"] is None
        said = [told["message"] for told in stream.of("message.created")]
        searched = [(one["from"], one["to"]) for one in said]
        manager = bakery.team["manager"]
        assert (manager, LIBRARY) in searched
        assert (LIBRARY, manager) in searched
    assert heard(await settled(ann, room["id"]))[1][1] == answer
    assert await talk(database) == by_itself
    await check(database)


def announced(stream: Any) -> list[Body]:
    """What was told of each step that waits."""
    turns = [told["turn"] for told in stream.of("turn.updated")]
    assert all((turn["awaits"] is not None) == (turn["state"] == "waiting") for turn in turns)
    waiting = {turn["version"]: turn["awaits"] for turn in turns if turn["state"] == "waiting"}
    return [waiting[version] for version in sorted(waiting)]


async def test_a_room_may_be_left_to_the_gateway_in_the_middle_of_a_turn_and_taken_back(
    bakery: Bakery, upstream: ScriptedUpstream
) -> None:
    """A search by hand, a call by the gateway, and one more call by hand."""
    ann, manager = bakery.ann, bakery.team["manager"]
    hold = asyncio.Event()
    script(upstream, bakery.team, alone=False)
    upstream.script("reader", say(manager, TIDY, hold=hold))
    room = await ann.create(("agency", bakery.team.id), drive="manual")
    await ann.say(room["id"], QUESTION)
    session = await bakery.answered(await bakery.waiting())
    assert (session["state"], session["call"]["to"]) == ("call_agent", bakery.team["reader"])
    await ann.call("PATCH", f"/{room['id']}", json={"drive": "auto"})
    await upstream.arrived("reader")
    await ann.call("PATCH", f"/{room['id']}", json={"drive": "manual"})
    hold.set()
    session = await bakery.waiting()
    assert (session["step"], session["call"]["to"]) == (2, bakery.team["poet"])
    await bakery.answered(session)
    answer = heard(await settled(ann, room["id"]))[1][1]
    assert OPENING in answer
    assert RHYME in answer
    assert not upstream.calls_of("poet")


async def test_a_search_that_is_left_to_the_gateway_is_answered_from_the_documents(
    bakery: Bakery, upstream: ScriptedUpstream
) -> None:
    ann = bakery.ann
    upstream.script("manager", say(LIBRARY, "opening hours"), pass_on(0))
    room = await ann.create(("agency", bakery.team.id), drive="manual")
    await ann.say(room["id"], QUESTION)
    session = await bakery.waiting()
    assert session["search"] == {"query": "opening hours", "collections": ["books"], "limit": 5}
    await ann.call("PATCH", f"/{room['id']}", json={"drive": "auto"})
    answer = heard(await settled(ann, room["id"]))[1][1]
    assert OPENING in answer
    assert "hours.md" in answer
