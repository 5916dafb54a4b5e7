"""`POST /v1/embeddings` of the OpenAI API, by the embedders that collections use.

Source: the OpenAI API reference, Embeddings.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from gateway.errors import InvalidRequest, NotFound
from gateway.retrieval.embedding import Embedder, Embedders
from gateway.routes.pages import BAD, refusal
from gateway.routes.prefixes import Agency, under_each

if TYPE_CHECKING:
    from gateway.retrieval.embedding import Vectors

MOST_TEXTS = 2_048
MOST_CHARACTERS = 1_000_000
"""Of all texts of a request together; about 300,000 tokens, which is OpenAI's bound, too."""

Tokens = list[int]


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """`input` is a text or a list of texts. Tokens are refused: whose they are nobody could say."""

    model: str
    input: str | list[str | int | Tokens]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1, le=100_000)] | None = None


class Embedding(msgspec.Struct):
    """`embedding` is base64 of little-endian 32-bit floats if that was asked for."""

    object: str
    index: int
    embedding: list[float] | str


class Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct):
    object: str
    data: list[Embedding]
    model: str
    usage: Usage


@post(
    "/embeddings",
    status_code=200,
    summary="Make vectors of texts",
    responses=BAD | {404: refusal("`model_not_found`.")},
)
async def create_embeddings(
    data: JSONBody[EmbeddingRequest],
    agency: Agency,
    embedders: NamedDependency[Embedders],
) -> EmbeddingList:
    """`model` is `wordllama`, or the gateway's embedding model."""
    embedder = _meant(embedders, data.model)
    made = await embedder.embed(_texts(data.input), data.dimensions)
    shown = _encoded(made.vectors) if data.encoding_format == "base64" else made.vectors.tolist()
    return EmbeddingList(
        "list",
        [Embedding("embedding", place, one) for place, one in enumerate(shown)],
        data.model,
        Usage(made.tokens, made.tokens),
    )


def _meant(embedders: Embedders, model: str) -> Embedder:
    if (found := embedders.find(model)) is None:
        raise NotFound(
            f"There is no embedding model {model[:64]!r} here; there is "
            f"{' and '.join(embedders.names)}.",
            param="model",
            code="model_not_found",
        )
    return found


def _texts(given: str | list[str | int | Tokens]) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    texts = [one for one in listed if isinstance(one, str)]
    if len(texts) < len(listed):
        raise _bad("input is a text or a list of texts: tokens are not understood here.")
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise _bad(f"input has 1 to {MOST_TEXTS} texts.")
    if not all(texts):
        raise _bad("input has an empty text.")
    if sum(map(len, texts)) > MOST_CHARACTERS:
        raise _bad(f"input has at most {MOST_CHARACTERS} characters in all.")
    return texts


def _encoded(vectors: Vectors) -> list[str]:
    return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]


def _bad(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, param="input")


ROUTES = under_each([create_embeddings], tag="Embeddings")
