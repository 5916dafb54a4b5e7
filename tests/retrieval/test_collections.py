"""Documents in, passages out, the same over Chroma's files and over a Chroma server."""

from __future__ import annotations

from uuid import UUID

import pytest

from gateway.retrieval.documents import sql
from gateway.retrieval.vectors import where as filters
from gateway.retrieval.vectors.embedding import WordLlama
from tests.client import bearer
from tests.retrieval.shelf import Shelf
from tests.running import Gateway

CAT = "The cat sleeps on the warm windowsill all afternoon."
BANK = "The central bank raised its interest rate by a quarter of a point."
BREAD = "Sourdough bread needs a lively starter, flour, water, salt and patience."


async def test_what_is_put_in_is_found_by_meaning_and_by_word(shelf: Shelf) -> None:
    made = await shelf.create()
    assert made["embedder"] == "wordllama"
    assert (made["dimension"], made["documents"]) == (None, 0)
    documents = await shelf.ready(CAT, BANK, BREAD)
    found = await shelf.query("a kitten taking a nap")
    assert found[0]["text"] == CAT
    assert found[0]["document_id"] == documents[0]["id"]
    assert set(found[0]) == {"text", "source", "document_id", "position", "score", "metadata"}
    assert [one["text"] for one in await shelf.query("sourdough", limit=1)] == [BREAD]
    scores = [one["score"] for one in found]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] <= scores[0] <= 1
    told = (await shelf.call("GET", "/books")).json()
    assert (told["dimension"], told["documents"]) == (256, 3)


async def test_a_document_tells_how_far_it_is(shelf: Shelf) -> None:
    await shelf.create()
    text = "\n\n".join(f"Paragraph {n}. " + "Some more words about it. " * 30 for n in range(300))
    added = await shelf.add(text, source="long.txt", metadata={"lang": "en"})
    assert (added["state"], added["passages"], added["error"]) == ("pending", 0, None)
    assert set(added) == {
        *("id", "source", "media_type", "state", "passages", "indexed", "error", "metadata"),
        *("created_at", "updated_at", "stream_channel_id"),
    }
    seen: list[tuple[int, int]] = []
    while (now := (await shelf.call("GET", f"/books/documents/{added['id']}")).json())[
        "state"
    ] != "ready":
        seen.append((now["indexed"], now["passages"]))
    assert seen == sorted(seen)
    assert now["indexed"] == now["passages"] > 200
    assert any(0 < done < total for done, total in seen)


async def test_a_passage_says_where_it_stands(shelf: Shelf) -> None:
    await shelf.create()
    text = "\n\n".join(f"Chapter {n} is about {'stone ' * 100}" for n in range(10)) + "\n\n" + BREAD
    (document,) = await shelf.ready(text, source="a.txt", metadata={"year": 2020, "new": True})
    found = (await shelf.query("sourdough starter", limit=1))[0]
    assert BREAD in found["text"]
    assert text[found["position"] :].startswith(found["text"])
    assert (found["source"], found["document_id"]) == ("a.txt", document["id"])
    assert found["metadata"] == {"year": 2020, "new": True}


async def test_the_same_content_is_stored_once(shelf: Shelf) -> None:
    await shelf.create()
    await shelf.create("others")
    (first,) = await shelf.ready(CAT)
    again = await shelf.call("POST", "/books/documents", json={"text": CAT, "source": "twice"})
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    elsewhere = await shelf.call("POST", "/others/documents", json={"text": CAT})
    assert elsewhere.status_code == 202
    assert len(await shelf.query("cat")) == 1


async def test_what_is_deleted_is_gone_from_everywhere(shelf: Shelf) -> None:
    await shelf.create()
    cat, _ = await shelf.ready(CAT, BANK)
    assert (await shelf.call("DELETE", f"/books/documents/{cat['id']}")).status_code == 204
    assert [one["text"] for one in await shelf.query("cat")] == [BANK]
    gone = await shelf.call("GET", f"/books/documents/{cat['id']}")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "document_not_found")
    assert await shelf.vectors() == 1
    (again,) = await shelf.ready(CAT)
    assert again["id"] != cat["id"]
    assert (await shelf.call("DELETE", "/books")).status_code == 204
    gone = await shelf.call("POST", "/books/query", json={"query": "cat"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "collection_not_found")
    await shelf.swept()
    await shelf.create()
    assert await shelf.query("cat") == []


async def test_another_callers_collections_are_not_there(shelf: Shelf) -> None:
    await shelf.create()
    (document,) = await shelf.ready(CAT)
    bob = await Shelf.of(shelf.gateway, "bob")
    for method, path, sent in (
        ("GET", "/books", None),
        ("DELETE", "/books", None),
        ("GET", "/books/documents", None),
        ("POST", "/books/documents", {"text": CAT}),
        ("GET", f"/books/documents/{document['id']}", None),
        ("DELETE", f"/books/documents/{document['id']}", None),
        ("POST", "/books/query", {"query": "cat"}),
    ):
        answer = await bob.call(method, path, json=sent)
        assert (answer.status_code, answer.json()["error"]["code"]) == (
            404,
            "collection_not_found",
        ), path
    assert (await bob.call("GET", "")).json() == {"data": [], "next_cursor": None}
    await bob.create()  # the same name, and another collection
    await bob.ready(BANK)
    assert [one["text"] for one in await bob.query("cat")] == [BANK]
    assert [one["text"] for one in await shelf.query("interest rate")] == [CAT]
    through = await bob.call("GET", f"/books/documents/{document['id']}")
    assert through.json()["error"]["code"] == "document_not_found"


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"lang": "en"}, "ab"),
        ({"lang": {"$ne": "en"}}, "cde"),
        ({"lang": {"$in": ["de", "fr"]}}, "cd"),
        ({"lang": {"$nin": ["en", "de"]}}, "de"),
        ({"year": 2020}, "a"),
        ({"year": 2020.0}, "a"),
        ({"year": {"$gt": 2020}}, "bc"),
        ({"year": {"$gte": 2020, "$lt": 2022}}, "ab"),
        ({"year": {"$ne": 2020}}, "bcde"),
        ({"draft": True}, "d"),
        ({"draft": {"$ne": True}}, "abce"),
        ({"lang": "en", "year": 2021}, "b"),
        ({"$and": [{"lang": "en"}]}, "ab"),
        ({"$or": [{"year": {"$lte": 2020}}, {"$and": [{"draft": True}, {"lang": "fr"}]}]}, "ad"),
        ({"lang": 'e"n'}, ""),
        ({"nothing": 1}, ""),
        ({}, "abcde"),
    ],
)
async def test_a_filter_means_the_same_to_vectors_and_to_words(
    filtered: Shelf, where: dict[str, object], found: str
) -> None:
    """Vectors alone answer a word that stands nowhere; words alone, what no vector can tell."""
    everything = await filtered.query("zeppelin", limit=100, where=where)
    assert "".join(sorted(one["source"] for one in everything)) == found
    for half in (by_vectors, by_words):
        assert "".join(sorted(await half(filtered, filters.read(where)))) == found, half


async def by_vectors(shelf: Shelf, where: filters.Where | None) -> list[str]:
    (row,) = await shelf.database.fetch("SELECT index_id FROM collection")
    anything = (await WordLlama().embed(["report"])).vectors[0]
    found = await shelf.gateway.resources.index.near(row["index_id"], anything, 100, where)
    return await sources(shelf, [one.document_id for one in found])


async def by_words(shelf: Shelf, where: filters.Where | None) -> list[str]:
    (row,) = await shelf.database.fetch("SELECT id FROM collection")
    path = None if where is None else filters.to_jsonpath(where)
    found = await shelf.database.fetch(sql.WORDS, [row["id"]], "report", 100, path)
    return await sources(shelf, [one["document_id"] for one in found])


async def sources(shelf: Shelf, documents: list[UUID]) -> list[str]:
    rows = await shelf.database.fetch(
        "SELECT source FROM document WHERE id = ANY($1::uuid[])", documents
    )
    assert len(rows) == len(documents)
    return [row["source"] for row in rows]


@pytest.fixture
async def filtered(shelf: Shelf) -> Shelf:
    await shelf.create()
    told: dict[str, dict[str, object]] = {
        "a": {"lang": "en", "year": 2020},
        "b": {"lang": "en", "year": 2021},
        "c": {"lang": "de", "year": 2022.5},
        "d": {"lang": "fr", "draft": True},
        "e": {"draft": False},
    }
    for source, metadata in told.items():
        await shelf.ready(f"Report {source} of the year.", source=source, metadata=metadata)
    return shelf


@pytest.mark.parametrize(
    "where",
    [
        {"a": None},
        {"a": [1]},
        {"a": {}},
        {"a": {"$regex": "x"}},
        {"a": {"$gt": "x"}},
        {"a": {"$in": []}},
        {"a": {"$in": ["x", 1]}},
        {"a": 2**60},
        {"$and": {}},
        {"$or": []},
        {"gateway:document": "x"},
        {"": 1},
        {"x" * 65: 1},
        {
            "$and": [
                {
                    "$and": [
                        {"$and": [{"$and": [{"$and": [{"$and": [{"$and": [{"$and": [{}]}]}]}]}]}]}
                    ]
                }
            ]
        },
        {"$or": [{"a": 1}] * 65},
    ],
)
async def test_a_filter_that_makes_no_sense_is_400(
    gateway: Gateway, where: dict[str, object]
) -> None:
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    answer = await shelf.call("POST", "/books/query", json={"query": "x", "where": where})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "where")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": 1}, "text"),
        ({"text": "x", "metadata": {"a": None}}, "metadata"),
        ({"text": "x", "metadata": {"a:b": 1}}, "metadata"),
        ({"text": "x", "metadata": {str(n): n for n in range(33)}}, "metadata"),
        ({"text": "x", "source": "x" * 1001}, "source"),
        ({"text": "x", "sauce": "x"}, "sauce"),
        ({"text": "x", "metadata": {"a": "1e400"}, "source": 1}, "source"),
    ],
)
async def test_a_document_that_makes_no_sense_is_400(
    gateway: Gateway, body: dict[str, object], param: str | None
) -> None:
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    answer = await shelf.call("POST", "/books/documents", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".a", "x" * 129, "ü"])
async def test_a_name_that_cannot_stand_in_an_address_is_400(gateway: Gateway, name: str) -> None:
    shelf = await Shelf.of(gateway, "ann")
    answer = await shelf.call("POST", "", json={"name": name})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name")


async def test_a_name_is_taken_once(gateway: Gateway) -> None:
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    again = await shelf.call("POST", "", json={"name": "books"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "collection_exists")


async def test_lists_go_on_with_a_cursor(gateway: Gateway) -> None:
    shelf = await Shelf.of(gateway, "ann")
    for name in ("c", "a", "b"):
        await shelf.create(name)
    first = (await shelf.call("GET", "", params={"limit": 2})).json()
    rest = (await shelf.call("GET", "", params={"cursor": first["next_cursor"]})).json()
    assert [one["name"] for one in first["data"] + rest["data"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None
    added = [await shelf.add(f"text {n}", "a") for n in range(3)]
    first = (await shelf.call("GET", "/a/documents", params={"limit": 2})).json()
    after = {"cursor": first["next_cursor"]}
    rest = (await shelf.call("GET", "/a/documents", params=after)).json()
    assert [one["id"] for one in first["data"] + rest["data"]] == [one["id"] for one in added]
    failed = (await shelf.call("GET", "/a/documents", params={"state": "failed"})).json()
    assert failed["data"] == []
    for query in ({"cursor": "nonsense"}, {"state": "lost"}):
        wrong = await shelf.call("GET", "/a/documents", params=query)
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, *query)


async def test_a_key_needs_the_scope(gateway: Gateway) -> None:
    headers = bearer(await gateway.key("ann"))
    answer = await gateway.anonymous.get("/api/collections", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")


async def test_several_collections_are_searched_together(shelf: Shelf) -> None:
    await shelf.create("one")
    await shelf.create("two")
    await shelf.ready(CAT, name="one")
    await shelf.ready(BANK, BREAD, name="two")
    library = shelf.gateway.resources.library
    found = await library.search("ann", ["one", "two", "three"], "a cat in a bank", 10)
    assert {one.text for one in found} == {CAT, BANK, BREAD}
    assert {found[0].text, found[1].text} == {CAT, BANK}
    assert found.unknown == ("three",)
    assert await library.search("bob", ["one", "two"], "cat", 10) == []
