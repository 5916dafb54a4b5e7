"""What statements have in common is written once: a turn's states, and how a version is raised."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gateway
from gateway.conversation.turn_states import TurnState
from gateway.postgres.database import Database

ROOT = Path(gateway.__file__).parent
SOURCES = [
    source for room in ("agency", "conversation") for source in (ROOT / room).rglob("sql*.py")
]
OF_TURNS = [source for source in SOURCES if source.parent.name != "rooms"]
"""Participants do things that are called the same."""
BY_HAND = re.compile(rf"'({'|'.join(TurnState)})'")


@pytest.mark.parametrize("source", OF_TURNS, ids=lambda source: str(source.relative_to(ROOT)))
def test_no_statement_names_a_state_by_hand(source: Path) -> None:
    assert not BY_HAND.findall(source.read_text())


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(ROOT)))
def test_no_statement_raises_a_version_by_hand(source: Path) -> None:
    assert not re.findall(r"version\s*=\s*(conversation\.)?version \+ 1", source.read_text())


async def test_the_table_knows_these_states_and_no_others(database: Database) -> None:
    row = await database.fetchrow(
        "SELECT pg_get_constraintdef(oid) AS told FROM pg_constraint"
        " WHERE conrelid = 'turn'::regclass AND contype = 'c' AND conname LIKE '%state%'"
    )
    assert row is not None
    assert set(re.findall(r"'(\w+)'::text", row["told"])) == set(TurnState)
