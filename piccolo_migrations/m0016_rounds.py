"""Bots that answer at the same time: replies may change places, and one may be driven by hand.

The two constraints take over indexes that are there, and read no row. Checked at the end of each
statement, they let two rows change places in one.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-27T00:00:00:000016"
VERSION = "1.38.0"
DESCRIPTION = "rounds"

STATEMENTS = (
    """
    ALTER TABLE interaction ADD CONSTRAINT interaction_order UNIQUE USING INDEX interaction_order
    DEFERRABLE INITIALLY IMMEDIATE
    """,
    """
    ALTER TABLE turn ADD CONSTRAINT turn_order UNIQUE USING INDEX turn_order
    DEFERRABLE INITIALLY IMMEDIATE
    """,
    "ALTER TABLE turn ADD COLUMN driven text CHECK (driven IN ('auto', 'manual'))",
    """
    ALTER TABLE participant ADD COLUMN drive text NOT NULL DEFAULT 'auto'
    CHECK (drive = 'auto' OR drive = 'manual' AND kind <> 'user')
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
