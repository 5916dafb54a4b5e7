"""Who writes which table: its own room, or a room that stands above it and says in one statement
what becomes of its rows. A room never writes the tables of one that it does not know."""

from __future__ import annotations

import re
from pathlib import Path

import gateway

PACKAGE = Path(gateway.__file__).parent
ABOVE = {
    "agency": {"agency"},
    "conversation": {"conversation", "agency"},
    "retrieval": {"retrieval"},
    "streams": {"streams"},
    "auth": {"auth"},
    "admin": {"admin"},
}
"""The rooms that may write the tables of a room."""
WRITES = re.compile(r"(?:INSERT INTO|DELETE FROM|(?<!FOR )(?<!KEY )\bUPDATE) (\w+)")
NO_TABLE = {"SET", "OF"}
"""What follows the word in other places: `ON CONFLICT DO UPDATE SET`, `FOR NO KEY UPDATE OF`."""
DECLARED = re.compile(
    r'^class (\w+)\((?:Table|BaseUser|SessionsBase)(?:, tablename="(\w+)")?\)', re.MULTILINE
)


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _homes() -> dict[str, str]:
    return {
        tablename or name.lower(): _room(path)
        for path in PACKAGE.rglob("*.py")
        for name, tablename in DECLARED.findall(path.read_text())
    }


def test_tables_are_written_by_their_room_or_from_above() -> None:
    homes = _homes()
    written = {
        (table, path)
        for path in PACKAGE.rglob("*.py")
        for table in WRITES.findall(path.read_text())
        if table not in NO_TABLE and not table.isupper()
    }
    assert {table for table, _ in written} >= homes.keys(), "a table that nobody writes"
    unknown = {(table, path.name) for table, path in written if table not in homes}
    assert not unknown
    wrong = {
        (table, str(path.relative_to(PACKAGE)))
        for table, path in written
        if _room(path) not in ABOVE[homes[table]]
    }
    assert not wrong
