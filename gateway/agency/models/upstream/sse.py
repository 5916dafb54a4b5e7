"""Reads server-sent events out of bytes, as an upstream sends them."""

from __future__ import annotations

MAX_LINE = 1 << 20
"""Bytes of one line, and of the data of one event. A delta has a few hundred."""

BOM = b"\xef\xbb\xbf"


class EventTooLong(Exception):
    """A line or an event is longer than MAX_LINE."""


class EventReader:
    """Takes bytes in pieces of any size and gives the data of each event that they complete.

    Lines end in LF, CRLF or CR. Comments and fields other than `data` are skipped, and an event
    that its blank line does not end is never given, as the standard has it.
    """

    def __init__(self) -> None:
        self._tail: list[bytes] = []  # pieces of a line that has not ended; joined only once
        self._tail_size = 0
        self._data: list[bytes] = []  # the data lines of an event that has not ended
        self._data_size = 0
        self._at_start = True
        self._after_cr = False  # an LF that comes next belongs to the line that has ended

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises EventTooLong."""
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        end = piece.rfind(b"\n") + 1
        if end < len(piece):
            end = max(end, piece.rfind(b"\r") + 1)
        if not end:
            self._keep(piece)
            return []
        self._after_cr = piece.endswith(b"\r")
        lines = b"".join((*self._tail, piece[:end])).splitlines()
        self._tail, self._tail_size = [], 0
        if end < len(piece):
            self._keep(piece[end:])
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(BOM)
        return self._events(lines)

    def _keep(self, piece: bytes) -> None:
        self._tail.append(piece)
        self._tail_size += len(piece)
        if self._tail_size > MAX_LINE:
            raise EventTooLong

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[6:] if line.startswith(b" ", 5) else line[5:])
                if len(data) > 1 or len(line) > MAX_LINE:
                    self._guard(line)
            elif not line and data:
                events.append(data[0] if len(data) == 1 else b"\n".join(data))
                data.clear()
                self._data_size = 0
        return events

    def _guard(self, line: bytes) -> None:
        self._data_size += len(line)
        if self._data_size > MAX_LINE:
            raise EventTooLong
