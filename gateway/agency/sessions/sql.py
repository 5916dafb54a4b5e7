"""The statements of sessions. Index: turn_session (`m0006_sessions.py`).

A session is a turn whose responder is an agent. A turn of an agency that is driven by hand is one,
too, of its manager: its steps must be answered somewhere.
"""

from gateway.agency.ledger.sql_read import CHAIN
from gateway.conversation.raising import RAISE
from gateway.conversation.sql import ANSWERS
from gateway.conversation.turn_states import RUNNING, WAITING

SESSION = f"""
    SELECT t.id, t.conversation_id AS kept_in, t.state, t.awaited, t.error, t.created_at,
           t.updated_at, i.content AS answer,
           CASE c.owner_type WHEN 'session' THEN c.parent_id ELSE c.id END AS conversation_id,
           {ANSWERS} AS answers
    FROM turn t
    JOIN conversation c ON c.id = t.conversation_id AND c.deleted_at IS NULL
    JOIN interaction i ON i.id = t.reply_interaction_id
"""

# $1 turn, $2 the agent's names as a responder.
ONE = f"{SESSION} WHERE t.id = $1 AND t.responder = ANY($2::text[])"

# $1 the agent as a responder, $2 its agency if it is the manager, $3 the last id of the page
# before, $4 rows, $5 states of a turn or null, $6 whether the library is asked, or null. Of the
# agency's turns, those that wait.
PAGE = f"""
    {SESSION} WHERE t.id IN (
        (SELECT id FROM turn
         WHERE responder = $1 AND responder LIKE 'agent/%' AND id > $3
           AND ($5::text[] IS NULL OR state = ANY($5))
           AND ($6::bool IS NULL OR (awaited->>'asked' = '-1') = $6)
         ORDER BY id LIMIT $4)
        UNION ALL
        (SELECT id FROM turn
         WHERE responder = $2 AND state = {WAITING} AND id > $3
           AND ($5::text[] IS NULL OR state = ANY($5))
           AND ($6::bool IS NULL OR (awaited->>'asked' = '-1') = $6)
         ORDER BY id LIMIT $4)
    )
    ORDER BY t.id LIMIT $4
"""

# $1 turn, $2 the agent's names as a responder. Its conversation.
LOCK = """
    SELECT c.id FROM conversation c JOIN turn t ON t.conversation_id = c.id
    WHERE t.id = $1 AND t.responder = ANY($2::text[]) AND c.deleted_at IS NULL
    FOR NO KEY UPDATE OF c
"""

# $1 conversation, locked, $2 turn, which waits, $3 what it waits for after this, or null: then it
# goes on. $4 seconds that a session waits. $5 to $11 messages.
ANSWER = f"""
    WITH c AS (
        {RAISE}, updated_at = now() WHERE id = $1
        RETURNING version, owner_type
    ), t AS (
        UPDATE turn SET version = c.version, updated_at = now(), fence = fence + 1,
               awaited = $3::jsonb,
               state = CASE WHEN $3::jsonb IS NULL THEN {RUNNING} ELSE {WAITING} END,
               lease_until = CASE WHEN $3::jsonb IS NULL THEN now()
                                  WHEN c.owner_type = 'session'
                                  THEN now() + make_interval(secs => $4) END
        FROM c WHERE turn.id = $2
    ), m AS (
        INSERT INTO message (id, conversation_id, turn_id, linked_message_id, agent_id, role,
                             from_id, to_id, text, ordinal, version)
        SELECT n.id, $1, $2, n.linked, n.agent_id, n.role, n.from_id, n.to_id, n.text, n.ordinal,
               c.version
        FROM c, unnest($5::uuid[], $6::uuid[], $7::bigint[], $8::text[], $9::bigint[],
                       $10::bigint[], $11::text[]) WITH ORDINALITY
             AS n (id, linked, agent_id, role, from_id, to_id, text, ordinal)
    )
    SELECT version FROM c
"""

# $1 conversation, $2 after its last ordinal, $3 rows, $4 its owner. What a session is begun from,
# newest first: all that is shown and complete. No row unless it is the owner's; an empty one if
# nothing was said.
SOURCE = f"""
    SELECT said.* FROM conversation c LEFT JOIN LATERAL (
        SELECT chain.* FROM ({CHAIN}) chain
        JOIN interaction i ON i.conversation_id = $1 AND i.ordinal = chain.version
        WHERE i.completed_at IS NOT NULL
    ) said ON true
    WHERE c.id = $1 AND c.deleted_at IS NULL AND c.owner_type = 'user' AND c.owner_identifier = $4
    ORDER BY said.version DESC
"""


def inbox(columns: str) -> str:
    """Of the turns that wait: those of the agencies of the user $1, or if $2 of all."""
    return f"""
    SELECT {columns}
    FROM agency a
    CROSS JOIN LATERAL (
        SELECT 'agency/' || a.id AS name, a.manager_id AS agent_id
        UNION ALL
        SELECT 'agent/' || g.id, g.id FROM agent g WHERE g.agency_id = a.id AND g.deleted_at IS NULL
    ) r
    JOIN turn t ON t.responder = r.name AND t.state = {WAITING} AND t.awaited IS NOT NULL
    JOIN conversation c ON c.id = t.conversation_id AND c.deleted_at IS NULL
    WHERE a.deleted_at IS NULL AND ($2 OR a.owner = $1)
    """


_WAITING = f"""
    SELECT s.*, w.agent_id, w.agency_id, w.updated_at AS waiting_since, o.lease_until AS expires_at,
           p.title
    FROM waits w
    JOIN LATERAL ({SESSION} WHERE t.id = w.id) s ON true
    JOIN turn o ON o.id = w.id
    LEFT JOIN conversation p ON p.id = s.conversation_id AND p.deleted_at IS NULL
    ORDER BY w.updated_at, w.id
"""

# $1 user, $2 whether they answer for all, $3 and $4 the last time and id of the page before, $5
# rows. What waits for the longest time comes first.
INBOX = f"""
    WITH waits AS MATERIALIZED ({inbox("t.id, t.updated_at, r.agent_id, a.id AS agency_id")}
          AND (t.updated_at, t.id) > ($3, $4)
        ORDER BY t.updated_at, t.id LIMIT $5
    )
    {_WAITING}
"""

# $1 user, $2 whether they answer for all, $3 a turn. It, if it waits for them.
INBOX_ONE = f"""
    WITH waits AS MATERIALIZED ({inbox("t.id, t.updated_at, r.agent_id, a.id AS agency_id")}
          AND t.id = $3
    )
    {_WAITING}
"""

COUNT = inbox("count(*) AS waiting")

# $1 user, $2 whether they answer for all. How much waits, and what began to wait last.
NEWEST = f"""
    SELECT count(*) AS waiting, (array_agg(id ORDER BY updated_at DESC, id DESC))[1] AS newest
    FROM ({inbox("t.id, t.updated_at")}) w
"""
