"""What was asked for by its id, and is not there or not the caller's to see."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from gateway import ids
from gateway.errors import NotFound


def absent(prefix: str, missing: Iterable[UUID]) -> NotFound:
    """Names each of the missing ones as the caller wrote it."""
    shown = [ids.show(prefix, one) for one in missing]
    noun = ids.NAMES[prefix].replace("_", " ")
    told = f"There is no {noun} {shown[0]}."
    if len(shown) > 1:
        told = f"There are no {noun}s {', '.join(shown)}."
    return NotFound(told, code=f"{ids.NAMES[prefix]}_not_found")
