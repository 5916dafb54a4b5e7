"""The library: collections, their documents, and the passages that these are cut into.

What is deleted here keeps its row, marked, until the search index has forgotten it, too.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-21T00:00:00:000004"
VERSION = "1.38.0"
DESCRIPTION = "retrieval"

STATEMENTS = (
    """
    CREATE TABLE collection (
        id uuid PRIMARY KEY,
        owner text NOT NULL,
        name text NOT NULL,
        embedder text NOT NULL,
        dimension integer,
        index_id uuid NOT NULL,
        stale_indexes uuid[] NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL DEFAULT now(),
        deleted_at timestamptz
    )
    """,
    "CREATE UNIQUE INDEX collection_name ON collection (owner, name) WHERE deleted_at IS NULL",
    """
    CREATE INDEX collection_swept ON collection (id)
        WHERE deleted_at IS NOT NULL OR stale_indexes <> '{}'
    """,
    """
    CREATE TABLE document (
        id uuid PRIMARY KEY,
        collection_id uuid NOT NULL REFERENCES collection,
        source text,
        metadata jsonb NOT NULL,
        kind text NOT NULL,
        content bytea NOT NULL,
        content_hash bytea NOT NULL,
        state text NOT NULL,
        error text,
        passages integer NOT NULL DEFAULT 0,
        indexed integer NOT NULL DEFAULT 0,
        attempt integer NOT NULL DEFAULT 0,
        fence bigint NOT NULL DEFAULT 0,
        lease_until timestamptz NOT NULL DEFAULT now(),
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        deleted_at timestamptz
    )
    """,
    """
    CREATE UNIQUE INDEX document_content ON document (collection_id, content_hash)
        WHERE deleted_at IS NULL
    """,
    "CREATE INDEX document_listed ON document (collection_id, id)",
    """
    CREATE INDEX document_due ON document (lease_until)
        WHERE state IN ('pending', 'indexing') AND deleted_at IS NULL
    """,
    "CREATE INDEX document_swept ON document (id) WHERE deleted_at IS NOT NULL",
    """
    CREATE TABLE passage (
        document_id uuid NOT NULL REFERENCES document,
        ordinal integer NOT NULL,
        position integer NOT NULL,
        text text NOT NULL,
        words tsvector NOT NULL,
        PRIMARY KEY (document_id, ordinal)
    )
    """,
    # Words and, as one more word, the collection: so an index serves a search in one of many.
    "CREATE INDEX passage_words ON passage USING gin (words)",
    # Which words are common is read from the statistics, which know a hundred by themselves.
    "ALTER TABLE passage ALTER COLUMN words SET STATISTICS 300",
)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="gateway", description=DESCRIPTION)

    async def create() -> None:
        database = engine_finder()
        for statement in STATEMENTS:
            await database.run_ddl(statement)

    manager.add_raw(create)
    return manager
