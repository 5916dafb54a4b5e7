"""The moment a process is told to end, made visible to what it runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_S = 0.1
"""Seconds until a cancellation that had no effect is repeated."""


class Drain:
    """Set once, on SIGTERM or SIGINT. Streams watch it, say goodbye and end.

    An open stream holds the server's shutdown for as long as its client stays, so whoever serves
    an endless response must race it against `wait`.
    """

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self._begun.is_set()

    def begin(self) -> None:
        self._begun.set()

    async def wait(self) -> None:
        await self._begun.wait()


@contextmanager
def on_signals(drain: Drain) -> Iterator[None]:
    """Begin `drain` on SIGTERM and SIGINT, then do what the server wanted done.

    Signal handlers live in the main thread of the main interpreter; elsewhere nothing is installed.
    """
    loop = asyncio.get_running_loop()
    previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(drain.begin)
        before = previous[number]
        if callable(before):
            before(number, frame)

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, handle)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for restored, before in previous.items():
            signal.signal(restored, before)


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until they are done. A library may lose a cancellation: redis-py does, if it
    comes while it connects."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
