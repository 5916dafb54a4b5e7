"""Logs tell what went wrong and where, but no word of what was said."""

from __future__ import annotations

import asyncio
import gc
import json
import logging

import pytest

from gateway.process import telemetry

SECRET = "a whole prompt"


def broken() -> Exception:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(SECRET) from error
    except ValueError as error:
        return error


def test_causes_are_types_and_places() -> None:
    last, first = telemetry.causes(broken())
    assert last.startswith("ValueError at ")
    assert first.startswith("KeyError at ")
    assert "test_telemetry.py" in first
    assert SECRET not in last + first


def test_a_logged_exception_loses_its_words() -> None:
    error = broken()
    record = logging.makeLogRecord({"msg": "it broke", "exc_info": (type(error), error, None)})
    line = json.loads(telemetry.JsonLines().format(record))
    assert line["message"] == "it broke"
    assert line["causes"] == telemetry.causes(error)


async def test_what_nobody_caught_in_a_task_loses_its_words_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise ValueError(SECRET)

    asyncio.get_running_loop().set_exception_handler(telemetry.of_loop)
    task = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    assert task.done()
    del task
    gc.collect()
    (record,) = caplog.records
    assert record.getMessage() == "Task exception was never retrieved"
    assert SECRET not in telemetry.JsonLines().format(record)
