"""No row points at a row that is not there. The tables of turns have no foreign keys, so tests
hold their references: see `docs/decisions/0002`."""

from __future__ import annotations

from gateway.postgres.database import Database

REFERENCES = (
    ("conversation", "root_id", "conversation"),
    ("conversation", "parent_id", "conversation"),
    ("conversation", "forked_at_turn", "turn"),
    ("interaction", "conversation_id", "conversation"),
    ("participant", "conversation_id", "conversation"),
    ("participant_right", "conversation_id", "conversation"),
    ("turn", "conversation_id", "conversation"),
    ("turn", "input_interaction_id", "interaction"),
    ("turn", "reply_interaction_id", "interaction"),
    ("turn", "system_message_id", "message"),
    ("turn", "key_id", "api_key"),
    ("step", "turn_id", "turn"),
    ("step", "agent_id", "agent"),
    ("plain_call", "key_id", "api_key"),
    ("message", "conversation_id", "conversation"),
    ("message", "turn_id", "turn"),
    ("message", "step_id", "step"),
    ("message", "interaction_id", "interaction"),
    ("message", "linked_message_id", "message"),
    ("message", "agent_id", "agent"),
)

TOGETHER = (
    # What a turn points at, and what it holds, lies in its own conversation.
    """SELECT count(*) FROM turn t JOIN interaction i
       ON i.id IN (t.input_interaction_id, t.reply_interaction_id)
       WHERE i.conversation_id <> t.conversation_id""",
    """SELECT count(*) FROM message m JOIN turn t ON t.id = m.turn_id
       WHERE m.conversation_id <> t.conversation_id""",
    """SELECT count(*) FROM message m JOIN message n ON n.id = m.linked_message_id
       WHERE m.conversation_id <> n.conversation_id OR n.linked_message_id <> m.id
          OR (m.from_id, m.to_id, m.text) IS DISTINCT FROM (n.from_id, n.to_id, n.text)""",
    # What is said to the library (-1), what it says and notes (-2) stand in one context alone.
    """SELECT count(*) FROM message
       WHERE linked_message_id IS NOT NULL AND (from_id < 0 OR to_id < 0)""",
    # No row carries a version that its conversation has not reached.
    """SELECT count(*) FROM conversation c JOIN (
           SELECT conversation_id, version FROM interaction
           UNION ALL SELECT conversation_id, version FROM turn
           UNION ALL SELECT conversation_id, version FROM message
           UNION ALL SELECT conversation_id, version FROM participant
       ) r ON r.conversation_id = c.id WHERE r.version > c.version""",
    # Nobody is seen at work in a conversation in which nobody works.
    """SELECT count(*) FROM participant p
       WHERE p.kind <> 'user' AND p.left_at IS NULL AND p.status <> 'idle'
       AND NOT EXISTS (SELECT FROM conversation c WHERE c.id = p.conversation_id
                       AND c.deleted_at IS NOT NULL)
       AND NOT EXISTS (SELECT FROM turn t WHERE t.conversation_id = p.conversation_id
                       AND t.state IN ('running', 'waiting'))""",
    # Only what says nothing is silent.
    """SELECT count(*) FROM interaction WHERE silent AND completed_at IS NOT NULL
       AND (content <> '' OR errors IS NOT NULL) AND deleted_at IS NULL""",
    # A completed turn has an answer that is complete, and a count of what it used.
    """SELECT count(*) FROM turn t JOIN interaction i ON i.id = t.reply_interaction_id
       WHERE t.state = 'completed' AND (i.completed_at IS NULL OR t.finish_reason IS NULL)""",
)


async def check(database: Database) -> None:
    """Raise AssertionError naming what is broken."""
    broken = []
    for table, column, target in REFERENCES:
        row = await database.fetchrow(
            f"SELECT count(*) FROM {table} a WHERE {column} IS NOT NULL AND NOT EXISTS "  # noqa: S608
            f"(SELECT FROM {target} b WHERE b.id = a.{column})"
        )
        if row is not None and row[0]:
            broken.append(f"{row[0]} of {table}.{column} point at no {target}")
    for statement in TOGETHER:
        row = await database.fetchrow(statement)
        if row is not None and row[0]:
            broken.append(f"{row[0]} rows break: {' '.join(statement.split())}")
    assert not broken, broken
