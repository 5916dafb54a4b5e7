"""Bodies that were packed on their way (`content-encoding`), unpacked in steps of bounded size.

Sources: RFC 9110, 8.4; RFC 1950 to 1952. What the web calls `deflate` is either of the first two.
"""

from __future__ import annotations

import zlib

from gateway.errors import InvalidRequest, UnsupportedEncoding

STEP = 256 * 1024
"""Bytes that are unpacked at once."""
ZLIB, RAW, GZIP = 15, -15, 31
"""zlib's `wbits` of each format."""
ENCODINGS = {b"gzip": GZIP, b"x-gzip": GZIP, b"deflate": None}


class Unpacking:
    """One body. Raises UnsupportedEncoding for an encoding that is none of ours."""

    __slots__ = ("_engine", "_packed", "_wbits")

    def __init__(self, encoding: bytes) -> None:
        name = encoding.strip().lower()
        if name not in ENCODINGS:
            raise UnsupportedEncoding(
                "This content-encoding is not read here: send gzip, deflate, or none."
            )
        self._wbits = ENCODINGS[name]
        self._engine = zlib.decompressobj(self._wbits or ZLIB)
        self._packed = b""

    @property
    def pending(self) -> bool:
        """True if `step` may give more before more is fed."""
        return len(self._packed) >= (2 if self._wbits is None else 1)

    @property
    def ended(self) -> bool:
        return self._engine.eof

    def feed(self, packed: bytes) -> None:
        self._packed += packed

    def step(self) -> bytes:
        """At most STEP bytes of what is pending, maybe none. Raises InvalidRequest."""
        if self._wbits is None:
            self._wbits = ZLIB if _begins_as_zlib(self._packed) else RAW
            self._engine = zlib.decompressobj(self._wbits)
        if self._engine.eof:
            raise InvalidRequest("The body goes on after the end of its content-encoding.")
        try:
            piece = self._engine.decompress(self._packed, STEP)
        except zlib.error:
            raise InvalidRequest("The body is not encoded as its content-encoding says.") from None
        self._packed = self._engine.unconsumed_tail or self._engine.unused_data
        return piece


def _begins_as_zlib(packed: bytes) -> bool:
    return packed[0] & 0x0F == zlib.DEFLATED and int.from_bytes(packed[:2]) % 31 == 0
