"""Who invited a participant, and the conversations of a user, found by the user."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-26T00:00:00:000012"
VERSION = "1.38.0"
DESCRIPTION = "membership"

STATEMENTS = (
    "ALTER TABLE participant ADD COLUMN invited_by text",
    """
    CREATE INDEX participant_of_user ON participant (identifier, conversation_id)
        WHERE kind = 'user' AND left_at IS NULL
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
