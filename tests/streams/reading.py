"""A reader of channels, over a real socket, as a browser's EventSource reads them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx


@dataclass(frozen=True)
class Told:
    """One event. `id` is None if it carried none; `name` is "" for an id that stands alone."""

    id: int | None
    name: str
    data: dict
    at: float


@dataclass
class Subscription:
    """What was told so far, and how the stream stands."""

    response: httpx.Response
    told: list[Told] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    retry: int | None = None
    ended: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def position(self) -> int | None:
        return next((one.id for one in reversed(self.told) if one.id is not None), None)

    @property
    def ids(self) -> list[int]:
        return [one.id for one in self.told if one.id is not None]

    def names(self) -> list[str]:
        return [one.name for one in self.told]

    def of(self, name: str) -> list[dict]:
        return [one.data for one in self.told if one.name == name]

    def text(self, interaction_id: str) -> str:
        """The reply as a client would show it."""
        shown = ""
        for one in self.told:
            if one.name == "interaction.delta" and one.data["interaction_id"] == interaction_id:
                assert one.data["offset"] <= len(shown), "a delta is missing"
                shown = shown[: one.data["offset"]] + one.data["text"]
        return shown

    async def until(self, true: Callable[[Subscription], object], within: float = 5.0) -> float:
        """Wait until it holds; how long that took."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(within):
                while not true(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not within {within} s: {self.names()[-20:]}") from None
        return time.monotonic() - began

    async def until_version(self, version: int, within: float = 5.0) -> float:
        return await self.until(lambda one: version in one.ids, within)

    async def read(self) -> None:
        fields: dict[str, str] = {}
        try:
            async for line in _lines(self.response):
                if not line:
                    self._take(fields)
                    fields = {}
                elif line.startswith(":"):
                    self.comments.append(line[1:].strip())
                else:
                    name, _, value = line.partition(": ")
                    assert name in ("id", "event", "data", "retry"), line
                    assert name not in fields, line
                    fields[name] = value
                self._changed.set()
        except httpx.TransportError:
            pass
        self.ended = True
        self._changed.set()

    def _take(self, fields: dict[str, str]) -> None:
        if "retry" in fields:
            self.retry = int(fields.pop("retry"))
            assert "data" in fields, "to some readers this is an event without data"
        if not fields:
            return
        place = int(fields["id"]) if "id" in fields else None
        data = json.loads(fields.get("data", "{}"))
        assert data.get("type", "") == fields.get("event", ""), fields
        self.told.append(Told(place, fields.get("event", ""), data, time.monotonic()))


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """Lines end with a line feed and with nothing else, as in the standard of event streams."""
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode()


@asynccontextmanager
async def following(
    http: httpx.AsyncClient, channel: str, *, last: object = None, **query: object
) -> AsyncIterator[Subscription]:
    """Follow a channel; what is told is read all the while."""
    headers = {} if last is None else {"last-event-id": str(last)}
    request = http.build_request(
        "GET", f"/streams/{channel}", headers=headers, params=query, timeout=None
    )
    response = await http.send(request, stream=True)
    assert response.status_code == 200, (response.status_code, await response.aread())
    assert response.headers["content-type"].startswith("text/event-stream")
    subscription = Subscription(response)
    reading = asyncio.create_task(subscription.read())
    try:
        yield subscription
    finally:
        reading.cancel()
        await asyncio.wait((reading,))
        await response.aclose()
