"""A reader that comes back: to another gateway if its own is gone, and where it left off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from tests.serving.crash.processes import Process
from tests.streams.reading import Subscription, Told

PAUSE_S = 0.1
SILENT_S = 20.0
"""The server pings every 15 s: who is silent for longer is gone, and nobody has said so."""


@dataclass
class Visit:
    """One connection of the reader's, and where it asked to go on."""

    process: Process
    since: int | None
    told: list[Told] = field(default_factory=list)


class Transcript:
    """All that a reader was told, one connection after the other. `processes` are tried in turn;
    one that was `silent` for so many seconds is left."""

    def __init__(
        self, channel: str, processes: Sequence[Process], silent: float = SILENT_S
    ) -> None:
        self.channel = channel
        self.visits: list[Visit] = []
        self.over = False
        """Whether the reply that it is about has ended."""
        self.ahead = time.time() - time.monotonic()
        self._processes = processes
        self._timeout = httpx.Timeout(5, read=silent)

    @property
    def told(self) -> list[Told]:
        return [one for visit in self.visits for one in visit.told]

    @property
    def position(self) -> int | None:
        return next((one.id for one in reversed(self.told) if one.id is not None), None)

    def reached(self, version: int) -> bool:
        return (self.position or 0) >= version

    def state(self) -> dict[str, dict]:
        """What a client that upserts shows: rows by id, as they were told last."""
        shown: dict[str, dict] = {}
        for one in self.told:
            for row in _rows(one):
                shown[row["id"]] = row
            if one.name.endswith(".deleted"):
                shown.pop(one.data.get("interaction_id", ""), None)
        return shown

    async def read(self) -> None:
        """Until the channel says that it is over."""
        tries = 0
        while not self.over:
            process = self._processes[tries % len(self._processes)]
            tries += 1
            with suppress(httpx.TransportError):
                await self._visit(process)
            await asyncio.sleep(PAUSE_S)

    async def _visit(self, process: Process) -> None:
        since = self.position
        headers = {} if since is None else {"last-event-id": str(since)}
        async with process.http.stream(
            "GET", f"/streams/{self.channel}", headers=headers, timeout=self._timeout
        ) as response:
            if response.status_code == 503:
                assert "retry-after" in response.headers
                return
            if response.status_code == 204:
                self.over = True
                return
            assert response.status_code == 200, (response.status_code, await response.aread())
            subscription = Subscription(response)
            self.visits.append(Visit(process, since, subscription.told))
            await subscription.read()
            self.over = subscription.comments[-1:] == ["goodbye, over"]


def _rows(one: Told) -> list[dict]:
    match one.name:
        case "snapshot" | "reset":
            return list(one.data["conversation"]["messages"])
        case "interaction.created" | "interaction.updated":
            return [one.data["interaction"]]
        case "turn.updated":
            return [one.data["turn"]]
        case "message.created":
            return [one.data["message"]]
        case _:
            return []


@asynccontextmanager
async def transcribing(transcript: Transcript) -> AsyncIterator[Transcript]:
    reading = asyncio.create_task(transcript.read())
    try:
        yield transcript
        if reading.done():
            reading.result()
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
