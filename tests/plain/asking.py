"""How tests ask plain models, and how they look at what was kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from openai import AsyncOpenAI

from gateway.postgres.database import Database
from tests.running import ROOT_KEY, Gateway

MODEL = "gpt-plain"
OTHER = "vision-1"
ASKED = [{"role": "user", "content": "Name a title."}]


def sdk(gateway: Gateway, key: str = ROOT_KEY) -> AsyncOpenAI:
    return gateway.client(path="/v1", key=key)


async def ask(gateway: Gateway, **options: Any) -> Any:
    """A call through the SDK: the raw response, whose `parse()` is the answer or the stream."""
    return await sdk(gateway).chat.completions.with_raw_response.create(
        **{"model": MODEL, "messages": ASKED, **options}
    )


async def rows(database: Database, count: int) -> Sequence[dict[str, Any]]:
    """So many rows, oldest first, once all are complete."""
    async with asyncio.timeout(10):
        while True:
            found = await database.fetch("SELECT * FROM plain_call ORDER BY id")
            if len(found) == count and all(row["finished_at"] for row in found):
                return [dict(row) for row in found]
            await asyncio.sleep(0.02)


async def row(database: Database) -> dict[str, Any]:
    (only,) = await rows(database, 1)
    return only


async def conversations(database: Database) -> int:
    found = await database.fetchrow("SELECT count(*) FROM conversation")
    return 0 if found is None else int(found[0])
