"""The queue of documents: owners take turns, whoever came first and with however many."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-21T00:00:00:000007"
VERSION = "1.38.0"
DESCRIPTION = "queue of documents"

STATEMENTS = (
    "ALTER TABLE document ADD COLUMN place bigint NOT NULL DEFAULT 0",
    "DROP INDEX document_due",
    """
    CREATE INDEX document_due ON document (place, lease_until)
        WHERE state IN ('pending', 'indexing') AND deleted_at IS NULL
    """,
    # The last place of an owner is that of one of their collections.
    """
    CREATE INDEX document_last ON document (collection_id, place)
        WHERE state IN ('pending', 'indexing') AND deleted_at IS NULL
    """,
    # As few as are indexed at a time.
    """
    CREATE INDEX document_front ON document (place)
        WHERE state = 'indexing' AND deleted_at IS NULL
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
