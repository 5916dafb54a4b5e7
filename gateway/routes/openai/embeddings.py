"""`POST /v1/embeddings` of the OpenAI API, by the embedders that collections use.

Source: the OpenAI API reference, Embeddings.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from gateway.errors import InvalidRequest, NotFound, UpstreamError
from gateway.retrieval.vectors import cl100k
from gateway.retrieval.vectors.embedding import Embedder, Embedders
from gateway.routes.openai.prefixes import Agency, under_each
from gateway.routes.shapes.refusals import BAD, refusal

if TYPE_CHECKING:
    from gateway.retrieval.vectors.embedding import Vectors

MOST_TEXTS = 2_048
MOST_CHARACTERS = 1_000_000
"""Of all texts of a request together; about 300,000 tokens, which is OpenAI's bound, too."""
MOST_TOKENS = 300_000
"""Of all token lists of a request together."""

Tokens = list[int]


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """`input` is a text, a list of texts, or one of them as tokens of `cl100k_base`."""

    model: str
    input: str | list[str | int | Tokens]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=100_000)] | None = None


class Embedding(msgspec.Struct):
    """`embedding` is base64 of little-endian 32-bit floats if that was asked for."""

    object: str
    index: int
    embedding: list[float] | str


class EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct):
    object: str
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


@post(
    "/embeddings",
    status_code=200,
    summary="Create embeddings of texts",
    responses=BAD | {404: refusal("`model_not_found`.")},
)
async def create_embeddings(
    data: JSONBody[EmbeddingRequest],
    agency: Agency,
    embedders: NamedDependency[Embedders],
) -> EmbeddingList:
    """`model` is `wordllama`, the gateway's embedding model, or another name that it has."""
    embedder = _meant(embedders, data.model)
    texts = await _texts(data.input)
    try:
        made = await embedder.embed(texts, data.dimensions)
    except UpstreamError as error:
        raise _of_upstream(error, data.dimensions) from None
    shown = _encoded(made.vectors) if data.encoding_format == "base64" else made.vectors.tolist()
    return EmbeddingList(
        "list",
        [Embedding("embedding", place, one) for place, one in enumerate(shown)],
        data.model,
        EmbeddingUsage(made.tokens, made.tokens),
    )


def _meant(embedders: Embedders, model: str) -> Embedder:
    if (found := embedders.meant(model)) is None:
        raise NotFound(
            f"There is no embedding model {model[:64]!r} here; there is "
            f"{' and '.join([*embedders.names, *embedders.aliases])}.",
            param="model",
            code="model_not_found",
        )
    return found


async def _texts(given: str | list[str | int | Tokens]) -> list[str]:
    if isinstance(given, str):
        given = [given]
    tokens = [one for one in given if isinstance(one, int)]
    if tokens and len(tokens) < len(given):
        raise _bad("input has either tokens or texts in its list.")
    texts = _bounded([tokens] if tokens else [one for one in given if not isinstance(one, int)])
    if all(isinstance(one, str) for one in texts):
        return _worded(texts)
    return await asyncio.to_thread(_worded, texts)


def _bounded(texts: Sequence[str | Tokens]) -> Sequence[str | Tokens]:
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise _bad(f"input has 1 to {MOST_TEXTS} texts.")
    if sum(len(one) for one in texts if isinstance(one, list)) > MOST_TOKENS:
        raise _bad(f"input has at most {MOST_TOKENS} tokens in all.")
    return texts


def _worded(given: Sequence[str | Tokens]) -> list[str]:
    try:
        texts = [one if isinstance(one, str) else cl100k.decode(one) for one in given]
    except cl100k.UnknownToken as error:
        raise _bad(f"input has the token {error.token}, and cl100k_base has none such.") from None
    if not all(texts):
        raise _bad("input has an empty text.")
    if sum(map(len, texts)) > MOST_CHARACTERS:
        raise _bad(f"input has at most {MOST_CHARACTERS} characters in all.")
    return texts


def _of_upstream(error: UpstreamError, dimensions: int | None) -> Exception:
    """What the upstream rejects is what the client sent: texts, and how many numbers it wants."""
    if error.code != "upstream_rejected":
        return error
    return InvalidRequest(
        f"{error.message} A text may be too long, or it makes no such vectors.",
        param="input" if dimensions is None else "dimensions",
        code=error.code,
    )


def _encoded(vectors: Vectors) -> list[str]:
    return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]


def _bad(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, param="input")


ROUTES = under_each([create_embeddings], tag="Embeddings")
