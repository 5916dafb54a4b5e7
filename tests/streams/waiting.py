"""Waiting for what is not an event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def until(true: Callable[[], object], within: float = 5.0) -> float:
    """Wait for it; how long that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within, "it did not happen"
        await asyncio.sleep(0.005)
    return time.monotonic() - began
