"""The library: what an agent that has collections asks it, and what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Protocol

from gateway.agency.speech.envelope import encode_passage, storable
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turn.events import Question
from gateway.errors import GatewayError, Unavailable

PASSAGES = 5
"""How many passages an answer holds at most."""
LONGEST = 30.0
"""Seconds that a search may take."""
CLOSED = "The library is closed at the moment. Go on without it, or try again later."


class Passage(Protocol):
    """As much of a passage as an agent is told. `source` says where it is from, if that is known:
    a file's name, an address."""

    @property
    def text(self) -> str: ...
    @property
    def source(self) -> str | None: ...


class Findings(Protocol):
    """Passages, the best first. `unknown` are the names of collections that are not there."""

    @property
    def unknown(self) -> Sequence[str]: ...
    def __iter__(self) -> Iterator[Passage]: ...


class Library(Protocol):
    async def search(
        self, owner: str, collections: Sequence[str], query: str, limit: int
    ) -> Findings:
        """Search the owner's collections of these names. Raises Unavailable, or another
        GatewayError if this can't be searched for."""
        ...


async def consult(
    library: Library | None, agency: AgencySpec, question: Question, seconds: float
) -> str:
    """The library's answer to an agent. Nothing that goes wrong here ends a turn."""
    agent = agency.agent(question.asker)
    if library is None or agent is None:
        return CLOSED
    try:
        async with asyncio.timeout(min(seconds, LONGEST)):
            found = await library.search(agency.owner, agent.collections, question.text, PASSAGES)
    except (Unavailable, TimeoutError):
        return CLOSED
    except GatewayError as error:
        return f"The library can't search for this: {error.message}"
    return told(question.text, tuple(found), found.unknown)


def told(query: str, passages: Sequence[Passage], unknown: Sequence[str] = ()) -> str:
    """Passages as an agent hears them: numbered, each a line of JSON. `unknown` are collections of
    its own that are not there."""
    asked = " ".join(query.split())
    head = f"Found for: {asked}" if passages else f"Nothing was found for: {asked}"
    if unknown:
        head += f"\nNot searched, as there are no such collections: {', '.join(unknown)}"
    numbered = [
        encode_passage(number, passage.source or None, passage.text.strip())
        for number, passage in enumerate(passages, 1)
    ]
    return "\n".join((storable(head), *numbered))
