"""What the engine asks of a language model, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import msgspec

from gateway.names import DEFAULT_PROVIDER

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
ChatMessage: TypeAlias = Mapping[str, Json]
"""A message of the OpenAI chat API: `{"role": …, "content": text or parts}`."""


class Text(msgspec.Struct, frozen=True, gc=False):
    """Words of an answer. A Struct: one is made for each delta of a stream."""

    text: str


Piece: TypeAlias = Text
"""What a model says and a reply carries, piece by piece: a closed union, of one member so far. Who
takes pieces takes every kind, which the type checker sees to."""

OnPieces: TypeAlias = Callable[[Sequence[Piece]], bool]
"""Takes the pieces that one read brought, in order. False ends the call: enough was read."""

FinishReason: TypeAlias = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the model counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request to a model.

    `params` are members of the OpenAI request body, passed on as they are (`temperature`, …);
    `insisted` names those that the client itself sent, which are never dropped.
    `allowed` are the ids an envelope may be addressed to; empty means that plain text is wanted,
    else the answer is asked for as an envelope. `timeout` is in seconds, for all of the call.
    `provider` serves the model.
    """

    model: str
    messages: Sequence[ChatMessage]
    params: Mapping[str, Json] = field(default_factory=dict)
    allowed: tuple[int, ...] = ()
    timeout: float = 300.0
    insisted: frozenset[str] = frozenset()
    provider: str = DEFAULT_PROVIDER


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said. `usage` is an estimate (4 characters a token) if the model gave none."""

    said: tuple[Piece, ...]
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()

    @property
    def text(self) -> str:
        return "".join([piece.text for piece in self.said])


class Model(Protocol):
    """A language model. Implementations: `upstream.Upstream`, `rehearsal.Rehearsal`."""

    async def complete(self, call: ModelCall, on_pieces: OnPieces | None = None) -> Completion:
        """Run one call; with `on_pieces` the answer is streamed as it comes.

        Cancelling the awaiting task closes the call within a second. Raises UpstreamError.
        """

    async def ping(self) -> None:
        """Raise UpstreamError if no call can succeed now."""
