"""Work that a process does every so many seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.errors import GatewayError
from gateway.process.telemetry import causes

log = logging.getLogger(__name__)


async def regularly(
    act: Callable[[], Awaitable[None]],
    period: float,
    woken: asyncio.Event | None = None,
    patience: float = 0.0,
) -> None:
    """Call `act` every `period` seconds and as soon as `woken` is set, with at least `patience`
    seconds in between. A failure is logged and ends nothing: others rely on this work."""
    woken = woken or asyncio.Event()
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(period):
                await woken.wait()
        woken.clear()
        try:
            await act()
        except GatewayError as error:
            log.warning("%s failed: %s", act.__qualname__, error.message)
        except Exception as error:
            log.error("%s failed", act.__qualname__, extra={"causes": causes(error)})  # noqa: TRY400
        await asyncio.sleep(patience)
