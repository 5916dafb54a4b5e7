"""What a figure rests on beside the code: how busy others kept the machine, and how slow its disk
is. A run with busy neighbours is no measurement."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

WRITES = 40
BLOCK = b"\x00" * 8192


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`others` is how many processors were kept busy by what is not part of the run; `sync` the
    milliseconds that a write to the disk takes."""

    others: float
    sync: float


class Watch:
    """Between its making and `read`."""

    def __init__(self, ours: Callable[[], Iterable[psutil.Process]], directory: Path) -> None:
        self._ours = ours
        self._sync = sync(directory)
        self._began = time.monotonic()
        self._busy = _busy()
        self._used = self._count()

    def read(self) -> Surroundings:
        seconds = time.monotonic() - self._began
        others = (_busy() - self._busy) - (self._count() - self._used)
        return Surroundings(max(0.0, others / seconds), self._sync)

    def _count(self) -> float:
        return sum(map(seconds_of, self._ours()))


def seconds_of(process: psutil.Process) -> float:
    """Seconds of processor time that a process has used; none if it is gone."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    used: float = times.user + times.system
    return used


def sync(directory: Path) -> float:
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        taken = []
        for _ in range(WRITES):
            began = time.perf_counter()
            os.pwrite(file.fileno(), BLOCK, 0)
            os.fsync(file.fileno())
            taken.append(1000 * (time.perf_counter() - began))
    return median(taken)


def _busy() -> float:
    times = psutil.cpu_times()
    busy: float = times.user + times.nice + times.system
    return busy
