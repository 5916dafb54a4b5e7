"""Until when a participant is taken to be there, and who has said to be away."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-26T00:00:00:000014"
VERSION = "1.38.0"
DESCRIPTION = "presence"

STATEMENTS = (
    """
    ALTER TABLE participant
        ADD COLUMN present_until timestamptz,
        ADD COLUMN away boolean NOT NULL DEFAULT false
    """,
    """
    CREATE INDEX participant_present ON participant (present_until)
        WHERE present_until IS NOT NULL
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
