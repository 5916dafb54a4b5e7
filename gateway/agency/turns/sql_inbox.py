"""The statements of conversations that are named: what is said to one waits there for its turn.

They run in one transaction that begins with LOCK, so that each sees what the others have written.
"""

from gateway.agency.turns.sql_accept import BELIEVED

# $1 conversation. `system` is the client's system message in force.
LOCK = """
    SELECT c.owner_type, c.owner_identifier, t.system_message_id, s.text AS system
    FROM conversation c
    LEFT JOIN LATERAL (
        SELECT * FROM turn
        WHERE conversation_id = c.id AND NOT (attended AND state IN ('failed', 'cancelled'))
        ORDER BY seq DESC LIMIT 1
    ) t ON true
    LEFT JOIN message s ON s.id = t.system_message_id
    WHERE c.id = $1 AND c.deleted_at IS NULL
    FOR NO KEY UPDATE OF c
"""

# $1 request hash, $2 to $4 what is believed. A suspended turn of the same request must be taken up
# instead.
STANDS = f"""
    SELECT WHERE EXISTS ({BELIEVED.replace("$3", "$2").replace("$4", "$3").replace("$5", "$4")})
      AND NOT EXISTS (SELECT FROM turn WHERE request_hash = $1 AND state = 'suspended')
"""  # noqa: S608

# $1 conversation, $2 to $7 its new interactions, the reply last, $8 files and $9 skill sets of the
# message before it, $10 the model that replies. $11 turn, $12 whether its client waits for it,
# $13 node, $14 request hash, $15 request, $16 metadata, $17 caller, $18 key. $19 the client's
# system message or null, $20 its text or null if it is there, $21 the agent that it is for.
QUEUE = """
    WITH c AS (
        UPDATE conversation SET version = version + 1, updated_at = now(),
               length = length + cardinality($2::uuid[])
        WHERE id = $1
        RETURNING id, version, length - cardinality($2::uuid[]) AS base
    ), i AS (
        INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier,
                                 content, parts, file_ids, skill_set_ids, provider_id, model_id,
                                 completed_at, version)
        SELECT n.id, c.id, c.base + n.ordinal, n.owner_type, n.owner_identifier, n.content,
               n.parts::jsonb,
               CASE WHEN n.ordinal = cardinality($2::uuid[]) - 1 THEN $8::uuid[] END,
               CASE WHEN n.ordinal >= cardinality($2::uuid[]) - 1 THEN $9::uuid[] END,
               'open_ai', $10, CASE WHEN n.completed THEN now() END, c.version
        FROM c, unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bool[])
             WITH ORDINALITY
             AS n (id, owner_type, owner_identifier, content, parts, completed, ordinal)
    ), m AS (
        INSERT INTO message (id, conversation_id, agent_id, role, to_id, text, ordinal, version)
        SELECT $19, c.id, $21, 'system', $21, $20, 0, c.version FROM c WHERE $20::text IS NOT NULL
    )
    INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
                      reply_interaction_id, system_message_id, state, attended, owner_node,
                      request_hash, request, metadata, principal, key_id, version)
    SELECT $11, c.id, $10, c.base + cardinality($2::uuid[]),
           ($2::uuid[])[cardinality($2::uuid[]) - 1], ($2::uuid[])[cardinality($2::uuid[])],
           $19, 'queued', $12, $13, $14, $15::jsonb, $16::jsonb, $17, $18, c.version
    FROM c
    RETURNING version
"""

# $1 turn: the ids of what it is made of.
POSTED = """
    SELECT conversation_id, input_interaction_id, reply_interaction_id FROM turn WHERE id = $1
"""

# $1 conversation, $2 node, $3 seconds. Its open turns in order. A queued turn whose client waits at
# another process is that one's to start, unless it has failed to do so for so long.
OPEN = """
    SELECT t.id, t.state, t.seq, t.responder,
           NOT t.attended OR t.owner_node = $2 OR now() - make_interval(secs => $3) > coalesce(
               (SELECT max(p.updated_at) FROM turn p
                WHERE p.conversation_id = $1 AND p.seq < t.seq), t.created_at) AS ours
    FROM turn t
    WHERE t.conversation_id = $1 AND t.state IN ('queued', 'running', 'waiting', 'suspended')
    ORDER BY t.seq
"""

# $1 conversation, $2 seq of a turn. The turn before it that counts.
BEFORE = """
    SELECT responder, state, attended, history_hash FROM turn
    WHERE conversation_id = $1 AND seq < $2 AND NOT (attended AND state IN ('failed', 'cancelled'))
    ORDER BY seq DESC LIMIT 1
"""

# $1 conversation, $2 seq of a turn, $3 agent. What was said before the reply and is not in the
# agent's context, in order. It is of this turn if it came after the one before.
UNHEARD = """
    SELECT i.id, i.owner_type, i.content, i.parts,
           i.ordinal > coalesce((SELECT max(seq) FROM turn
                                 WHERE conversation_id = $1 AND seq < $2), 0) AS asked
    FROM interaction i
    WHERE i.conversation_id = $1 AND i.ordinal < $2 AND i.deleted_at IS NULL AND i.errors IS NULL
      AND NOT EXISTS (SELECT FROM message m WHERE m.conversation_id = $1 AND m.agent_id = $3
                      AND m.interaction_id = i.id)
    ORDER BY i.ordinal
"""

# $1 conversation, $2 turn, $3 node, $4 lease, $5 history hash, $6 agent, $7 to $10 messages: ids,
# interactions, whether a bot said it, whether it is asked in this turn.
START = """
    WITH c AS (
        UPDATE conversation SET version = version + 1, updated_at = now() WHERE id = $1
        RETURNING id, version
    ), m AS (
        INSERT INTO message (id, conversation_id, turn_id, interaction_id, agent_id, role, from_id,
                             to_id, ordinal, version)
        SELECT n.id, c.id, CASE WHEN n.asked THEN $2::uuid END, n.interaction_id, $6::bigint,
               CASE WHEN n.bot THEN 'assistant' ELSE 'user' END, CASE WHEN n.bot THEN $6 END,
               CASE WHEN NOT n.bot THEN $6 END, n.ordinal, c.version
        FROM c, unnest($7::uuid[], $8::uuid[], $9::bool[], $10::bool[]) WITH ORDINALITY
             AS n (id, interaction_id, bot, asked, ordinal)
    )
    UPDATE turn SET state = 'running', fence = fence + 1, owner_node = $3, updated_at = now(),
           lease_until = now() + make_interval(secs => $4), history_hash = $5, version = c.version
    FROM c WHERE turn.id = $2
    RETURNING turn.version
"""

# $1 node, $2 seconds, $3 rows. Conversations in which a turn waits for none.
STRANDED = """
    SELECT DISTINCT q.conversation_id
    FROM turn q
    WHERE q.state = 'queued'
      AND (NOT q.attended OR q.owner_node = $1 OR now() - make_interval(secs => $2) > coalesce(
               (SELECT max(p.updated_at) FROM turn p
                WHERE p.conversation_id = q.conversation_id AND p.seq < q.seq), q.created_at))
      AND NOT EXISTS (
          SELECT FROM turn o WHERE o.conversation_id = q.conversation_id AND o.seq < q.seq
            AND o.state IN ('queued', 'running', 'waiting'))
    LIMIT $3
"""
