"""Texts as vectors. A collection is bound to the embedder that it was begun with."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from gateway.errors import Conflict, InvalidRequest, UpstreamError
from gateway.retrieval.vectors.loading import LOADING
from gateway.settings import Settings

if TYPE_CHECKING:  # each takes a tenth of a second or more to load
    import numpy as np
    from numpy.typing import NDArray
    from openai import APIError, AsyncOpenAI
    from tokenizers import Tokenizer

    Vectors: TypeAlias = NDArray[np.float32]
"""One row a text, each of length one, so that nearness is a product."""

BATCH = 64
"""Texts that are sent to the upstream in one request."""
AT_ONCE = 4
"""Requests to the upstream, for the whole process."""
PATIENCE = 30.0
"""Seconds for one of them."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """`tokens` is what the texts were counted as."""

    vectors: Vectors
    tokens: int


class Embedder(Protocol):
    @property
    def name(self) -> str: ...

    async def embed(self, texts: Sequence[str], dimensions: int | None = None) -> Embedded:
        """A vector for each text, in order. Raises InvalidRequest if it can't make any of
        `dimensions` numbers, UpstreamError if the upstream fails."""
        ...


class Embedders:
    """The embedders of this process, by name. The first one is used where none is named, and has
    the names in `aliases`, too, for clients that can ask for no other."""

    def __init__(self, *embedders: Embedder, aliases: Sequence[str] = ()) -> None:
        self._all: Mapping[str, Embedder] = {one.name: one for one in embedders}
        self._first = embedders[0]
        self.default = embedders[0].name
        self.aliases = tuple(aliases)

    @property
    def names(self) -> list[str]:
        return list(self._all)

    def find(self, name: str) -> Embedder | None:
        """Returns an embedder by its own name, as collections know it."""
        return self._all.get(name)

    def meant(self, name: str) -> Embedder | None:
        """Returns an embedder by its own name or an alias, as clients of the OpenAI API ask for
        it."""
        return self.find(name) or (self._first if name in self.aliases else None)

    def bound(self, name: str) -> Embedder:
        """The one that a collection was begun with. Raises Conflict if it is not here."""
        if (found := self._all.get(name)) is None:
            raise Conflict(
                f"This collection was made with the embedder {name[:64]!r}, and here there is only "
                f"{' and '.join(self._all)}. `gateway collections rebuild --embedder` binds it to "
                "another.",
                code="embedder_mismatch",
            )
        return found


@asynccontextmanager
async def open_embedders(settings: Settings) -> AsyncIterator[Embedders]:
    local = WordLlama()
    if (model := settings.embedding_model) is None:
        yield Embedders(local, aliases=settings.embedding_aliases)
        return
    upstream = OpenAIEmbedder(model, settings.openai_base_url, settings.openai_api_key)
    try:
        yield Embedders(upstream, local, aliases=settings.embedding_aliases)
    finally:
        await upstream.close()


# ---- wordllama ----------------------------------------------------------------------------------


class WordLlama:
    """The mean of its words' vectors, as WordLlama defines it; offline, and the same everywhere.

    Only the two files of the package are used. Its own loader looks for one of them in the home
    directory, would download it, and sets up logging for the whole process.
    """

    name = "wordllama"
    WIDTH = 256
    WIDTHS = (64, 128, 256)
    """The model was trained so that the first numbers of a vector are one, too."""

    async def embed(self, texts: Sequence[str], dimensions: int | None = None) -> Embedded:
        if dimensions not in (None, *self.WIDTHS):
            raise InvalidRequest(
                f"wordllama makes vectors of {', '.join(map(str, self.WIDTHS))} numbers.",
                param="dimensions",
            )
        return await asyncio.to_thread(self._embed, texts, dimensions or self.WIDTH)

    def _embed(self, texts: Sequence[str], width: int) -> Embedded:
        with LOADING:
            import numpy as np

        tokenizer, weights = _MODEL.loaded
        encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        vectors = np.zeros((len(texts), width), dtype=np.float32)
        for row, one in enumerate(encoded):
            if one.ids:  # each word once: a text of any length takes no more than the model does
                words, counts = np.unique(one.ids, return_counts=True)
                vectors[row] = counts.astype(np.float32) @ weights[words, :width]
        # A text without words has no direction; it stays at nought, as far from all others.
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(lengths == 0, 1, lengths)
        return Embedded(vectors, sum(len(one.ids) for one in encoded))


class _Model:
    """The files of the wordllama package, loaded when first needed: a tenth of a second, 32 MB."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @property
    def loaded(self) -> tuple[Tokenizer, Vectors]:
        with self._lock:
            return self._loaded

    @cached_property
    def _loaded(self) -> tuple[Tokenizer, Vectors]:
        with LOADING:
            from safetensors.numpy import load_file
            from tokenizers import Tokenizer

        found = importlib.util.find_spec("wordllama")
        if found is None or found.origin is None:
            raise LookupError("the wordllama package is not installed")
        package = Path(found.origin).parent
        tokenizer = Tokenizer.from_file(
            str(package / "tokenizers" / "l2_supercat_tokenizer_config.json")
        )
        tokenizer.no_padding()
        tokenizer.no_truncation()
        weights = load_file(package / "weights" / "l2_supercat_256.safetensors")
        return tokenizer, weights["embedding.weight"].astype("float32")


_MODEL = _Model()


# ---- any OpenAI-compatible upstream -------------------------------------------------------------


class OpenAIEmbedder:
    """The model `name` of the upstream. `client` is made when first needed, unless it is given."""

    def __init__(
        self,
        name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        client: AsyncOpenAI | None = None,
    ) -> None:
        self._name = name
        self._base_url = base_url
        self._api_key = api_key
        self._client = client
        self._places = asyncio.Semaphore(AT_ONCE)

    @property
    def name(self) -> str:
        return self._name

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def embed(self, texts: Sequence[str], dimensions: int | None = None) -> Embedded:
        with LOADING:
            import numpy as np
            import openai  # noqa: F401  in `_batch` it is there

        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        found = await asyncio.gather(*(self._batch(batch, dimensions) for batch in batches))
        vectors = np.concatenate([one.vectors for one in found])
        return Embedded(vectors, sum(one.tokens for one in found))

    async def _batch(self, texts: Sequence[str], dimensions: int | None) -> Embedded:
        from openai import APIError, omit

        async with self._places:
            try:
                answer = await self._opened().embeddings.create(
                    model=self._name,
                    # An empty text is refused by OpenAI; a blank is as near to nothing.
                    input=[text or " " for text in texts],
                    dimensions=omit if dimensions is None else dimensions,
                )
            except APIError as error:
                raise _failure(error) from None
            except ValueError:  # what the SDK makes of an answer without any vector
                raise _nonsense() from None
        ordered = sorted(answer.data, key=lambda one: one.index)
        return Embedded(
            _checked([one.embedding for one in ordered], len(texts)), answer.usage.prompt_tokens
        )

    def _opened(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        if self._client is None:
            self._client = AsyncOpenAI(
                # Without one the SDK would look for it in the environment.
                api_key=self._api_key or "none",
                base_url=self._base_url,
                timeout=PATIENCE,
            )
        return self._client


def _checked(rows: Sequence[Sequence[float]], count: int) -> Vectors:
    import numpy as np

    if len(rows) != count or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise _nonsense()
    vectors = np.array(rows, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise _nonsense()
    vectors /= np.where(lengths == 0, 1, lengths)
    return vectors


def _failure(error: APIError) -> UpstreamError:
    """Returns an error without the upstream's words, which could echo a text or a key."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    match error:
        case APITimeoutError():
            return UpstreamError(
                "The embedding upstream did not answer in time.",
                status=504,
                code="upstream_timeout",
                transient=True,
            )
        case APIStatusError(status_code=429):
            return UpstreamError(
                "The embedding upstream's rate limit or quota is used up.",
                status=429,
                code="upstream_rate_limited",
                transient=True,
            )
        case APIStatusError(status_code=status) if status < 500 and status != 408:
            return UpstreamError(
                f"The embedding upstream rejected the request (HTTP {status}).",
                code="upstream_refused" if status in (401, 403) else "upstream_rejected",
            )
        case APIStatusError() | APIConnectionError():
            return UpstreamError(
                "The embedding upstream can't be reached.",
                status=503,
                code="upstream_unavailable",
                transient=True,
            )
        case _:
            return _nonsense()


def _nonsense() -> UpstreamError:
    return UpstreamError(
        "The embedding upstream did not send the vectors that it was asked for.",
        code="upstream_invalid",
    )
