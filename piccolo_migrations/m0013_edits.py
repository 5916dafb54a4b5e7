"""Messages that are edited, what they said before, and who deleted them."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-26T00:00:00:000013"
VERSION = "1.38.0"
DESCRIPTION = "edits"

STATEMENTS = (
    """
    ALTER TABLE interaction
        ADD COLUMN edited_at timestamptz,
        ADD COLUMN edited_by_type text,
        ADD COLUMN edited_by_identifier text,
        ADD COLUMN deleted_by text,
        ADD COLUMN outdated boolean NOT NULL DEFAULT false
    """,
    """
    CREATE TABLE interaction_edit (
        interaction_id uuid NOT NULL,
        version bigint NOT NULL,
        owner_type text NOT NULL,
        owner_identifier text NOT NULL,
        content text NOT NULL,
        written_at timestamptz NOT NULL,
        PRIMARY KEY (interaction_id, version)
    )
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
