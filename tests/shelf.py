"""A library that tests fill: the service behind `-1`, scripted like the upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.running import Gateway
from tests.team import Team, make_team


@dataclass(frozen=True)
class Passage:
    text: str
    source: str | None = None


class Found(list[Passage]):
    """`unknown` are the collections that are not there."""

    def __init__(self, passages: Sequence[Passage], unknown: Sequence[str]) -> None:
        super().__init__(passages)
        self.unknown = unknown


@dataclass(frozen=True)
class Search:
    owner: str
    collections: Sequence[str]
    query: str
    limit: int


@dataclass
class Shelf:
    """Answers each query with what stands under it; `error` is raised instead, `hold` awaited. The
    collections `unknown` are not there."""

    passages: dict[str, Sequence[Passage]] = field(default_factory=dict)
    searches: list[Search] = field(default_factory=list)
    unknown: Sequence[str] = ()
    error: Callable[[], Exception] | None = None
    hold: asyncio.Event | None = None
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    async def search(self, owner: str, collections: Sequence[str], query: str, limit: int) -> Found:
        self.searches.append(Search(owner, collections, query, limit))
        self.arrival.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error()
        return Found(self.passages.get(query, ()), self.unknown)


def lend(shelf: Shelf, *gateways: Gateway) -> Shelf:
    """These gateways search it from now on."""
    for gateway in gateways:
        gateway.resources.engine.runner.services.library = shelf
    return shelf


async def make_readers(
    gateway: Gateway, *others: str, readers: Sequence[str] = ("manager",), **document: object
) -> Team:
    """A team in which the `readers` have a collection, `prices`."""
    agents = [
        {
            "name": name,
            "instructions": f"You do the {name}'s work.",
            "collections": ["prices"] if name in readers else [],
        }
        for name in ("manager", *others)
    ]
    return await make_team(gateway, *others, agents=agents, **document)
