"""What was said after a version is found agent by agent, in the index of their contexts. One index
less is written to with each message, of which a team's turn makes many."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-21T00:00:00:000009"
VERSION = "1.38.0"
DESCRIPTION = "message indexes"

STATEMENTS = ("DROP INDEX message_version",)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="gateway", description=DESCRIPTION)

    async def create() -> None:
        database = engine_finder()
        for statement in STATEMENTS:
            await database.run_ddl(statement)

    manager.add_raw(create)
    return manager
