"""Webhooks: who is told what, what happened that somebody wants to be told, and what was sent.

What happens is written by triggers, so that whatever changes a row, a process of an older version
too, writes it in the same transaction. Nothing is written that no webhook asks for.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-27T00:00:00:000017"
VERSION = "1.38.0"
DESCRIPTION = "webhooks"

STATEMENTS = (
    """
    CREATE TABLE webhook (
        id uuid PRIMARY KEY,
        "user" text NOT NULL,
        key_id text NOT NULL,
        url text NOT NULL,
        events text[] NOT NULL,
        conversation_id uuid,
        agency_id bigint,
        secret bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        disabled_at timestamptz
    )
    """,
    'CREATE INDEX webhook_of_user ON webhook ("user", id)',
    """
    CREATE TABLE webhook_event (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        event text NOT NULL,
        conversation_id uuid NOT NULL,
        subject_id uuid,
        name text,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE webhook_delivery (
        id uuid PRIMARY KEY,
        webhook_id uuid NOT NULL REFERENCES webhook ON DELETE CASCADE,
        event text NOT NULL,
        body text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        asked_at timestamptz NOT NULL DEFAULT now(),
        due_at timestamptz,
        attempts int NOT NULL DEFAULT 0,
        delivered_at timestamptz,
        failed_at timestamptz,
        answered_at timestamptz,
        status smallint,
        answer text,
        error text
    )
    """,
    "CREATE INDEX webhook_delivery_of_webhook ON webhook_delivery (webhook_id, id)",
    "CREATE INDEX webhook_delivery_due ON webhook_delivery (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX webhook_delivery_age ON webhook_delivery (created_at)",
    # A turn that is completed stands for its reply, too, which is a message then.
    #
    # One look at a table that is mostly empty is all that it costs where nobody asks. A call of
    # another function in each would cost five times as much.
    """
    CREATE FUNCTION webhook_of_turn() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM webhook) THEN
            INSERT INTO webhook_event (event, conversation_id, subject_id)
            SELECT 'turn.' || NEW.state, NEW.conversation_id, NEW.id
            WHERE EXISTS (
                SELECT FROM webhook w
                WHERE ('turn.' || NEW.state = ANY(w.events)
                       OR (NEW.state = 'completed' AND 'message.created' = ANY(w.events)))
                  AND w.disabled_at IS NULL
                  AND (w.conversation_id IS NULL OR w.conversation_id = NEW.conversation_id));
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER webhook_of_turn AFTER UPDATE OF state, awaited ON turn FOR EACH ROW
    WHEN (NEW.state IN ('completed', 'failed', 'waiting')
          AND (OLD.state <> NEW.state
               OR (NEW.state = 'waiting' AND OLD.awaited IS DISTINCT FROM NEW.awaited)))
    EXECUTE FUNCTION webhook_of_turn()
    """,
    """
    CREATE FUNCTION webhook_of_interaction() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM webhook) THEN
            INSERT INTO webhook_event (event, conversation_id, subject_id)
            SELECT 'message.created', NEW.conversation_id, NEW.id
            WHERE EXISTS (
                SELECT FROM webhook w
                WHERE 'message.created' = ANY(w.events) AND w.disabled_at IS NULL
                  AND (w.conversation_id IS NULL OR w.conversation_id = NEW.conversation_id));
        END IF;
        RETURN NULL;
    END $$
    """,
    # What a branch copies was made before.
    """
    CREATE TRIGGER webhook_of_said AFTER INSERT ON interaction FOR EACH ROW
    WHEN (NEW.completed_at IS NOT NULL AND NOT NEW.silent AND NEW.errors IS NULL
          AND NEW.deleted_at IS NULL AND NEW.created_at = now())
    EXECUTE FUNCTION webhook_of_interaction()
    """,
    """
    CREATE FUNCTION webhook_of_participant() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO webhook_event (event, conversation_id, name)
        SELECT 'participant.invited', NEW.conversation_id, NEW.identifier
        WHERE EXISTS (
            SELECT FROM webhook w
            WHERE 'participant.invited' = ANY(w.events) AND w.disabled_at IS NULL
              AND (w.conversation_id IS NULL OR w.conversation_id = NEW.conversation_id));
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER webhook_of_invitation AFTER INSERT ON participant FOR EACH ROW
    WHEN (NEW.kind = 'user' AND NEW.joined_at IS NULL AND NEW.left_at IS NULL)
    EXECUTE FUNCTION webhook_of_participant()
    """,
    """
    CREATE TRIGGER webhook_of_invitation_again AFTER UPDATE OF invited_at ON participant
    FOR EACH ROW
    WHEN (NEW.kind = 'user' AND NEW.joined_at IS NULL AND NEW.left_at IS NULL
          AND OLD.invited_at IS DISTINCT FROM NEW.invited_at)
    EXECUTE FUNCTION webhook_of_participant()
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
