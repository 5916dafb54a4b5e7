"""Lists that are read page by page. One row more than a page holds shows whether others follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from gateway import ids
from gateway.errors import InvalidRequest, NotFound
from gateway.postgres.database import Row

FIRST = UUID(int=0)
"""An id before every other."""
LAST = UUID(int=2**128 - 1)
"""An id after every other."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
BEGINNING = _EPOCH, FIRST
"""Before every time and id."""
END = datetime(9999, 12, 31, tzinfo=UTC), LAST
"""After every one."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """`next_cursor` is where the next page begins, None on the last page."""

    items: Sequence[Item]
    next_cursor: str | None

    @property
    def more(self) -> bool:
        return self.next_cursor is not None


def page(
    rows: Sequence[Row],
    limit: int,
    item: Callable[[Row], Item],
    cursor: Callable[[Row], str] = lambda row: row["id"].hex,
) -> Page[Item]:
    """The first `limit` rows as items. `cursor` is made of the last of them if others follow."""
    more = cursor(rows[limit - 1]) if len(rows) > limit else None
    return Page([item(row) for row in rows[:limit]], more)


def id_in(cursor: str | None, prefix: str | None = None) -> UUID | None:
    """The id in a cursor, with its prefix or bare. Raises InvalidRequest."""
    if cursor is None:
        return None
    try:
        return UUID(hex=cursor) if prefix is None else ids.read(prefix, cursor)
    except (ValueError, NotFound):
        raise _invalid() from None


def moment(at: datetime, last: UUID) -> str:
    """A cursor for what is ordered by a time and an id."""
    return f"{(at - _EPOCH) // _US}.{last.hex}"


def moment_in(cursor: str | None, start: tuple[datetime, UUID]) -> tuple[datetime, UUID]:
    """The time and the id in such a cursor; `start` without one. Raises InvalidRequest."""
    if cursor is None:
        return start
    since, _, last = cursor.partition(".")
    if not _is_number(since):
        raise _invalid()
    try:
        return _EPOCH + _US * int(since), UUID(hex=last)
    except (ValueError, OverflowError):
        raise _invalid() from None


def numbers_in(cursor: str | None, length: int = 1) -> list[int]:
    """The numbers in a cursor such as `12.3`; without one zeros, which are before everything."""
    if cursor is None:
        return [0] * length
    numbers = cursor.split(".")
    if len(numbers) != length or not all(map(_is_number, numbers)):
        raise _invalid()
    return [int(number) for number in numbers]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _invalid() -> InvalidRequest:
    return InvalidRequest("Invalid cursor.", param="cursor")
