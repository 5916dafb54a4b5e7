"""Cuts a stream of server-sent events between its events, and changes no byte of them."""

from __future__ import annotations

import re
from typing import Final

from gateway.agency.models.upstream.sse import EventTooLong

MAX_BLOCK: Final = 8 << 20
"""Bytes of one event. An image or a sound may come in one."""

_BLANK_LINE: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LONGEST: Final = 4


class Blocks:
    """Takes bytes in pieces of any size and gives each event as it came, its blank line included.
    Where a piece ends within CRLF, LF begins the next block, where it means nothing."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that this piece completes. Raises EventTooLong."""
        looked = max(0, len(self._held) - _LONGEST)
        self._held += piece
        blocks, start = [], 0
        for found in _BLANK_LINE.finditer(self._held, looked):
            blocks.append(bytes(self._held[start : found.end()]))
            start = found.end()
        del self._held[:start]
        if len(self._held) > MAX_BLOCK:
            raise EventTooLong
        return blocks

    @property
    def rest(self) -> bytes:
        """What no blank line has ended."""
        return bytes(self._held)
