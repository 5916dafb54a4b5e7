"""One row for each call of a plain model, for usage: no words. Its id tells when it began, so that
time needs no index."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-26T00:00:00:000010"
VERSION = "1.38.0"
DESCRIPTION = "plain calls"

STATEMENTS = (
    """
    CREATE TABLE plain_call (
        id uuid PRIMARY KEY,
        key_id text NOT NULL,
        "user" text NOT NULL,
        end_user text,
        model text NOT NULL,
        provider text NOT NULL,
        streamed boolean NOT NULL,
        status smallint,
        error text,
        input_tokens integer,
        cached_tokens integer,
        output_tokens integer,
        counted boolean NOT NULL DEFAULT false,
        started_at timestamptz NOT NULL,
        finished_at timestamptz
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
