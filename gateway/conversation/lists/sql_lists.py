"""The statements of lists of conversations.

Words are looked for in what the caller may read, the newest message first, without an index of
them: that would cost each message that anybody says more than it saves those who search.
"""

from __future__ import annotations

from functools import cache

from gateway.conversation.rooms.sql_access import answers, may_read
from gateway.conversation.rooms.sql_participants import IMPLIED, PARTICIPANT
from gateway.conversation.sql import CONVERSATION
from gateway.conversation.turn_states import FAILED, QUEUED, RUNNING, WAITING

# $1 user, $2 whether they read everything, $3 words that are looked for or null, $4 and $5 whether
# in titles and in what was said, $6 an agency or null, $7 and $8 kind and name of a participant or
# null, $9 states or null, $10 and $11 time and id of the last of the page before, $12 rows, $13
# what every message with the words contains.

EXCERPT = 200
"""Characters of a message that a list shows."""

# Of an interaction `i`: the words by which it is found. A vector of words has a largest size.
WORDS = "to_tsvector('simple', left(i.content, 100000))"

# What somebody looks for, as a query: words, "phrases", -without. The last word may be its
# beginning. Null if there is no word in it.
_QUERY = """
    SELECT (q || CASE WHEN q LIKE '%''' THEN ':*' ELSE '' END)::tsquery
    FROM nullif(websearch_to_tsquery('simple', $3)::text, '') q
"""

# Of an interaction `i`: it is shown, and has the words. To look for their letters first is quick.
_SOUGHT = f"""
    i.completed_at IS NOT NULL AND i.deleted_at IS NULL AND NOT i.silent
    AND lower(i.content) LIKE ALL (ARRAY(SELECT '%' || lower(n) || '%' FROM unnest($13::text[]) n))
    AND {WORDS} @@ ({_QUERY})
"""

_OPEN = f"({QUEUED}, {RUNNING})"
_ENTRY = f"""
    ({CONVERSATION} || jsonb_build_object(
        'root_id', 'conv_' || replace(c.root_id::text, '-', ''),
        'participants', (
            SELECT coalesce(jsonb_agg({PARTICIPANT} ORDER BY p.ordinal), '[]') FROM (
                SELECT conversation_id, kind, identifier, ordinal, status, drive, invited_at,
                       joined_at, left_at, version
                FROM participant WHERE conversation_id = c.id AND left_at IS NULL
                UNION ALL {IMPLIED} ORDER BY ordinal LIMIT 6
            ) p),
        'last_message', (
            SELECT jsonb_build_object(
                'id', 'int_' || replace(i.id::text, '-', ''),
                'owner', jsonb_build_object(
                    'type', i.owner_type, 'identifier', i.owner_identifier),
                'excerpt', left(i.content, {EXCERPT}), 'created_at', i.created_at)
            FROM interaction i
            WHERE i.conversation_id = c.id AND i.deleted_at IS NULL AND NOT i.silent
            ORDER BY i.ordinal DESC LIMIT 1),
        'messages', (
            SELECT count(*) FROM interaction i
            WHERE i.conversation_id = c.id AND i.deleted_at IS NULL AND NOT i.silent),
        'branches', (
            SELECT count(*) FROM conversation b
            WHERE b.root_id = c.root_id AND b.id <> b.root_id AND b.deleted_at IS NULL)
    ) || (
        SELECT jsonb_build_object(
            {RUNNING}, count(*) FILTER (WHERE t.state IN {_OPEN}),
            {WAITING}, count(*) FILTER (WHERE t.state = {WAITING}),
            {FAILED}, count(*) FILTER (WHERE t.state = {FAILED}))
        FROM turn t WHERE t.conversation_id = c.id))
"""
# Of a conversation `c`, in which `h` is the newest message with the words: that message.
_FOUND = f"""
    CASE WHEN h.id IS NOT NULL THEN jsonb_build_object(
        'message_id', 'int_' || replace(h.id::text, '-', ''),
        'excerpt', left(ts_headline('simple', left(h.content, 100000), ({_QUERY}),
            'MaxWords=30, MinWords=15, StartSel="", StopSel=""'), {EXCERPT}),
        'created_at', h.created_at) END
"""

# Of a conversation `c`: whether it is one of those that are asked for.
_FILTERS = f"""
    c.deleted_at IS NULL AND c.owner_type = 'user'
    AND ($6::bigint IS NULL OR {answers("$6", "c")})
    AND ($7::text IS NULL OR EXISTS (
            SELECT FROM participant p
            WHERE p.conversation_id = c.id AND p.kind = $7 AND p.identifier = $8
              AND p.left_at IS NULL)
        OR EXISTS (SELECT FROM ({IMPLIED}) p WHERE p.kind = $7 AND p.identifier = $8))
    AND ($9::text[] IS NULL OR EXISTS (
            SELECT FROM turn t WHERE t.conversation_id = c.id AND t.state = ANY($9)))
"""
_MINE = "SELECT c.* FROM conversation c WHERE c.owner_type = 'user' AND c.owner_identifier = $1"
_SHARED = """
    SELECT c.* FROM participant p JOIN conversation c ON c.id = p.conversation_id
    WHERE p.kind = 'user' AND p.identifier = $1 AND p.joined_at IS NOT NULL AND p.left_at IS NULL
      AND NOT (c.owner_type = 'user' AND c.owner_identifier = $1)
"""
_ALL = f"SELECT c.* FROM conversation c WHERE {may_read('c', '$1', '$2')}"

SOURCES = {"mine": (_MINE,), "shared": (_SHARED,), "own": (_MINE, _SHARED), "all": (_ALL,)}
"""By whose they are: one's own, those one has joined, both, or all that one may read."""
ORDERS = {
    # Ids are made in the order of time.
    "created": ("c.created_at", "c.id < $11 AND $10::timestamptz IS NOT NULL", "c.id DESC"),
    "updated": (
        "c.updated_at",
        "(c.updated_at, c.id) < ($10, $11)",
        "c.updated_at DESC, c.id DESC",
    ),
}
"""The time that is told, what comes after the page before, and how a page is put in order."""


# $1 user, $2 conversations. Those of them that are in the user's own list, as it shows them.
SOME = f"""
    SELECT c.id, ({_ENTRY} || jsonb_build_object('match', NULL))::text AS body
    FROM (SELECT * FROM ({_MINE}) o UNION ALL SELECT * FROM ({_SHARED}) s) c
    WHERE c.id = ANY($2::uuid[]) AND c.deleted_at IS NULL AND c.owner_type = 'user'
    ORDER BY c.updated_at, c.id
"""

# $1 user, $2 rows. The latest of the user's own list.
LATEST = f"""
    SELECT c.id, c.version FROM (SELECT * FROM ({_MINE}) o UNION ALL SELECT * FROM ({_SHARED}) s) c
    WHERE c.deleted_at IS NULL AND c.owner_type = 'user'
    ORDER BY c.updated_at DESC, c.id DESC LIMIT $2
"""


@cache
def listed(whose: str, order: str, *, searched: bool) -> str:
    """Returns the statement of a list, newest first: (id, time, body as JSON).

    Without words to look for each source gives a page at most, by its index."""
    at, place, by = ORDERS[order]
    newest = f"ORDER BY {by} LIMIT $12"
    if searched:
        among = " UNION ALL ".join(SOURCES[whose])
        return f"""
            WITH readable AS MATERIALIZED (
                SELECT c.* FROM ({among}) c WHERE $2::bool IS NOT NULL AND {_FILTERS}
            ), hits AS MATERIALIZED (
                SELECT i.* FROM readable r CROSS JOIN LATERAL (
                    SELECT * FROM interaction i
                    WHERE $5 AND i.conversation_id = r.id AND {_SOUGHT}
                    ORDER BY i.ordinal DESC LIMIT 1
                ) i
            ), c AS (
                SELECT c.*, {at} AS at FROM readable c LEFT JOIN hits h ON h.conversation_id = c.id
                WHERE {place} AND (h.id IS NOT NULL
                                   OR ($4 AND strpos(lower(c.title), lower($3)) > 0))
                {newest}
            )
            SELECT c.id, c.at, ({_ENTRY} || jsonb_build_object('match', {_FOUND}))::text AS body
            FROM c LEFT JOIN hits h ON h.conversation_id = c.id
            ORDER BY {by}
        """
    among = " UNION ALL ".join(
        f"(SELECT * FROM ({source}) c WHERE {_FILTERS} AND {place} {newest})"
        for source in SOURCES[whose]
    )
    # The parameters of a search are named, so that both kinds take the same.
    return f"""
        WITH c AS (
            SELECT c.*, {at} AS at FROM ({among}) c
            WHERE $2::bool IS NOT NULL AND $3::text IS NULL AND $4::bool IS NOT NULL
              AND $5::bool IS NOT NULL AND $13::text[] IS NOT NULL
            {newest}
        )
        SELECT c.id, c.at, ({_ENTRY} || jsonb_build_object('match', NULL))::text AS body
        FROM c ORDER BY {by}
    """
