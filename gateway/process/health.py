"""Whether what the gateway stands on answers: pings with a deadline, side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.errors import GatewayError

DEADLINE = 2.0
"""Seconds for one ping. Probes of orchestrators wait 1 to 5 s for all of them."""

Ping: TypeAlias = Callable[[], Awaitable[None]]
"""Returns if the resource answers, raises if not."""


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    ok: bool
    mode: str
    took: float
    """Seconds."""
    error: str | None = None
    remedy: str | None = None
    vital: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """One resource. `mode` says which one it is (`embedded`, `rehearsal`, …), `remedy` what to do
    when it fails; a failing ping raises anything. An answer is believed for `keep` seconds. What is
    not `vital` is said to fail, and the process serves without it."""

    name: str
    ping: Ping
    mode: str
    remedy: str
    keep: float = 0.0
    vital: bool = True


class Checks:
    """The checks of one process, and what each said last."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._said: dict[str, tuple[float, Result]] = {}
        self._locks = {check.name: asyncio.Lock() for check in checks}

    async def run(self, deadline: float = DEADLINE) -> list[Result]:
        return list(await asyncio.gather(*(self._run(c, deadline) for c in self._checks)))

    async def _run(self, check: Check, deadline: float) -> Result:
        async with self._locks[check.name]:  # a crowd of probes pings once
            at, last = self._said.get(check.name, (0.0, None))
            if last is not None and time.monotonic() - at < check.keep:
                return last
            result = await _ping(check, deadline)
            self._said[check.name] = time.monotonic(), result
            return result


async def _ping(check: Check, deadline: float) -> Result:
    started = time.monotonic()
    error: str | None = None
    try:
        async with asyncio.timeout(deadline):
            await check.ping()
    except TimeoutError:
        error = f"no answer within {deadline:g} s"
    except GatewayError as failure:
        error = failure.message
    except Exception as failure:  # whatever a driver raises: it does not answer
        error = type(failure).__name__
    took = time.monotonic() - started
    remedy = None if error is None else check.remedy
    return Result(check.name, error is None, check.mode, took, error, remedy, check.vital)
