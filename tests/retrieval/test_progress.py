"""The channel of a document, over real sockets: what it tells, to whom, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gateway import ids
from gateway.postgres.database import Database
from gateway.postgres.postmaster import SOCKET
from gateway.process.drain import Drain
from gateway.retrieval.documents import sql_queue
from gateway.retrieval.documents.ingest import open_ingest
from gateway.retrieval.documents.watch import Onlooker, open_watch
from gateway.retrieval.vectors.embedding import Embedders, WordLlama
from gateway.retrieval.vectors.index import Index
from tests.conftest import StartGateway
from tests.retrieval.shelf import Shelf
from tests.running import QUICK, Gateway
from tests.serving.crash.proxy import FaultProxy, Mode, to_socket
from tests.streams.reading import Subscription, following
from tests.streams.waiting import until

LOOK_S = QUICK.documents

LONG = "\n\n".join(f"Paragraph {n}: {'word ' * 150}" for n in range(800))


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    """The embedded index in the test's own hands: gateways over the same directory leave documents
    alone, as all processes but one do."""
    taken = Index(None, tmp_path / "chroma")
    await taken.ping()
    yield taken
    await taken.close()


@pytest.fixture
async def idle(index: Index, start_gateway: StartGateway) -> Shelf:
    """Ann's collection in a gateway that indexes nothing itself."""
    shelf = await Shelf.of(await start_gateway(), "ann")
    await shelf.create()
    return shelf


class Elsewhere:
    """Another process, which writes what the test has it write."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.job: tuple[object, ...] = ()

    async def take_up(self) -> None:
        row = await self.database.fetchrow(sql_queue.CLAIM, ["wordllama"], 60.0)
        assert row is not None, "there is nothing to do"
        self.job = row["id"], row["fence"]

    async def begin(self, passages: int) -> None:
        assert await self.database.fetchrow(sql_queue.BEGIN, *self.job, passages, 256)

    async def advance(self, first: int, count: int) -> None:
        places = list(range(first, first + count))
        texts = [f"Passage {n}." for n in places]
        assert await self.database.fetchrow(
            sql_queue.ADVANCE, *self.job, 60.0, places, places, texts
        )

    async def finish(self) -> None:
        assert await self.database.fetchrow(sql_queue.FINISH, *self.job)

    async def fail(self, why: str) -> None:
        assert await self.database.fetchrow(sql_queue.FAIL, *self.job, why)


def as_owner(shelf: Shelf) -> httpx.AsyncClient:
    """A client with the shelf's key; it is closed with the gateway."""
    gateway = shelf.gateway
    client = httpx.AsyncClient(base_url=gateway.base_url, headers=shelf.headers, timeout=30)
    gateway.clients.push_async_callback(client.aclose)
    return client


@asynccontextmanager
async def watching(
    shelf: Shelf, document: dict[str, Any], **more: object
) -> AsyncIterator[Subscription]:
    async with following(as_owner(shelf), document["stream_channel_id"], **more) as told:
        yield told


def documents(told: Subscription) -> list[dict[str, Any]]:
    return [one["document"] for one in told.of("document")]


def steps(told: Subscription) -> list[tuple[str, int, int]]:
    return [(one["state"], one["passages"], one["indexed"]) for one in documents(told)]


# ---- the story ----------------------------------------------------------------------------------


async def test_a_silent_channel_is_pinged_again_and_again(
    index: Index, start_gateway: StartGateway
) -> None:
    shelf = await Shelf.of(await start_gateway(ping=0.1), "ann")
    await shelf.create()
    async with watching(shelf, await shelf.add("It waits for its turn.")) as told:
        await told.until(lambda one: one.comments.count("ping") >= 3)


async def test_a_large_upload_tells_how_far_it_is_until_it_is_ready(gateway: Gateway) -> None:
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    added = await shelf.add(LONG, source="long.txt")
    assert added["stream_channel_id"] == added["id"]
    async with watching(shelf, added) as told:
        await told.until(lambda one: one.ended, within=60)
        told_of = documents(told)
        order = ["pending", "indexing", "ready"]
        places = [order.index(one["state"]) for one in told_of]
        assert places == sorted(places)
        assert told_of[-1]["state"] == "ready"
        indexed = [one["indexed"] for one in told_of]
        assert indexed == sorted(indexed)
        assert len(set(indexed)) > 2, "it was told at its end alone"
        assert all(one["indexed"] <= one["passages"] for one in told_of)
        assert indexed[-1] == told_of[-1]["passages"] >= 800
        assert told.ids == sorted(told.ids)
        assert len(told.ids) == len(told_of)
        assert told.comments[-1] == "goodbye, over"
        assert told.retry
    assert told_of[-1] == (await shelf.call("GET", f"/books/documents/{added['id']}")).json()


async def test_a_document_that_fails_says_why_and_ends(gateway: Gateway) -> None:
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    added = await shelf.upload("broken.pdf", b"%PDF-1.7 and no more")
    async with watching(shelf, added) as told:
        await told.until(lambda one: one.ended, within=30)
        last = documents(told)[-1]
        assert last["state"] == "failed"
        assert last["error"] == "This PDF can't be read: it is broken, or too large."


async def test_each_change_that_another_process_makes_is_told(
    idle: Shelf, database: Database
) -> None:
    added, elsewhere = await idle.add("A text."), Elsewhere(database)
    async with watching(idle, added) as told:
        await told.until(lambda one: steps(one) == [("pending", 0, 0)])
        await elsewhere.take_up()
        await told.until(lambda one: steps(one)[-1] == ("indexing", 0, 0))
        await elsewhere.begin(3)
        await told.until(lambda one: steps(one)[-1] == ("indexing", 3, 0))
        await elsewhere.advance(0, 2)
        await told.until(lambda one: steps(one)[-1] == ("indexing", 3, 2))
        await database.execute(sql_queue.RENEW, *([part] for part in elsewhere.job), 60.0)
        await asyncio.sleep(2 * LOOK_S)
        assert len(told.told) == 4, "a lease is no progress"
        await elsewhere.advance(2, 1)
        await elsewhere.finish()
        await told.until(lambda one: one.ended)
        assert steps(told)[-1] == ("ready", 3, 3)
        assert told.ids == sorted(told.ids)


async def test_one_process_indexes_and_another_is_followed(
    idle: Shelf, database: Database, index: Index
) -> None:
    added = await idle.add(LONG)
    async with watching(idle, added) as told:
        await told.until(lambda one: one.told)
        async with open_ingest(database, Embedders(WordLlama()), index, lease=15):
            await told.until(lambda one: one.ended, within=60)
        indexed = [one["indexed"] for one in documents(told)]
        assert indexed == sorted(indexed)
        assert documents(told)[-1]["state"] == "ready"


# ---- the end ------------------------------------------------------------------------------------


async def test_who_knows_the_end_is_told_nothing_more(gateway: Gateway) -> None:
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    (ready,) = await shelf.ready("A text.")
    async with watching(shelf, ready) as told:
        await told.until(lambda one: one.ended)
        assert [one["state"] for one in documents(told)] == ["ready"]
    ended = {"last-event-id": str(told.position)}
    http = as_owner(shelf)
    again = await http.get(f"/streams/{ready['id']}", headers=ended)
    assert (again.status_code, again.content) == (204, b"")
    for last in (told.ids[-1] - 1, told.ids[-1] + 1, "x", "9" * 30):
        async with watching(shelf, ready, last=last) as anew:
            await anew.until(lambda one: one.ended)
            assert [one["state"] for one in documents(anew)] == ["ready"]
    await gateway.resources.shelves.rebuild("ann", "books")
    async with watching(shelf, ready, last=told.position) as rebuilt:
        await rebuilt.until(lambda one: one.ended, within=30)
        assert documents(rebuilt)[-1]["state"] == "ready"
        assert rebuilt.ids[-1] > told.ids[-1]


async def test_who_was_away_at_the_end_is_told_of_it(idle: Shelf, database: Database) -> None:
    added, elsewhere = await idle.add("A text."), Elsewhere(database)
    await elsewhere.take_up()
    async with watching(idle, added) as told:
        await told.until(lambda one: one.told)
    await elsewhere.fail("It is no text.")
    async with watching(idle, added, last=told.position) as back:
        await back.until(lambda one: one.ended)
        assert [one["error"] for one in documents(back)] == ["It is no text."]


@pytest.mark.parametrize("what", ["the document", "the collection"])
async def test_a_document_that_is_deleted_says_so_and_ends(idle: Shelf, what: str) -> None:
    added = await idle.add("A text.")
    async with watching(idle, added) as told:
        await told.until(lambda one: one.told)
        path = f"/books/documents/{added['id']}" if what == "the document" else "/books"
        assert (await idle.call("DELETE", path)).status_code == 204
        await told.until(lambda one: one.ended)
        assert told.told[-1].data == {"type": "document.deleted", "document_id": added["id"]}
        assert told.ids == sorted(set(told.ids))
    for last in (told.ids[0], told.ids[-1]):
        gone = await as_owner(idle).get(
            f"/streams/{added['id']}", headers={"last-event-id": str(last)}
        )
        assert gone.status_code == 404


async def test_a_document_deleted_while_it_is_indexed_says_so(gateway: Gateway) -> None:
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    added = await shelf.add(LONG)
    async with watching(shelf, added) as told:
        await told.until(lambda one: documents(one)[-1:] and steps(one)[-1][2], within=30)
        await shelf.call("DELETE", f"/books/documents/{added['id']}")
        await told.until(lambda one: one.ended)
        assert told.names()[-1] == "document.deleted"
    await shelf.swept()


# ---- who may follow -----------------------------------------------------------------------------


async def test_strangers_find_nothing(idle: Shelf) -> None:
    added = await idle.add("A text.")
    channel, anonymous = added["id"], idle.gateway.anonymous
    bob = await Shelf.of(idle.gateway, "bob")
    missing = await anonymous.get(f"/streams/{channel}", headers=bob.headers)
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "channel_not_found"
    absent = ids.show(ids.DOCUMENT, ids.new())
    for other in (absent, "doc_1", f"{channel}.", f"{channel}.{absent}", f"conv_{channel[4:]}"):
        answer = await idle.gateway.http.get(f"/streams/{other}")
        assert (answer.status_code, answer.json()) == (404, missing.json()), other
    token = await anonymous.post(
        "/api/streams/tokens", json={"channel": channel}, headers=bob.headers
    )
    assert token.status_code == 404
    assert (await anonymous.get(f"/streams/{channel}")).status_code == 401
    chat = {"x-api-key": await idle.gateway.key("ann")}
    assert (await anonymous.get(f"/streams/{channel}", headers=chat)).status_code == 403
    refused = await anonymous.post("/api/streams/tokens", json={"channel": channel}, headers=chat)
    assert refused.status_code == 403


async def test_a_token_opens_its_document_and_no_other(idle: Shelf) -> None:
    added, other = await idle.add("A text."), await idle.add("Another text.")
    anonymous = idle.gateway.anonymous
    made = await anonymous.post(
        "/api/streams/tokens", json={"channel": added["id"]}, headers=idle.headers
    )
    assert made.status_code == 201, made.text
    token = made.json()["token"]
    assert made.json()["url"] == f"/streams/{added['id']}?token={token}"
    async with following(anonymous, added["id"], token=token) as told:
        await told.until(lambda one: one.told)
    wrong = await anonymous.get(f"/streams/{other['id']}", params={"token": token})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "bad_token")


async def test_a_key_that_is_revoked_ends_its_streams(idle: Shelf) -> None:
    added = await idle.add("A text.")
    async with watching(idle, added) as told:
        await told.until(lambda one: one.told)
        key_id = idle.headers["authorization"].split("_")[1]
        await idle.gateway.resources.callers.revoke(key_id)
        await told.until(lambda one: one.ended)
        assert told.comments[-1] == "goodbye, no longer allowed"


# ---- many, and trouble --------------------------------------------------------------------------


class Counting:
    """A database that notes for how many readers each statement asks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked: list[int] = []

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        self.asked.append(len(arguments[0]))
        return await self._database.fetch(statement, *arguments)


async def test_many_readers_are_looked_for_in_one_statement(
    idle: Shelf, database: Database
) -> None:
    added = [ids.read(ids.DOCUMENT, (await idle.add(f"Text {n}."))["id"]) for n in range(10)]
    key_id = idle.headers["authorization"].split("_")[1]
    counting, elsewhere = Counting(database), Elsewhere(database)
    async with (
        open_watch(cast("Database", counting), Drain(), LOOK_S) as watch,
        AsyncExitStack() as stack,
    ):
        lookouts = [
            await stack.enter_async_context(watch.follow(Onlooker(one, key_id), None))
            for one in added
            for _ in range(5)
        ]
        for one in lookouts:
            assert await one.next()
        counting.asked.clear()
        await elsewhere.take_up()
        await asyncio.gather(*(one.next() for one in lookouts[:5]))
        assert set(counting.asked) == {10}, "each document is asked for once, all in one"


async def test_nobody_is_looked_for_when_nobody_follows(idle: Shelf, database: Database) -> None:
    counting = Counting(database)
    async with open_watch(cast("Database", counting), Drain(), LOOK_S) as watch:
        watch.look()
        await asyncio.sleep(2 * LOOK_S)
        assert not counting.asked


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[FaultProxy]:
    """The way to Postgres. It is there for longer than the gateway."""
    (directory,) = parse_qs(urlsplit(dsn).query)["host"]
    async with FaultProxy(to_socket(f"{directory}/{SOCKET}")) as opened:
        yield opened


async def test_followers_are_told_after_postgres_was_away(
    dsn: str, proxy: FaultProxy, index: Index, database: Database, start_gateway: StartGateway
) -> None:
    address = f"postgresql://postgres@127.0.0.1:{proxy.port}{urlsplit(dsn).path}"
    shelf = await Shelf.of(await start_gateway(dsn=address), "ann")
    await shelf.create()
    added, elsewhere = await shelf.add("A text."), Elsewhere(database)
    async with watching(shelf, added) as told:
        await told.until(lambda one: one.told)
        async with proxy.fault(Mode.CUT):
            await elsewhere.take_up()
            await elsewhere.begin(1)
            await elsewhere.advance(0, 1)
            await asyncio.sleep(3 * LOOK_S)
            assert len(told.told) == 1
            assert not told.ended
        await told.until(lambda one: steps(one)[-1] == ("indexing", 1, 1), within=15)
        await elsewhere.finish()
        await told.until(lambda one: one.ended)
        assert documents(told)[-1]["state"] == "ready"


async def test_followers_are_told_when_the_gateway_ends(idle: Shelf) -> None:
    added = await idle.add("A text.")
    async with watching(idle, added) as told:
        await told.until(lambda one: one.told)
        idle.gateway.resources.drain.begin()
        await told.until(lambda one: one.ended)
        assert told.comments[-1] == "goodbye, the gateway is shutting down"
        late = await as_owner(idle).get(f"/streams/{added['id']}")
        assert late.status_code == 503


async def test_who_leaves_is_forgotten(idle: Shelf) -> None:
    added = await idle.add("A text.")
    async with watching(idle, added) as told:
        await told.until(lambda one: one.told)
        assert len(idle.gateway.resources.watch.lookouts) == 1
    await until(lambda: not idle.gateway.resources.watch.lookouts)
