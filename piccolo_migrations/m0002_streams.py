"""What channels need: the version of a conversation's own last change, and the secret of tokens.

The version is kept by a trigger, so no writer can forget it. It fires only for statements that name
one of these columns: none of a turn's does.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-21T00:00:00:000002"
VERSION = "1.38.0"
DESCRIPTION = "streams"

STATEMENTS = (
    "ALTER TABLE conversation ADD COLUMN described_version bigint NOT NULL DEFAULT 1",
    """
    CREATE FUNCTION conversation_described() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.described_version := NEW.version;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER conversation_described
    BEFORE UPDATE OF title, drive, owner_type, owner_identifier, provider_id, model_id, deleted_at
    ON conversation FOR EACH ROW EXECUTE FUNCTION conversation_described()
    """,
    """
    CREATE TABLE secret (
        name text PRIMARY KEY,
        value bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # What was said after a version. An agent's context has an index of its own.
    "CREATE INDEX message_version ON message (conversation_id, version)",
)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="gateway", description=DESCRIPTION)

    async def create() -> None:
        database = engine_finder()
        for statement in STATEMENTS:
            await database.run_ddl(statement)

    manager.add_raw(create)
    return manager
