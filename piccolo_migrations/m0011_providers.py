"""A step tells which provider served its model. Older steps were all served by the one upstream, or
by another gateway, and tell none."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-26T00:00:00:000011"
VERSION = "1.38.0"
DESCRIPTION = "providers"

STATEMENTS = ("ALTER TABLE step ADD COLUMN provider text",)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="gateway", description=DESCRIPTION)

    async def create() -> None:
        database = engine_finder()
        for statement in STATEMENTS:
            await database.run_ddl(statement)

    manager.add_raw(create)
    return manager
