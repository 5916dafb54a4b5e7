"""The statements of conversations that are named: what is said to one waits there for its turn.

They run in one transaction that begins with LOCK, so that each sees what the others have written.
"""

from gateway.agency.intake.sql_accept import BELIEVED
from gateway.conversation.rooms.sql_participants import becomes

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

# $1 conversation, $2 to $9 its new interactions, those that will be replies last, $9 their files,
# $10 skill sets of the message before them. $11 turns, $12 who replies in each, $13 their requests,
# $14 whether their client waits, $15 node, $16 request hash, $17 metadata, $18 caller, $19 key. $20
# the client's system message or null, $21 its text or null if it is there, $22 the agent that it is
# for. $23 whether replies are shown only when they begin to speak.
QUEUE = """
    WITH c AS (
        UPDATE conversation SET version = version + 1, updated_at = now(),
               length = length + cardinality($2::uuid[])
        WHERE id = $1
        RETURNING id, version, length - cardinality($2::uuid[]) AS base,
                  cardinality($2::uuid[]) - cardinality($11::uuid[]) AS said
    ), i AS (
        INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier,
                                 content, parts, file_ids, skill_set_ids, provider_id, model_id,
                                 completed_at, silent, version)
        SELECT n.id, c.id, c.base + n.ordinal, n.owner_type, n.owner_identifier, n.content,
               n.parts::jsonb,
               n.file_ids::uuid[],
               CASE WHEN n.ordinal >= c.said THEN $10::uuid[] END,
               CASE WHEN n.model_id IS NOT NULL THEN 'open_ai' END, n.model_id,
               CASE WHEN n.completed THEN now() END, $23 AND NOT n.completed, c.version
        FROM c, unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                       $8::bool[], $9::text[]) WITH ORDINALITY
             AS n (id, owner_type, owner_identifier, content, parts, model_id, completed, file_ids,
                   ordinal)
    ), m AS (
        INSERT INTO message (id, conversation_id, agent_id, role, to_id, text, ordinal, version)
        SELECT $20, c.id, $22, 'system', $22, $21, 0, c.version FROM c WHERE $21::text IS NOT NULL
    ), t AS (
        INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
                          reply_interaction_id, system_message_id, state, attended, owner_node,
                          request_hash, request, metadata, principal, key_id, version)
        SELECT n.id, c.id, n.responder, c.base + c.said + n.ordinal, ($2::uuid[])[c.said],
               ($2::uuid[])[c.said + n.ordinal], $20, 'queued', $14, $15, $16, n.request::jsonb,
               $17::jsonb, $18, $19, c.version
        FROM c, unnest($11::uuid[], $12::text[], $13::text[]) WITH ORDINALITY
             AS n (id, responder, request, ordinal)
    )
    SELECT version FROM c
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
# agent's context, in order. `own` if the one who replies said it. It is of this turn if it came
# after the one before that answers something else, and is no reply itself: several may answer the
# same, and what one says the next hears, but is not asked.
UNHEARD = """
    SELECT i.id, i.owner_type, i.content, i.parts,
           i.owner_type = 'bot'
           OR (i.owner_type, i.owner_identifier) = (r.owner_type, r.owner_identifier) AS own,
           i.ordinal > coalesce((SELECT max(seq) FROM turn WHERE conversation_id = $1 AND seq < $2
                                 AND input_interaction_id <> t.input_interaction_id), 0)
           AND NOT EXISTS (SELECT FROM turn o WHERE o.conversation_id = $1 AND o.seq = i.ordinal)
               AS asked
    FROM turn t
    JOIN interaction r ON r.id = t.reply_interaction_id
    JOIN interaction i ON i.conversation_id = $1 AND i.ordinal < $2
    WHERE t.conversation_id = $1 AND t.seq = $2
      AND i.deleted_at IS NULL AND i.errors IS NULL AND NOT i.silent
      AND NOT EXISTS (SELECT FROM message m WHERE m.conversation_id = $1 AND m.agent_id = $3
                      AND m.interaction_id = i.id)
    ORDER BY i.ordinal
"""

# $1 conversation, $2 turn, $3 node, $4 lease, $5 history hash, $6 agent, $7 to $10 messages: ids,
# interactions, whether a bot said it, whether it is asked in this turn.
START = f"""
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
    ), p AS ({becomes("'thinking'", version="c.version", beside="c", of="$2")}
    )
    UPDATE turn SET state = 'running', fence = fence + 1, owner_node = $3, updated_at = now(),
           lease_until = now() + make_interval(secs => $4), history_hash = $5, version = c.version
    FROM c WHERE turn.id = $2
    RETURNING turn.version, turn.fence
"""  # noqa: S608

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
