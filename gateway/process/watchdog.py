"""Standstills of the event loop: how often there are any, how long they take, and what causes them.

One loop serves everybody, so whatever holds it holds all. A heartbeat on the loop finds that it was
held; a thread meanwhile looks at where the loop stands. A library that keeps the interpreter to
itself holds up the thread too: then the standstill is counted, and its stack is unknown.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time
from types import FrameType

log = logging.getLogger(__name__)

STANDSTILL_S = 0.25
BEAT_S = 0.05
FRAMES = 12
"""Places of a stack that are told, the innermost first."""
ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Standstills:
    """Since the process began."""

    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class _Watchdog:
    def __init__(self, standstills: Standstills) -> None:
        self.standstills = standstills
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._beat, self._busy = perf_counter(), thread_time()
        self._timer = self._loop.call_later(BEAT_S, self._on_beat)
        self._seen: str | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._timer.cancel()
        self._over.set()

    # ---- on the loop -----------------------------------------------------------------------------

    def _on_beat(self) -> None:
        now, busy = perf_counter(), thread_time()
        if (seconds := now - self._beat - BEAT_S) > STANDSTILL_S:
            self._count(seconds, busy - self._busy)
        self._seen, self._beat, self._busy = None, now, busy
        self._timer = self._loop.call_later(BEAT_S, self._on_beat)

    def _count(self, seconds: float, processor: float) -> None:
        """Little `processor` time in a long standstill means that the machine was busy, not we."""
        stood = self.standstills
        stood.count += 1
        stood.seconds += seconds
        stood.longest = max(stood.longest, seconds)
        told = {
            "seconds": round(seconds, 3),
            "processor_seconds": round(processor, 3),
            "stack": self._seen or "unknown: the interpreter was not let go",
        }
        log.warning("the event loop stood still", extra=told)

    # ---- in the thread ---------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._over.wait(BEAT_S):
            late = perf_counter() - self._beat > BEAT_S + STANDSTILL_S / 2
            if late and self._seen is None:
                self._seen = _told(sys._current_frames().get(self._thread_id))  # noqa: SLF001  documented


def _told(frame: FrameType | None) -> str:
    """Files, lines and functions: no values, which may be somebody's words."""
    places: list[str] = []
    while frame is not None and len(places) < FRAMES:
        code = frame.f_code
        path = code.co_filename.removeprefix(f"{ROOT}/")
        places.append(f"{path}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(places)


@asynccontextmanager
async def open_watchdog(standstills: Standstills) -> AsyncIterator[None]:
    """Watch the running loop, and keep `standstills` up to date."""
    watchdog = _Watchdog(standstills)
    try:
        yield
    finally:
        watchdog.stop()
