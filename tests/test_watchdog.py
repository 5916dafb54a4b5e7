"""The event loop is watched: what holds it is counted, and logged with its place."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.app import create_app
from gateway.process.watchdog import BEAT_S, STANDSTILL_S, Standstills, open_watchdog
from gateway.resources import Resources, open_resources
from tests.running import settings_for


def hold_the_loop(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def test_a_standstill_is_counted_and_logged_with_the_stack_that_caused_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "gateway.process.watchdog")
    standstills = Standstills()
    async with open_watchdog(standstills):
        await asyncio.sleep(3 * BEAT_S)
        hold_the_loop(1.0)
        await asyncio.sleep(3 * BEAT_S)
        assert standstills.count >= 1
        assert standstills.longest > STANDSTILL_S
        assert standstills.seconds >= standstills.longest
    stacks = [str(vars(record)["stack"]) for record in caplog.records]
    assert any("hold_the_loop" in stack for stack in stacks)
    assert re.search(r"tests/test_watchdog\.py:\d+ hold_the_loop < ", " ".join(stacks))


async def test_one_that_keeps_the_interpreter_to_itself_is_counted_too() -> None:
    standstills = Standstills()
    async with open_watchdog(standstills):
        await asyncio.sleep(3 * BEAT_S)
        # One call of C that lets no other thread run.
        sum(range(60_000_000))
        await asyncio.sleep(3 * BEAT_S)
        assert standstills.count >= 1


async def test_a_loop_that_waits_does_not_stand_still(caplog: pytest.LogCaptureFixture) -> None:
    """Work in slices, or in a thread, is none."""
    standstills = Standstills()
    async with open_watchdog(standstills):
        before = time.process_time()
        await asyncio.sleep(4 * STANDSTILL_S)
        if time.process_time() - before > STANDSTILL_S:
            pytest.fail("the watchdog itself is no work")
    told = [vars(record) for record in caplog.records if record.name == "gateway.process.watchdog"]
    # A busy machine may hold up anybody; then hardly any processor time was used.
    assert all(one["processor_seconds"] < STANDSTILL_S for one in told)
    assert standstills.count == len(told)


async def test_a_start_holds_up_nobody_and_is_not_told(
    dsn: str, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def opening() -> AsyncIterator[Resources]:
        async with open_resources(settings_for(data_dir), dsn) as resources:
            await asyncio.sleep(3 * BEAT_S)
            hold_the_loop(2 * STANDSTILL_S)
            yield resources

    async with create_app(opening).lifespan():
        await asyncio.sleep(3 * BEAT_S)
        hold_the_loop(2 * STANDSTILL_S)
        await asyncio.sleep(3 * BEAT_S)
    told = [
        str(vars(one)["stack"]) for one in caplog.records if one.name == "gateway.process.watchdog"
    ]
    assert any(hold_the_loop.__name__ in stack for stack in told)
    assert not any(opening.__name__ in stack for stack in told)
