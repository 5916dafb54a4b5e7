"""Sessions: what a turn waits for that is driven by hand, and how those of an agent are found."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-21T00:00:00:000006"
VERSION = "1.38.0"
DESCRIPTION = "sessions"

STATEMENTS = (
    "ALTER TABLE turn ADD COLUMN awaited jsonb",
    # Turns of the chat door, of which there are many more, are not in it.
    """
    CREATE INDEX turn_session ON turn (responder, id)
        WHERE responder LIKE 'agent/%' OR state = 'waiting'
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
