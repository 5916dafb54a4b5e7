"""The queue of documents: who is indexed next, and what whoever indexes it writes."""

from __future__ import annotations

# ---- places -------------------------------------------------------------------------------------

# Owners take turns: a document stands one place behind the last of its owner's that wait, and one
# behind the front, which is the place that is indexed at this moment. So whoever has one waits for
# one or two of each other owner's, however many these have; and as a place is worked off from the
# oldest on, newcomers keep nobody waiting who was there before. It is start-time fair queueing in
# which each document costs the same. Source: Goyal, Vin and Cheng, SIGCOMM 1996.
_WAITS = "state IN ('pending', 'indexing') AND deleted_at IS NULL"
FRONT = f"""
    coalesce(
        (SELECT max(place) FROM document WHERE state = 'indexing' AND deleted_at IS NULL),
        (SELECT min(place) FROM document WHERE {_WAITS}), 0
    )
"""
# For the owner of the collection `c`.
NEXT_PLACE = f"""
    1 + greatest({FRONT}, (
        SELECT max(waiting.place) FROM collection o, LATERAL (
            SELECT max(place) AS place FROM document WHERE collection_id = o.id AND {_WAITS}
        ) waiting
        WHERE o.owner = c.owner AND o.deleted_at IS NULL
    ))
"""

# $1 collection. Chroma has lost its index.
BEGIN_AGAIN = f"""
    WITH queued AS (
        SELECT id, {FRONT} + row_number() OVER (ORDER BY id) AS place FROM document
        WHERE collection_id = $1 AND state = 'ready' AND deleted_at IS NULL
    )
    UPDATE document d
    SET state = 'pending', indexed = 0, attempt = 0, fence = fence + 1, lease_until = now(),
        place = queued.place
    FROM queued WHERE d.id = queued.id AND d.state = 'ready' AND d.deleted_at IS NULL
"""

# ---- indexing -----------------------------------------------------------------------------------

# $1 embedders that are here, $2 lease in seconds. The first of the queue; at the same place, who
# has waited longest.
CLAIM = """
    UPDATE document d
    SET state = 'indexing', fence = d.fence + 1, attempt = d.attempt + 1, updated_at = now(),
        lease_until = now() + $2 * interval '1 second'
    FROM collection c
    WHERE c.id = d.collection_id AND d.id = (
        SELECT due.id FROM document due JOIN collection its ON its.id = due.collection_id
        WHERE due.state IN ('pending', 'indexing') AND due.deleted_at IS NULL
          AND due.lease_until <= now() AND its.deleted_at IS NULL AND its.embedder = ANY($1)
        ORDER BY due.place, due.lease_until LIMIT 1 FOR UPDATE OF due SKIP LOCKED
    )
    RETURNING d.id, d.fence, d.attempt, d.kind, d.content, d.metadata::text AS metadata,
              c.id AS collection_id, c.index_id, c.embedder
"""

# What may be written is what nobody has taken over, deleted or begun anew meanwhile.
_MINE = "d.id = $1 AND d.fence = $2 AND d.state = 'indexing' AND d.deleted_at IS NULL"

# $1 document, $2 fence, $3 its passages, $4 the length of a vector. `dimension` is the
# collection's, which the first document of all decides.
BEGIN = f"""
    WITH mine AS (
        UPDATE document d SET passages = $3, indexed = 0 WHERE {_MINE} RETURNING collection_id
    )
    UPDATE collection SET dimension = coalesce(dimension, $4) FROM mine
    WHERE id = mine.collection_id AND deleted_at IS NULL
    RETURNING dimension
"""

# $1 document, $2 fence, $3 lease in seconds, $4 ordinals, $5 positions, $6 texts. No row if it
# is not ours any more.
ADVANCE = f"""
    WITH mine AS (
        UPDATE document d
        SET indexed = d.indexed + cardinality($4::int[]), updated_at = now(),
            lease_until = now() + $3 * interval '1 second'
        WHERE {_MINE} RETURNING d.id, d.collection_id
    ), put AS (
        INSERT INTO passage (document_id, ordinal, position, text, words)
        SELECT mine.id, new.ordinal, new.position, new.text,
               strip(to_tsvector('english', new.text))
                   || array_to_tsvector(ARRAY['collection:' || mine.collection_id])
        FROM mine, unnest($4::int[], $5::int[], $6::text[]) AS new(ordinal, position, text)
        ON CONFLICT (document_id, ordinal) DO UPDATE
        SET position = excluded.position, text = excluded.text, words = excluded.words
    )
    SELECT id FROM mine
"""

# $1 document, $2 fence.
FINISH = f"""
    WITH mine AS (
        UPDATE document d SET state = 'ready', error = NULL, updated_at = now()
        WHERE {_MINE} RETURNING d.id, d.passages
    ), cut AS (
        DELETE FROM passage USING mine WHERE document_id = mine.id AND ordinal >= mine.passages
    )
    SELECT id FROM mine
"""

# $1 document, $2 fence, $3 why.
FAIL = f"""
    WITH mine AS (
        UPDATE document d
        SET state = 'failed', error = $3, passages = 0, indexed = 0, updated_at = now()
        WHERE {_MINE} RETURNING d.id
    ), cut AS (
        DELETE FROM passage USING mine WHERE document_id = mine.id
    )
    SELECT id FROM mine
"""

# $1 document, $2 fence, $3 not before so many seconds, $4 attempts that don't count.
PUT_BACK = f"""
    UPDATE document d
    SET state = 'pending', attempt = d.attempt - $4, lease_until = now() + $3 * interval '1 second'
    WHERE {_MINE}
"""

# $1 collection. A row if a document of another owner waits, or is under way.
OTHERS = """
    SELECT FROM document d JOIN collection o ON o.id = d.collection_id
    WHERE d.state IN ('pending', 'indexing') AND d.deleted_at IS NULL AND o.deleted_at IS NULL
      AND o.owner <> (SELECT owner FROM collection WHERE id = $1)
    LIMIT 1
"""

# $1 documents, $2 their fences, $3 lease in seconds.
RENEW = """
    UPDATE document d SET lease_until = now() + $3 * interval '1 second'
    FROM unnest($1::uuid[], $2::bigint[]) AS held(id, fence)
    WHERE d.id = held.id AND d.fence = held.fence AND d.state = 'indexing'
"""

# $1 document, $2 index. What became of a document that was taken from who indexed it:
# whether its index is still wanted, and whether it itself is.
FATE = """
    SELECT EXISTS (SELECT FROM collection WHERE index_id = $2 AND deleted_at IS NULL) AS indexed,
           EXISTS (SELECT FROM document WHERE id = $1 AND deleted_at IS NULL
                   AND state <> 'failed') AS wanted
"""
