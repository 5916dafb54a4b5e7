"""What the rows of a conversation say has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gateway import ids
from gateway.conversation.changes import MOST, ConversationChanges
from gateway.conversation.sql import CHANGES
from gateway.postgres.database import Database
from gateway.streams.events import name_of
from tests.streams.rows import Writer, new_conversation


@pytest.fixture
async def writer(database: Database) -> Writer:
    return await new_conversation(database)


@pytest.fixture
def changes(database: Database) -> ConversationChanges:
    return ConversationChanges(database)


async def told(changes: ConversationChanges, writer: Writer, since: int) -> list[tuple[int, str]]:
    found = await changes.changes(writer.conversation_id, since)
    assert found is not None
    assert found.version == writer.version
    return [(one.version, name_of(one.event)) for one in found.items]


async def test_each_row_stands_at_its_last_version(
    changes: ConversationChanges, writer: Writer
) -> None:
    first = await writer.say("a", done=False)
    await writer.say("b")
    await writer.complete(first, "c")
    await writer.entitle("t")
    assert await told(changes, writer, 0) == [
        (3, "interaction.created"),
        (4, "interaction.updated"),
        (5, "conversation.updated"),
    ]
    assert await told(changes, writer, 4) == [(5, "conversation.updated")]
    assert await told(changes, writer, 5) == []
    assert await told(changes, writer, 99) == []


async def test_what_was_deleted_is_told_by_its_id_alone(
    changes: ConversationChanges, writer: Writer
) -> None:
    gone = await writer.say("a secret")
    await writer.remove(gone)
    found = await changes.changes(writer.conversation_id, 0)
    assert found is not None
    assert "secret" not in repr(found)
    assert await told(changes, writer, 1) == [(3, "interaction.deleted")]


async def test_words_about_a_deleted_input_are_not_told(
    changes: ConversationChanges, writer: Writer
) -> None:
    question, reply = await writer.say("?"), await writer.say("", done=False)
    turn = await writer.begin_turn("agency/1", question, reply)
    await writer.talk(7, "About the question", turn)
    assert (5, "message.created") in await told(changes, writer, 4)
    await writer.remove(question)
    assert await told(changes, writer, 4) == [(6, "interaction.deleted")]


async def test_replies_that_are_not_complete_are_known_whatever_their_version(
    changes: ConversationChanges, writer: Writer
) -> None:
    reply = await writer.say("", done=False)
    await writer.say("b")
    found = await changes.changes(writer.conversation_id, 3)
    assert found is not None
    assert found.speaking == {reply}
    await writer.complete(reply, "done")
    found = await changes.changes(writer.conversation_id, 4)
    assert found is not None
    assert not found.speaking


async def test_a_title_does_not_pass_for_a_change_of_something_else(
    changes: ConversationChanges, writer: Writer
) -> None:
    await writer.entitle("t")
    await writer.say("a")
    assert await told(changes, writer, 2) == [(3, "interaction.created")]


async def test_too_much_is_not_told_one_by_one(
    changes: ConversationChanges, writer: Writer
) -> None:
    await writer.database.execute("UPDATE conversation SET version = $1", MOST + 2)
    found = await changes.changes(writer.conversation_id, 1)
    assert found is not None
    assert found.behind
    found = await changes.changes(writer.conversation_id, 2)
    assert found is not None
    assert not found.behind


async def test_what_is_not_there_is_none(changes: ConversationChanges, writer: Writer) -> None:
    assert await changes.changes(ids.new(), 0) is None
    assert await changes.whole(ids.new(), 200) is None
    assert await changes.one(writer.conversation_id, ids.new()) is None
    other = await new_conversation(writer.database)
    foreign = await other.say("a")
    assert await changes.one(writer.conversation_id, foreign) is None


async def test_reading_changes_is_indexed(changes: ConversationChanges, writer: Writer) -> None:
    """With much said before and elsewhere, one change is read without looking at all of it."""
    await writer.database.execute(
        """
        INSERT INTO message (id, conversation_id, agent_id, role, text, ordinal, version)
        SELECT gen_random_uuid(), $1, n % 3, 'user', 'x', 1, n FROM generate_series(1, 5000) n
        """,
        writer.conversation_id,
    )
    await writer.database.execute("ANALYZE message")
    rows = await writer.database.fetch(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {CHANGES}", writer.conversation_id, 4990, MOST
    )
    read = list(_of_messages(msgspec.json.decode(rows[0][0])[0]["Plan"]))
    assert {"message_context"} == {node.get("Index Name") for node in read}, read
    found = [n["Actual Rows"] * n["Actual Loops"] for n in read if "version" in n["Index Cond"]]
    assert found
    assert sum(found) == 10
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in read) < 20


def _of_messages(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if plan.get("Relation Name") == "message" and plan["Actual Loops"]:
        yield plan
    for inner in plan.get("Plans", ()):
        yield from _of_messages(inner)
