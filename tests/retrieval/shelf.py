"""What a caller of `/api/collections` does, in the words of the tests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.auth import Scope
from gateway.postgres.database import Database
from tests.client import bearer
from tests.running import Gateway

WITHIN = 60.0


@dataclass
class Shelf:
    gateway: Gateway
    headers: dict[str, str]

    @classmethod
    async def of(cls, gateway: Gateway, user: str) -> Shelf:
        key = await gateway.key(user, Scope.RETRIEVAL)
        return cls(gateway, bearer(key))

    async def call(self, method: str, path: str, **sent: Any) -> httpx.Response:
        address = f"/api/collections{path}"
        return await self.gateway.anonymous.request(method, address, headers=self.headers, **sent)

    async def create(self, name: str = "books", **more: object) -> dict[str, Any]:
        answer = await self.call("POST", "", json={"name": name, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def add(self, text: str, name: str = "books", **more: object) -> dict[str, Any]:
        answer = await self.call("POST", f"/{name}/documents", json={"text": text, **more})
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    async def upload(
        self, filename: str, content: bytes, name: str = "books", **fields: str
    ) -> dict[str, Any]:
        files = {"file": (filename, content)}
        answer = await self.call("POST", f"/{name}/documents", files=files, data=fields)
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    async def settled(self, document: dict[str, Any], name: str = "books") -> dict[str, Any]:
        """The document once it is ready, or has failed."""
        async with asyncio.timeout(WITHIN):
            while True:
                answer = await self.call("GET", f"/{name}/documents/{document['id']}")
                assert answer.status_code == 200, answer.text
                found: dict[str, Any] = answer.json()
                if found["state"] in ("ready", "failed"):
                    return found
                await asyncio.sleep(0.02)

    async def ready(self, *texts: str, name: str = "books", **more: object) -> list[dict[str, Any]]:
        added = [await self.add(text, name, **more) for text in texts]
        found = [await self.settled(one, name) for one in added]
        assert all(one["state"] == "ready" for one in found), found
        return found

    @property
    def database(self) -> Database:
        return self.gateway.resources.database

    async def swept(self) -> None:
        """Until nothing that was deleted has a row any more."""
        async with asyncio.timeout(WITHIN):
            while await self.database.fetch(
                "SELECT id FROM document WHERE deleted_at IS NOT NULL UNION ALL "
                "SELECT id FROM collection WHERE deleted_at IS NOT NULL OR stale_indexes <> '{}'"
            ):
                await asyncio.sleep(0.02)

    async def vectors(self) -> int:
        """How many Chroma has of all collections, once it is swept."""
        await self.swept()
        count = 0
        for row in await self.database.fetch("SELECT index_id FROM collection"):
            anything = [1.0] + [0.0] * 255
            count += len(
                await self.gateway.resources.index.near(row["index_id"], anything, 1000, None)
            )
        return count

    async def query(self, query: str, name: str = "books", **more: object) -> list[dict[str, Any]]:
        answer = await self.call("POST", f"/{name}/query", json={"query": query, **more})
        assert answer.status_code == 200, answer.text
        data: list[dict[str, Any]] = answer.json()["data"]
        return data
