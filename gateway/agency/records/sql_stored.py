"""The statements of stored completions. A completion is a completed turn that its caller asked for
at the chat door (a turn copied by a fork has no request hash) and did not want to be forgotten."""

from gateway.agency.intake.sql_accept import copied
from gateway.conversation.raising import RAISE
from gateway.conversation.turn_states import COMPLETED

_COLUMNS = """t.id, t.conversation_id, t.created_at, t.request, t.metadata, t.prompt_tokens,
           t.completion_tokens, t.finish_reason, i.content, i.outdated"""
# $1 caller, $2 responder or null for all.
_STORED = f"""
    t.principal = $1 AND ($2::text IS NULL OR t.responder = $2) AND t.state = {COMPLETED}
    AND t.request_hash IS NOT NULL AND coalesce((t.request->>'store')::boolean, true)
    AND i.id = t.reply_interaction_id AND i.deleted_at IS NULL
    AND c.id = t.conversation_id AND c.deleted_at IS NULL
"""

# $3 the last id of the page before, $4 rows, $5 model or null, $6 metadata or null. The index
# turn_of_caller is ordered by id for one responder at a time, so all are read side by side.
_PAGE = f"""
    WITH RECURSIVE asked AS (
        SELECT min(responder) AS responder FROM turn WHERE principal = $1
        UNION ALL
        SELECT (SELECT min(responder) FROM turn
                WHERE principal = $1 AND responder > asked.responder)
        FROM asked WHERE asked.responder IS NOT NULL
    )
    SELECT page.* FROM asked CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM turn t, interaction i, conversation c
        WHERE {_STORED} AND t.responder = asked.responder AND t.id {{beyond}} $3
          AND coalesce(t.request->>'model' = $5::text, $5 IS NULL)
          AND coalesce(t.metadata @> $6::jsonb, $6 IS NULL)
        ORDER BY t.id {{order}} LIMIT $4
    ) page
    WHERE $2::text IS NULL OR asked.responder = $2
    ORDER BY page.id {{order}} LIMIT $4
"""
OLDEST_FIRST = _PAGE.format(beyond=">", order="ASC")
NEWEST_FIRST = _PAGE.format(beyond="<", order="DESC")

# $3 completion.
ONE = f"""
    SELECT {_COLUMNS} FROM turn t, interaction i, conversation c WHERE {_STORED} AND t.id = $3
"""

# $3 completion, $4 its metadata.
UPDATE = f"""
    UPDATE turn t SET metadata = $4::jsonb, updated_at = now() FROM interaction i, conversation c
    WHERE {_STORED} AND t.id = $3 RETURNING {_COLUMNS}
"""

# $3 completion, $4 the last ordinal of the page before, $5 rows. What led to the answer: the
# client's system message, as number 0, and the public messages up to the input. A message belongs
# to the next turn after it; what belongs to one that failed was never part of the history. No row
# if there is no such completion, one empty row if there is nothing more to show.
_MESSAGES = f"""
    SELECT page.* FROM (
        SELECT t.* FROM turn t, interaction i, conversation c WHERE {_STORED} AND t.id = $3
    ) t LEFT JOIN LATERAL (
        SELECT 0::bigint AS ordinal, 'system' AS role, s.text AS content, NULL::jsonb AS parts
        FROM message s WHERE s.id = t.system_message_id AND 0 {{beyond}} $4::bigint
        UNION ALL (
            SELECT n.ordinal, CASE n.owner_type WHEN 'user' THEN 'user' ELSE 'assistant' END,
                   n.content, n.parts
            FROM interaction n
            WHERE n.conversation_id = t.conversation_id AND n.ordinal < t.seq
              AND n.ordinal {{beyond}} $4::bigint AND n.deleted_at IS NULL
              AND {COMPLETED} = (
                  SELECT o.state FROM turn o
                  WHERE o.conversation_id = t.conversation_id AND o.seq >= n.ordinal
                  ORDER BY o.seq LIMIT 1)
            ORDER BY n.ordinal {{order}} LIMIT $5
        )
    ) page ON true
    ORDER BY page.ordinal {{order}} LIMIT $5
"""
MESSAGES_OLDEST_FIRST = _MESSAGES.format(beyond=">", order="ASC")
MESSAGES_NEWEST_FIRST = _MESSAGES.format(beyond="<", order="DESC")

# $3 completion. Its turn and the copies that forks made of it, their conversations locked in the
# order of ids. How the ids of copies are made stands in `sql_accept`.
LOCK = f"""
    WITH RECURSIVE copies AS (
        SELECT t.id, t.conversation_id
        FROM turn t, interaction i, conversation c WHERE {_STORED} AND t.id = $3
        UNION ALL
        SELECT {copied("copies.id", "f.id")}, f.id
        FROM copies JOIN conversation f ON f.parent_id = copies.conversation_id
        WHERE f.owner_type = 'user' AND f.owner_identifier = $1
    )
    SELECT t.id FROM copies
    JOIN turn t ON t.id = copies.id
    JOIN conversation c ON c.id = t.conversation_id
    ORDER BY c.id FOR NO KEY UPDATE OF c
"""

# $1 the turns that LOCK gave, $2 the completion. Input and reply are stamped as deleted; no history
# that holds them is recognised any more, nor is the request when it comes again. No row if somebody
# else was faster.
DELETE = f"""
    WITH raised AS (
        {RAISE}, updated_at = now()
        WHERE id IN (SELECT conversation_id FROM turn WHERE id = ANY($1::uuid[]))
          AND EXISTS (SELECT FROM turn WHERE id = $2 AND request_hash IS NOT NULL)
        RETURNING id, version
    ), gone AS (
        SELECT t.id, t.conversation_id, t.seq, t.input_interaction_id, t.reply_interaction_id,
               raised.version
        FROM turn t JOIN raised ON raised.id = t.conversation_id
        WHERE t.id = ANY($1::uuid[])
    ), said AS (
        SELECT input_interaction_id AS id, version FROM gone
        UNION
        SELECT reply_interaction_id, version FROM gone
        UNION
        SELECT m.interaction_id, gone.version FROM message m JOIN gone ON gone.id = m.turn_id
    ), i AS (
        UPDATE interaction SET deleted_at = now(), updated_at = now(), version = said.version
        FROM said WHERE interaction.id = said.id AND interaction.deleted_at IS NULL
    ), t AS (
        UPDATE turn SET history_hash = NULL, updated_at = now(),
               request_hash = CASE WHEN turn.id <> $2 THEN turn.request_hash END
        FROM gone WHERE turn.conversation_id = gone.conversation_id AND turn.seq >= gone.seq
    )
    SELECT id FROM gone WHERE id = $2
"""
