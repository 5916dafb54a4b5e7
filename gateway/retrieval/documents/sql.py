"""The library's statements; `sql_queue` has those of indexing. Times are the database's, so that
all processes agree on them."""

from __future__ import annotations

from gateway.retrieval.documents.sql_queue import FRONT, NEXT_PLACE

# ---- collections --------------------------------------------------------------------------------

_COLLECTION = """
    c.id, c.owner, c.name, c.embedder, c.dimension, c.index_id, c.created_at,
    (SELECT count(*) FROM document d WHERE d.collection_id = c.id AND d.deleted_at IS NULL)
        AS documents
"""

# $1 id, $2 owner, $3 name, $4 embedder, $5 index. No row if the name is taken.
CREATE = f"""
    INSERT INTO collection AS c (id, owner, name, embedder, index_id) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (owner, name) WHERE deleted_at IS NULL DO NOTHING
    RETURNING {_COLLECTION}
"""

# $1 owner, $2 after this name, $3 how many.
PAGE = f"""
    SELECT {_COLLECTION} FROM collection c
    WHERE c.owner = $1 AND c.name > $2 AND c.deleted_at IS NULL ORDER BY c.name LIMIT $3
"""

# $1 owner, $2 name.
READ = f"""
    SELECT {_COLLECTION} FROM collection c
    WHERE c.owner = $1 AND c.name = $2 AND c.deleted_at IS NULL
"""

# $1 owner, $2 name. The fences keep off who indexes them at this moment.
DELETE = """
    WITH gone AS (
        UPDATE collection SET deleted_at = now()
        WHERE owner = $1 AND name = $2 AND deleted_at IS NULL RETURNING id
    ), stopped AS (
        UPDATE document SET fence = fence + 1 FROM gone WHERE collection_id = gone.id
    )
    SELECT id FROM gone
"""

# $1 owner or null for all, $2 name or null for all, $3 embedder or null for each one's own.
# A new index and, once that is filled, nothing of the old: a search finds the words meanwhile.
REBUILD = f"""
    WITH chosen AS (
        UPDATE collection
        SET stale_indexes = stale_indexes || index_id, index_id = gen_random_uuid(),
            dimension = CASE WHEN $3::text IS NULL OR $3 = embedder THEN dimension END,
            embedder = coalesce($3, embedder)
        WHERE ($1::text IS NULL OR owner = $1) AND ($2::text IS NULL OR name = $2)
          AND deleted_at IS NULL
        RETURNING id, owner, name, embedder
    ), queued AS (
        SELECT d.id, {FRONT} + row_number() OVER (PARTITION BY chosen.owner ORDER BY d.id) AS place
        FROM chosen JOIN document d ON d.collection_id = chosen.id WHERE d.deleted_at IS NULL
    ), begun AS (
        UPDATE document d
        SET state = 'pending', error = NULL, indexed = 0, attempt = 0, fence = fence + 1,
            lease_until = now(), updated_at = now(), place = queued.place
        FROM queued WHERE d.id = queued.id AND d.deleted_at IS NULL
    )
    SELECT id, name, embedder FROM chosen ORDER BY owner, name
"""

# ---- documents ----------------------------------------------------------------------------------

_DOCUMENT = """
    d.id, d.source, d.metadata::text AS metadata, d.kind, d.state, d.error, d.passages, d.indexed,
    d.created_at, d.updated_at
"""

# $1 id, $2 collection, $3 source, $4 metadata, $5 kind, $6 content, $7 its hash. No row if that
# content is there already; what has failed is tried again.
ADD = f"""
    INSERT INTO document AS d
        (id, collection_id, source, metadata, kind, content, content_hash, state, place)
    SELECT $1, c.id, $3, $4, $5, $6, $7, 'pending', {NEXT_PLACE} FROM collection c
    WHERE c.id = $2 AND c.deleted_at IS NULL
    ON CONFLICT (collection_id, content_hash) WHERE deleted_at IS NULL DO UPDATE
    SET state = 'pending', error = NULL, source = $3, metadata = $4, attempt = 0, indexed = 0,
        fence = d.fence + 1, lease_until = now(), updated_at = now(), place = excluded.place
    WHERE d.state = 'failed'
    RETURNING {_DOCUMENT}
"""

# $1 collection, $2 content hash.
KNOWN = f"""
    SELECT {_DOCUMENT} FROM document d
    WHERE d.collection_id = $1 AND d.content_hash = $2 AND d.deleted_at IS NULL
"""

# $1 collection, $2 document.
DOCUMENT = f"""
    SELECT {_DOCUMENT} FROM document d
    WHERE d.collection_id = $1 AND d.id = $2 AND d.deleted_at IS NULL
"""

# $1 collection, $2 after this id or null, $3 how many, $4 state or null for all.
DOCUMENTS = f"""
    SELECT {_DOCUMENT} FROM document d
    WHERE d.collection_id = $1 AND ($2::uuid IS NULL OR d.id > $2)
      AND ($4::text IS NULL OR d.state = $4) AND d.deleted_at IS NULL
    ORDER BY d.id LIMIT $3
"""

# $1 documents, $2 the key of each one's reader, $3 the mark of what each was told, or ''. A row for
# what was written since, for what is deleted, and for who may not see it. A mark is the number of
# the transaction that wrote the row as it stands.
WATCHED = f"""
    SELECT r.document_id AS asked, r.key_id, k.id IS NOT NULL AS allowed,
           d.id IS NULL OR d.deleted_at IS NOT NULL OR c.deleted_at IS NOT NULL AS deleted,
           d.xmin::text AS mark, d.fence, {_DOCUMENT}
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS r(document_id, key_id, mark)
    LEFT JOIN document d ON d.id = r.document_id
    LEFT JOIN collection c ON c.id = d.collection_id
    LEFT JOIN api_key k ON k.id = r.key_id AND k.revoked_at IS NULL
        AND 'retrieval' = ANY(k.scopes) AND (c.id IS NULL OR k."user" = c.owner)
    WHERE k.id IS NULL OR d.id IS NULL OR d.deleted_at IS NOT NULL OR c.deleted_at IS NOT NULL
       OR d.xmin::text <> r.mark
"""

# $1 collection, $2 document.
REMOVE = """
    UPDATE document SET deleted_at = now(), fence = fence + 1
    WHERE collection_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING id
"""

# $1 collections, $2 documents in them or null for all. How far they are together.
PROGRESS = """
    SELECT count(*) AS documents,
           count(*) FILTER (WHERE state = 'ready') AS ready,
           count(*) FILTER (WHERE state = 'failed') AS failed
    FROM document
    WHERE collection_id = ANY($1::uuid[]) AND ($2::uuid[] IS NULL OR id = ANY($2))
      AND deleted_at IS NULL
"""

# $1 collections, $2 how many, $3 documents in them or null for all.
FAILED = """
    SELECT source, error FROM document
    WHERE collection_id = ANY($1::uuid[]) AND ($3::uuid[] IS NULL OR id = ANY($3))
      AND state = 'failed' AND deleted_at IS NULL
    ORDER BY id LIMIT $2
"""

# ---- sweeping -----------------------------------------------------------------------------------

DELETED_DOCUMENTS = """
    SELECT d.id, c.index_id FROM document d JOIN collection c ON c.id = d.collection_id
    WHERE d.deleted_at IS NOT NULL AND c.deleted_at IS NULL ORDER BY d.id LIMIT 50
"""

# Deleted ones, and those with an index that is no longer theirs.
DELETED_INDEXES = """
    SELECT id, stale_indexes, index_id, deleted_at IS NOT NULL AS deleted FROM collection
    WHERE deleted_at IS NOT NULL OR stale_indexes <> '{}' ORDER BY id LIMIT 50
"""

# $1 documents.
FORGET_PASSAGES = "DELETE FROM passage WHERE document_id = ANY($1::uuid[])"
FORGET_DOCUMENTS = "DELETE FROM document WHERE id = ANY($1::uuid[])"

# $1 collection, $2 how many.
ITS_DOCUMENTS = "SELECT id FROM document WHERE collection_id = $1 LIMIT $2"

# $1 collection.
FORGET_COLLECTION = "DELETE FROM collection WHERE id = $1 AND deleted_at IS NOT NULL"

# $1 collection, $2 index.
FORGET_INDEX = """
    UPDATE collection SET stale_indexes = array_remove(stale_indexes, $2) WHERE id = $1
"""

# ---- search -------------------------------------------------------------------------------------

# $1 owner, $2 names.
NAMED = """
    SELECT id, name, embedder, dimension, index_id FROM collection
    WHERE owner = $1 AND name = ANY($2::text[]) AND deleted_at IS NULL
"""

# $1 collections, $2 the question, $3 how many, $4 filter or null. Passages with at least half of
# what the question says in words, where a word says the more the rarer it is: measured on the
# labelled set of the tests, less than half only pushes better passages down. How rare a word is,
# the statistics tell. What would bring more than some 1,000 passages is counted where it stands,
# but not looked for unless there is no other. `flat` unpacks a passage's words once, not once for
# each that is asked.
WORDS = r"""
    WITH known AS (
        SELECT one.lexeme, one.share
        FROM pg_stats, unnest(most_common_elems::text::text[], most_common_elem_freqs)
            AS one(lexeme, share)
        WHERE schemaname = current_schema() AND tablename = 'passage' AND attname = 'words'
    ), asked AS (
        SELECT ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery AS word,
               coalesce(share, 0) AS share, -ln(greatest(share, 0.0001)) AS weight
        FROM unnest(to_tsvector('english', $2)) LEFT JOIN known USING (lexeme)
        ORDER BY 2, length(lexeme) DESC LIMIT 16
    ), rare AS (
        SELECT word, sum(share) OVER (ORDER BY share, word) AS together,
               row_number() OVER (ORDER BY share, word) AS place
        FROM asked
    ), wanted AS (
        SELECT ('(' || string_agg(word::text, ' | ') || ') & (' || (
            SELECT string_agg('''collection:' || id || '''', ' | ') FROM unnest($1::uuid[]) id
        ) || ')')::tsquery AS query
        FROM rare
        WHERE place = 1 OR together * (
            SELECT reltuples FROM pg_class WHERE oid = 'passage'::regclass
        ) < 1000
    ), scored AS (
        SELECT p.document_id, p.ordinal,
               (SELECT sum(weight) FROM asked WHERE flat.words @@ word) AS weight
        FROM wanted
        JOIN passage p ON p.words @@ wanted.query
        JOIN document d ON d.id = p.document_id,
            LATERAL (SELECT p.words || ''::tsvector AS words OFFSET 0) flat
        WHERE d.deleted_at IS NULL AND ($4::jsonpath IS NULL OR jsonb_path_match(d.metadata, $4))
    )
    SELECT document_id, ordinal FROM scored
    WHERE weight >= (SELECT sum(weight) FROM asked) / 2
    ORDER BY weight DESC, document_id, ordinal LIMIT $3
"""

# $1 documents, $2 ordinals, $3 collections, $4 filter or null. What is still there, in order.
PASSAGES = """
    SELECT p.document_id, p.ordinal, p.position, p.text, d.source, d.metadata::text AS metadata
    FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS found(document_id, ordinal, place)
    JOIN passage p USING (document_id, ordinal)
    JOIN document d ON d.id = p.document_id
    WHERE d.collection_id = ANY($3::uuid[]) AND d.deleted_at IS NULL
      AND ($4::jsonpath IS NULL OR jsonb_path_match(d.metadata, $4))
    ORDER BY found.place
"""

# $1 collection.
HAS_PASSAGES = """
    SELECT EXISTS (
        SELECT FROM document WHERE collection_id = $1 AND state = 'ready' AND deleted_at IS NULL
    ) AS yes
"""
