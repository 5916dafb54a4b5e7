"""Stream tokens: what they are good for, and until when."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import Unauthenticated
from gateway.postgres.database import Database
from gateway.streams.tokens import LIFE_S, StreamTokens


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_stands_for_its_key_until_it_expires(database: Database) -> None:
    clock = Clock()
    tokens = StreamTokens(database, clock)
    token = await tokens.issue("conv_1", "key")
    assert await tokens.check(token.text, "conv_1") == "key"
    clock.now += LIFE_S - 1
    assert await tokens.check(token.text, "conv_1") == "key"
    clock.now += 1
    with pytest.raises(Unauthenticated):
        await tokens.check(token.text, "conv_1")


async def test_processes_that_begin_at_once_share_one_secret(database: Database) -> None:
    many = [StreamTokens(database) for _ in range(12)]
    issued = await asyncio.gather(*(one.issue("conv_1", "key") for one in many))
    for token in issued:
        for one in many:
            assert await one.check(token.text, "conv_1") == "key"
    rows = await database.fetch("SELECT name FROM secret")
    assert len(rows) == 1


async def test_no_character_of_a_token_may_be_changed(database: Database) -> None:
    tokens = StreamTokens(database)
    text = (await tokens.issue("conv_1", "key")).text
    for place in range(len(text)):
        for other in "A.\x00é":
            changed = text[:place] + other + text[place + 1 :]
            if changed == text or _same_bytes(changed, text):
                continue
            with pytest.raises(Unauthenticated):
                await tokens.check(changed, "conv_1")
    for nonsense in ("", ".", "..", text[:-1], text + "A", text.partition(".")[0] + "."):
        with pytest.raises(Unauthenticated):
            await tokens.check(nonsense, "conv_1")


def _same_bytes(one: str, other: str) -> bool:
    """The last character of base64 has bits that stand for nothing."""
    return one[:-1] == other[:-1]


async def test_a_token_of_another_database_is_none(database: Database) -> None:
    token = await StreamTokens(database).issue("conv_1", "key")
    await database.execute("DELETE FROM secret")
    with pytest.raises(Unauthenticated):
        await StreamTokens(database).check(token.text, "conv_1")
