"""Names and titles: one line, of nothing that can't be seen. Pure.

They are shown in lists, logs, prompts and headers; a line break would forge the line after it.
"""

from __future__ import annotations

import unicodedata

from gateway.errors import InvalidRequest

UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's controls, halves of characters, and separators of lines and paragraphs."""
MARKS = frozenset("\u061c\u200e\u200f")
"""Of the direction of writing. Names in Arabic and Hebrew may need them."""
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""These turn the direction of all that follows, and so make one name look like another."""


def is_line(text: str) -> bool:
    return all(unicodedata.category(one) not in UNSEEN and one not in TURNING for one in text)


def line(text: str, param: str) -> str:
    """`text` itself. Raises InvalidRequest, which names the parameter."""
    if not is_line(text):
        raise InvalidRequest(
            f"{param} is one line, without control characters and marks that turn the text.",
            param=param,
        )
    return text


def visible(text: str) -> str:
    """What can be seen of it, for names that are not worth a refusal."""
    return "".join(
        one
        for one in text
        if unicodedata.category(one) not in UNSEEN and one not in TURNING and one not in MARKS
    ).strip()
