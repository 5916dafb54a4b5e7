"""The hot statements find their rows by an index, however many there are."""

from __future__ import annotations

import re

import pytest

from gateway.agency.intake import sql_accept, sql_queue
from gateway.agency.ledger import sql_read, sql_write
from gateway.postgres.database import Database

FILL = """
    INSERT INTO api_key (id, secret_hash, "user", scopes) VALUES ('k', '', 'ann', '{chat}');
    INSERT INTO agency (name, owner) VALUES ('Team', 'ann');
    INSERT INTO agent (agency_id, name) VALUES (1, 'manager');
    CREATE UNLOGGED TABLE made AS
        SELECT gen_random_uuid() AS id, n FROM generate_series(1, 5000) n;
    INSERT INTO conversation (id, owner_type, owner_identifier, version, length, root_id)
        SELECT id, 'user', 'ann', 10, 4, id FROM made;
    -- Most conversations have 2 turns, one has 500.
    CREATE UNLOGGED TABLE had AS
        SELECT gen_random_uuid() AS id, gen_random_uuid() AS said, gen_random_uuid() AS told,
               made.id AS conversation_id, n, k
        FROM made, generate_series(1, CASE n WHEN 1 THEN 500 ELSE 2 END) k;
    INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
                      reply_interaction_id, state, history_hash, request_hash, principal, version)
        SELECT id, conversation_id, 'agency/1', 2 * k, said, told,
               CASE WHEN n % 100 = 3 AND k = 2 THEN 'failed' ELSE 'completed' END,
               sha256(id::text::bytea), sha256(said::text::bytea), 'ann', 2 * k FROM had;
    INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier, content,
                             version)
        SELECT said, conversation_id, 2 * k - 1, 'user', 'ann', 'Hi', k FROM had
        UNION ALL SELECT told, conversation_id, 2 * k, 'bot', 'agency/1', 'Hi', k FROM had;
    INSERT INTO message (id, conversation_id, turn_id, interaction_id, agent_id, role, ordinal,
                         version)
        SELECT gen_random_uuid(), conversation_id, id, said, 1, 'user', 1, 2 * k FROM had
        UNION ALL
        SELECT gen_random_uuid(), conversation_id, id, told, 1, 'assistant', 2, 2 * k FROM had;
    INSERT INTO step (id, turn_id, agent_id, attempt, model, read_version, prompt_tokens,
                      completion_tokens, started_at, version)
        SELECT gen_random_uuid(), id, 1, 1, 'm', 1, 1, 1, now(), 2 * k FROM had;
    ANALYZE conversation, turn, interaction, message, step
"""
BIG = ("conversation", "interaction", "turn", "message", "step")
STATEMENTS = {
    f"{room.__name__.rpartition('.')[2]}.{name}": statement
    for room in (sql_write, sql_accept, sql_queue, sql_read)
    for name, statement in vars(room).items()
    if name.isupper() and not name.startswith("_") and "$1" in statement
}


@pytest.fixture
async def filled(database: Database) -> Database:
    for statement in FILL.split(";"):
        await database.execute(statement)
    return database


async def plan_of(database: Database, statement: str) -> str:
    """The plan that the pool's connections make."""
    count = max(int(number) for number in re.findall(r"\$(\d+)", statement))
    nulls = ", ".join(["NULL"] * count)
    async with database.transaction():
        await database.execute(f"PREPARE hot AS {statement}")
        rows = await database.fetch(f"EXPLAIN (COSTS OFF) EXECUTE hot({nulls})")
        await database.execute("DEALLOCATE hot")
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_hot_statement_reads_a_table_from_end_to_end(filled: Database, name: str) -> None:
    plan = await plan_of(filled, STATEMENTS[name])
    assert not re.findall(rf"Seq Scan on ({'|'.join(BIG)})\b", plan), plan
    assert "turn_open" not in plan or name.endswith((".EXPIRED", ".RELEASE_ALL")), plan


async def test_a_context_is_read_backwards_from_its_newest_message(filled: Database) -> None:
    for name in ("sql_read.CONTEXT", "sql_accept.CONTINUE_READING"):
        plan = await plan_of(filled, STATEMENTS[name])
        assert "Index Scan Backward using message_context" in plan, plan
        sorted_by = set(re.findall(r"Sort Key: (.*)", plan))
        assert sorted_by <= {"n.at", "n_2.at"}, plan  # the files of one message
