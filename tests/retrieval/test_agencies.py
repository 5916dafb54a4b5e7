"""A team that has a library answers what only its documents can."""

from __future__ import annotations

from collections.abc import Callable

from gateway.postgres.database import Database
from tests.chat.asking import ask, text
from tests.chat.clients import Chat
from tests.conftest import StartGateway
from tests.retrieval.servers import ChromaServer
from tests.retrieval.shelf import Shelf
from tests.running import Gateway
from tests.scripted import Call, Reply, ScriptedUpstream, say
from tests.team import Team, make_team

OPENING = "The bakery opens at 5:40 in the morning, and closes at noon."
LIBRARY = -1


async def bakery(gateway: Gateway) -> tuple[Team, str]:
    """A manager and two others, of whom one has the documents; and a key of their owner's."""
    key = await gateway.key("ann", "agencies", "chat")
    names = ("manager", "reader", "poet")
    agents = [
        {"name": name, "instructions": "", "collections": ["books"] if name == "reader" else []}
        for name in names
    ]
    return await make_team(gateway, *names[1:], owner_key=key, agents=agents), key


def pass_on(to: int) -> Callable[[Call], Reply]:
    def step(call: Call) -> Reply:
        return say(to, call.inbound[-1][1])

    return step


async def test_an_agency_of_three_answers_from_its_documents(
    shelf: Shelf, upstream: ScriptedUpstream, database: Database
) -> None:
    gateway = shelf.gateway
    await shelf.create("books")
    await shelf.ready("Cats sleep most of the day.", OPENING, "Rivers run to the sea.")
    team, key = await bakery(gateway)
    upstream.script("manager", say(team["reader"], "When does the bakery open?"), pass_on(0))
    upstream.script("reader", say(LIBRARY, "opening hours of the bakery"), pass_on(team["manager"]))
    chat = Chat(gateway, team, key)
    answer = await chat.say("When can I buy bread?")
    assert OPENING in answer
    assert answer.startswith("Found for: opening hours of the bakery\n{")
    reader, again = upstream.calls_of("reader")
    assert "-1 is the library" in reader.messages[0]["content"]
    assert again.inbound[-1][0] == LIBRARY
    assert "library" not in upstream.calls_of("manager")[0].messages[0]["content"]
    said = await database.fetch(
        "SELECT from_id, to_id FROM message WHERE -1 IN (from_id, to_id) ORDER BY version"
    )
    assert [tuple(row) for row in said] == [(team["reader"], -1), (-1, team["reader"])]


async def test_a_library_that_is_away_is_closed_and_the_turn_goes_on(
    start_gateway: StartGateway, chroma: ChromaServer, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(chroma_url=chroma.url)
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create("books")
    await shelf.ready(OPENING)
    key = await gateway.key("ann", "agencies", "chat")
    agents = [{"name": "manager", "instructions": "", "collections": ["books"]}]
    team = await make_team(gateway, owner_key=key, agents=agents)
    chroma.kill()
    for _ in range(2):
        upstream.script("manager", say(LIBRARY, "opening hours"), pass_on(0))
    chat = Chat(gateway, team, key)
    assert "closed" in await chat.say("When?")
    chroma.start()
    assert OPENING in await chat.say("And now?")


async def test_nobody_searches_what_another_owns(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway()
    shelf = await Shelf.of(gateway, "bob")
    await shelf.create("books")
    await shelf.ready(OPENING)
    key = await gateway.key("ann", "agencies", "chat")
    agents = [{"name": "manager", "instructions": "", "collections": ["books"]}]
    team = await make_team(gateway, owner_key=key, agents=agents)
    upstream.script("manager", say(LIBRARY, "opening hours"), pass_on(0))
    told = await Chat(gateway, team, key).say("When?")
    assert OPENING not in told
    assert "no such collections: books" in told


async def test_a_collection_that_is_misspelt_is_named_beside_what_the_others_hold(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway()
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create("books")
    await shelf.ready(OPENING)
    key = await gateway.key("ann", "agencies", "chat")
    agents = [{"name": "manager", "instructions": "", "collections": ["boks", "books"]}]
    team = await make_team(gateway, owner_key=key, agents=agents)
    upstream.script("manager", say(LIBRARY, "opening hours"), pass_on(0))
    told = await Chat(gateway, team, key).say("When?")
    assert OPENING in told
    assert "no such collections: boks\n" in told


async def test_the_owners_documents_serve_whoever_may_use_the_agency(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway()
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create("books")
    await shelf.ready(OPENING)
    key = await gateway.key("ann", "agencies", "chat")
    agents = [{"name": "manager", "instructions": "", "collections": ["books"]}]
    team = await make_team(gateway, owner_key=key, agents=agents, shared=True)
    upstream.script("manager", say(LIBRARY, "opening hours"), pass_on(0))
    answer = await ask(gateway, team, "When?")
    assert OPENING in (text(answer) or "")
