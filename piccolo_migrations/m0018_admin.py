"""Accounts of the admin pages, and who is signed in there."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-27T00:00:00:000018"
VERSION = "1.38.0"
DESCRIPTION = "admin"

# The columns are those that Piccolo Admin's own classes have.
STATEMENTS = (
    """
    CREATE TABLE admin_user (
        id serial PRIMARY KEY,
        username varchar(100) NOT NULL UNIQUE,
        password varchar(255) NOT NULL,
        first_name varchar(255),
        last_name varchar(255),
        email varchar(255) NOT NULL DEFAULT '',
        active boolean NOT NULL DEFAULT false,
        admin boolean NOT NULL DEFAULT false,
        superuser boolean NOT NULL DEFAULT false,
        last_login timestamp
    )
    """,
    """
    CREATE TABLE admin_session (
        id serial PRIMARY KEY,
        token varchar(100) NOT NULL UNIQUE,
        user_id int NOT NULL,
        expiry_date timestamp NOT NULL,
        max_expiry_date timestamp NOT NULL
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
