"""The visible side of a turn: its answer as it grows, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import perf_counter
from uuid import UUID

from gateway.agency.model import Piece, Usage
from gateway.errors import GatewayError
from gateway.ids import TurnId


@dataclass(frozen=True, slots=True)
class Outcome:
    """A completed turn. `usage` sums all its model calls."""

    said: tuple[Piece, ...]
    finish_reason: str
    usage: Usage

    @property
    def text(self) -> str:
        return "".join([piece.text for piece in self.said])


class Reply:
    """One turn's answer, for any number of followers.

    `streamed` is set once somebody wants the text as it comes; `begins` is called with its first
    words. `model_seconds` is the time during which at least one model call was under way.
    """

    def __init__(self, turn_id: TurnId, conversation_id: UUID, created: int) -> None:
        self.turn_id = turn_id
        self.conversation_id = conversation_id
        self.created = created
        self.streamed = False
        self.begins: Callable[[], None] = _nothing
        self.followers = 0
        self._pieces: list[Piece] = []
        self._changed = asyncio.Event()
        self._ended: Outcome | GatewayError | None = None
        self._calls = 0
        self._calling_since = 0.0
        self._model_seconds = 0.0

    # ---- the turn's side -------------------------------------------------------------------------

    def stream(self) -> None:
        """Somebody wants the text as it comes."""
        self.streamed = True

    def publish(self, piece: Piece) -> None:
        first = not self._pieces
        self._pieces.append(piece)
        self._wake()
        if first:
            self.begins()

    def end(self, how: Outcome | GatewayError) -> None:
        if self._ended is None:
            self._ended = how
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def calling(self) -> None:
        if not self._calls:
            self._calling_since = perf_counter()
        self._calls += 1

    def called(self) -> None:
        self._calls -= 1
        if not self._calls:
            self._model_seconds += perf_counter() - self._calling_since

    # ---- the follower's side ---------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self._ended is not None

    @property
    def spoken(self) -> bool:
        """True if something was published."""
        return bool(self._pieces)

    @property
    def said(self) -> str:
        """The words of all that was published."""
        return "".join([piece.text for piece in self._pieces])

    @property
    def begun(self) -> bool:
        """True if there is something to tell: text, or an end."""
        return bool(self._pieces) or self.ended

    @property
    def failed_early(self) -> GatewayError | None:
        """The error, if the turn ended with one before it had said anything."""
        if isinstance(self._ended, GatewayError) and not self._pieces:
            return self._ended
        return None

    @property
    def model_seconds(self) -> float:
        running = perf_counter() - self._calling_since if self._calls else 0.0
        return self._model_seconds + running

    async def beginning(self) -> None:
        """Wait until there is something to tell."""
        while not self.begun:
            await self._changed.wait()

    async def follow(self) -> AsyncIterator[list[Piece]]:
        """The answer from its start, in batches of pieces. Ends when the turn has."""
        told = 0
        while True:
            if told < len(self._pieces):
                batch = self._pieces[told:]
                told += len(batch)
                yield batch
            elif self.ended:
                return
            else:
                await self._changed.wait()

    async def outcome(self) -> Outcome:
        """Wait for the end. Raises the error that the turn ended with."""
        while self._ended is None:
            await self._changed.wait()
        if isinstance(self._ended, GatewayError):
            raise self._ended
        return self._ended


def _nothing() -> None:
    """The default of `begins`: nobody waits for the first words."""
