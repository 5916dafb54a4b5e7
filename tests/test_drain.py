from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.process.drain import end


async def test_tasks_are_ended_though_a_cancellation_is_lost() -> None:
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        lost += 1
        await asyncio.sleep(60)

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        await end(tasks)
    assert lost == 1
    assert all(task.done() for task in tasks)
    await end(tasks)
