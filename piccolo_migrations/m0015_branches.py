"""Where a branch of a conversation leaves it, and the branches of one, found by their root."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-26T00:00:00:000015"
VERSION = "1.38.0"
DESCRIPTION = "branches"

STATEMENTS = (
    "ALTER TABLE conversation ADD COLUMN forked_at_interaction uuid",
    "CREATE INDEX conversation_of_root ON conversation (root_id) WHERE id <> root_id",
)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="gateway", description=DESCRIPTION)

    async def create() -> None:
        database = engine_finder()
        for statement in STATEMENTS:
            await database.run_ddl(statement)

    manager.add_raw(create)
    return manager
