"""Trying again what failed for a moment."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.errors import UpstreamError

T = TypeVar("T")

MAX_RETRY_AFTER: Final = 20
"""Seconds. A server that wants a longer pause is better named to the caller than waited for."""


async def persist(
    act: Callable[[], Awaitable[T]],
    again: Callable[[UpstreamError], bool],
    *,
    retries: int,
    backoff: float,
    deadline: float = math.inf,
) -> T:
    """Retry as long as `again` is true of the failure. `backoff` is the first pause in seconds,
    `deadline` a time of the loop's clock that no pause may reach."""
    for attempt in range(retries):
        try:
            return await act()
        except UpstreamError as error:
            asked = error.retry_after or 0
            jitter = random.uniform(0.5, 1.0)  # noqa: S311  spreads callers, guards nothing
            pause = asked + backoff * (1 << attempt) * jitter
            late = asyncio.get_running_loop().time() + pause >= deadline
            if late or asked > MAX_RETRY_AFTER or not again(error):
                raise
        await asyncio.sleep(pause)
    return await act()
