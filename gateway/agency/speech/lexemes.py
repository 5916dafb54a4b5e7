"""The pieces that JSON is made of, also where models write them sloppily. Pure."""

from __future__ import annotations

import json
import re

from gateway.agency.speech.envelope import storable

MAX_SCALAR = 400  # no double needs more digits, and a scalar is held back until it ends

SPACE = re.compile(r"\s*+")
# All of a string but its closing quote and an escape that may go on in the next chunk.
BODY = re.compile(r'[^"\\]*+(?:\\(?:[^u]|u(?![0-9a-fA-F]{0,3}\Z))[^"\\]*+)*+')
# An escape that JSON doesn't know (LaTeX, regular expressions) stands for itself.
ESCAPE = re.compile(r'\\(?:(["\\/bfnrt])|u([0-9a-fA-F]{4}))')
SCALAR = re.compile(r"[-+.\w]*+")
BARE_NAME = re.compile(r"[\w\s'`‘’“”]*+")  # noqa: RUF001
TRAILING_COMMA = re.compile(r"\}\s*,\s*\Z")
_CHARACTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def end_of(pattern: re.Pattern[str], text: str, pos: int) -> int:
    found = pattern.match(text, pos)
    return found.end() if found else pos


def skip(text: str, pos: int) -> int:
    return end_of(SPACE, text, pos)


def unescape(body: str) -> str:
    return ESCAPE.sub(_character, body) if "\\" in body else body


def _character(escape: re.Match[str]) -> str:
    if escape[2]:
        return chr(int(escape[2], 16))
    return _CHARACTERS.get(escape[1], escape[1])


def as_text(written: str) -> str:
    """A context that is no string: its compact JSON, null as nothing."""
    try:
        value: object = json.loads(written, strict=False)
    except ValueError:  # a trailing comma or an unknown escape, which only we let pass
        return storable(written.strip())
    if value is None:
        return ""
    return storable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
