"""The words of messages, by which they are found."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-27T00:00:00:000017"
VERSION = "1.38.0"
DESCRIPTION = "words"

# A reply that grows is not in it, so that keeping what it says so far costs no more than before.
STATEMENTS = (
    """
    CREATE INDEX interaction_words ON interaction
        USING gin (to_tsvector('simple', left(content, 100000)))
        WHERE completed_at IS NOT NULL AND deleted_at IS NULL
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
