"""What conversations need beside the chat door: queued turns, files, skill sets, idempotency keys.

`turn.attended` is false where the work goes on whether or not anybody waits for it. Steps of a
plain model, which answers without a team, have no agent.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-21T00:00:00:000003"
VERSION = "1.38.0"
DESCRIPTION = "messages"

STATEMENTS = (
    "ALTER TABLE interaction ADD COLUMN file_ids uuid[], ADD COLUMN skill_set_ids uuid[]",
    "ALTER TABLE turn ADD COLUMN attended boolean NOT NULL DEFAULT true",
    "ALTER TABLE step ALTER COLUMN agent_id DROP NOT NULL",
    # What waits for the turn before it, in order.
    "CREATE INDEX turn_queued ON turn (conversation_id, seq) WHERE state = 'queued'",
    """
    CREATE TABLE idempotency_key (
        "user" text NOT NULL,
        endpoint text NOT NULL,
        key text NOT NULL,
        body_hash bytea NOT NULL,
        turn_id uuid,
        response bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY ("user", endpoint, key)
    )
    """,
    "CREATE INDEX idempotency_key_age ON idempotency_key (created_at)",
    """
    CREATE TABLE file (
        id uuid PRIMARY KEY,
        owner text NOT NULL,
        filename text NOT NULL,
        purpose text NOT NULL,
        bytes bigint NOT NULL,
        content bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        deleted_at timestamptz
    )
    """,
    "CREATE INDEX file_of_owner ON file (owner, id) WHERE deleted_at IS NULL",
    """
    CREATE TABLE skill_set (
        id uuid PRIMARY KEY,
        owner_type text NOT NULL,
        owner_identifier text NOT NULL,
        name text NOT NULL,
        icon text NOT NULL,
        description text NOT NULL,
        prompt text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        deleted_at timestamptz
    )
    """,
    """
    CREATE INDEX skill_set_of_owner ON skill_set (owner_type, owner_identifier, id)
        WHERE deleted_at IS NULL
    """,
)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="gateway", description=DESCRIPTION)

    async def create() -> None:
        database = engine_finder()
        for statement in STATEMENTS:
            await database.run_ddl(statement)

    manager.add_raw(create)
    return manager
