"""Who is in a conversation, what they do at the moment, and what its users may do in it.

`interaction.silent` is true for a reply of a room until its first words, or its end with an error:
until then it is not shown, and one that ends without a word never is.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-21T00:00:00:000005"
VERSION = "1.38.0"
DESCRIPTION = "participants"

STATEMENTS = (
    """
    CREATE TABLE participant (
        conversation_id uuid NOT NULL,
        kind text NOT NULL CHECK (kind IN ('user', 'agent', 'agency', 'model')),
        identifier text NOT NULL,
        ordinal integer NOT NULL,
        status text NOT NULL CHECK (status IN
            ('idle', 'thinking', 'searching', 'waiting', 'writing', 'offline')),
        status_until timestamptz,
        invited_at timestamptz NOT NULL DEFAULT now(),
        joined_at timestamptz,
        left_at timestamptz,
        version bigint NOT NULL,
        PRIMARY KEY (conversation_id, kind, identifier)
    ) WITH (fillfactor = 80)
    """,
    # The sweeper: statuses that people have not renewed.
    "CREATE INDEX participant_status ON participant (status_until) WHERE status_until IS NOT NULL",
    """
    CREATE TABLE participant_right (
        conversation_id uuid NOT NULL,
        kind text NOT NULL CHECK (kind = 'user'),
        identifier text NOT NULL,
        "right" text NOT NULL CHECK ("right" IN ('add_message', 'edit_others_messages',
            'delete_others_messages', 'delete_conversation')),
        granted_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (conversation_id, kind, identifier, "right")
    )
    """,
    "ALTER TABLE interaction ADD COLUMN silent boolean NOT NULL DEFAULT false",
)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="gateway", description=DESCRIPTION)

    async def create() -> None:
        database = engine_finder()
        for statement in STATEMENTS:
            await database.run_ddl(statement)

    manager.add_raw(create)
    return manager
