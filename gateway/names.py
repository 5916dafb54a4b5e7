"""Names and titles: one line, of nothing that can't be seen. Pure.

They are shown in lists, logs, prompts and headers; a line break would forge the line after it.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from gateway.errors import InvalidRequest

DEFAULT_PROVIDER: Final = "open_ai"
"""The provider of models where none is named: the upstream, by the RPC contract's word for it."""

UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's controls, halves of characters, and separators of lines and paragraphs."""
MARKS = frozenset("\u061c\u200e\u200f")
"""Of the direction of writing. Names in Arabic and Hebrew may need them."""
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""These turn the direction of all that follows, and so make one name look like another."""


BLANK = {"Cf", "Zs"}
"""Categories of what may stand in a name, but makes none by itself: formats, and spaces."""
FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters by their category, and blank."""


def is_line(text: str) -> bool:
    """Returns True for an empty text, and for one line with something visible in it."""
    if any(unicodedata.category(one) in UNSEEN or one in TURNING for one in text):
        return False
    return not text or _shows(text)


def _shows(text: str) -> bool:
    return any(unicodedata.category(one) not in BLANK and one not in FILLERS for one in text)


def line(text: str, param: str) -> str:
    """Returns the text. Raises InvalidRequest, which names the parameter."""
    if not is_line(text):
        raise InvalidRequest(
            f"{param} must be one visible line, without control characters or marks that turn the "
            "direction of text.",
            param=param,
        )
    return text


def visible(text: str) -> str:
    """Returns the visible part of a name that is not worth a refusal, or ""."""
    seen = "".join(
        one
        for one in text
        if unicodedata.category(one) not in UNSEEN and one not in TURNING and one not in MARKS
    ).strip()
    return seen if _shows(seen) else ""
