"""A collection of the end user's, reached through whichever process is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.serving.crash.callers import Caller
from tests.serving.crash.processes import Process

PATH = "/api/collections"


class Books:
    def __init__(self, caller: Caller, name: str) -> None:
        self.caller = caller
        self.path = f"{PATH}/{name}"
        self.name = name

    async def open(self) -> None:
        await self.caller.post(PATH, {"name": self.name})

    async def add(self, text: str, **more: object) -> str:
        """The document's id. The same text may come again: it is stored once."""
        answer = await self.caller.post(f"{self.path}/documents", {"text": text, **more})
        known: str = answer.json()["id"]
        return known

    async def ready(self, process: Process, documents: int, within: float = 60.0) -> None:
        """Wait until so many are."""
        found: Mapping[str, Any] = {}
        try:
            async with asyncio.timeout(within):
                while len(found.get("data", ())) < documents:
                    await asyncio.sleep(0.05)
                    found = await self._page(process, "ready")
        except TimeoutError:
            page = await self._page(process, None)
            told = [(one["source"], one["state"], one["error"]) for one in page["data"]]
            raise AssertionError(f"not ready: {told}") from None

    async def _page(self, process: Process, state: str | None) -> dict[str, Any]:
        query = {"limit": 100} | ({"state": state} if state else {})
        answer = await process.http.get(f"{self.path}/documents", params=query)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    async def query(self, process: Process, question: str) -> list[dict[str, Any]]:
        """What this one finds. It loads what it needs for that at its first search."""
        async with asyncio.timeout(30):
            while True:
                body = {"query": question}
                answer = await process.http.post(f"{self.path}/query", json=body)
                if answer.status_code == 200:
                    data: list[dict[str, Any]] = answer.json()["data"]
                    return data
                assert answer.status_code == 503, answer.text
                await asyncio.sleep(0.05)
