"""The statements that branch a conversation, and tell which branches there are.

Indexes: interaction_order, turn_order, message_of_turn, conversation_of_root.
"""

from gateway.agency.intake.sql_accept import copied, copies
from gateway.conversation.raising import RAISE
from gateway.conversation.rooms.sql_access import may_read
from gateway.conversation.rooms.sql_participants import IMPLIED
from gateway.conversation.turn_states import COMPLETED, QUEUED

# $1 conversation, $2 interaction. Where a branch would leave, and the turn that it is the reply of.
PLACE = """
    SELECT i.owner_type, i.owner_identifier, i.ordinal, i.file_ids, i.model_id, i.provider_id,
           i.completed_at IS NOT NULL AS complete, t.id AS turn_id, t.responder,
           t.input_interaction_id, x.deleted_at IS NOT NULL AS input_deleted
    FROM interaction i
    LEFT JOIN turn t ON t.conversation_id = $1 AND t.seq = i.ordinal
    LEFT JOIN interaction x ON x.id = t.input_interaction_id
    WHERE i.id = $2 AND i.conversation_id = $1 AND i.deleted_at IS NULL AND NOT i.silent
"""

# $1 source, $2 copy, $3 the ordinal of the last interaction that goes along, $4 the interaction
# that the branch leaves at, $5 its owner, $6 seconds that the owner is taken to be there. What was
# completed goes along with what belongs to it, and so do the bots.
BRANCH = f"""
    WITH c AS (
        INSERT INTO conversation (id, owner_type, owner_identifier, title, provider_id, model_id,
                                  drive, version, length, root_id, parent_id,
                                  forked_at_interaction)
        SELECT $2, 'user', $5, title, provider_id, model_id, drive, version, $3, root_id, id, $4
        FROM conversation WHERE id = $1 AND deleted_at IS NULL
        RETURNING version
    ), kept AS (
        SELECT t.* FROM turn t
        JOIN interaction x ON x.id = t.input_interaction_id AND x.deleted_at IS NULL
        JOIN interaction r ON r.id = t.reply_interaction_id AND r.deleted_at IS NULL
        WHERE t.conversation_id = $1 AND t.seq <= $3 AND t.state = {COMPLETED}
    ), said AS (
        SELECT i.* FROM interaction i
        LEFT JOIN turn t ON t.conversation_id = $1 AND t.seq = i.ordinal
        WHERE i.conversation_id = $1 AND i.ordinal <= $3 AND i.deleted_at IS NULL
          AND i.completed_at IS NOT NULL AND (t.id IS NULL OR t.state = {COMPLETED})
    ), {copies("$1", "$2")}, p AS (
        INSERT INTO participant (conversation_id, kind, identifier, ordinal, status, joined_at,
                                 present_until, version)
        SELECT $2, n.kind, n.identifier, n.ordinal, 'idle', now(),
               CASE WHEN n.kind = 'user' THEN now() + make_interval(secs => $6) END, c.version
        FROM c, (
            SELECT 'user' AS kind, $5 AS identifier, -1 AS ordinal
            UNION ALL
            SELECT kind, identifier, ordinal FROM participant
            WHERE conversation_id = $1 AND kind <> 'user' AND joined_at IS NOT NULL
              AND left_at IS NULL
            UNION ALL
            SELECT bot.kind, bot.identifier, bot.ordinal
            FROM conversation c CROSS JOIN LATERAL ({IMPLIED}) bot
            WHERE c.id = $1 AND bot.kind <> 'user'
        ) n
    )
    SELECT version FROM c
"""

# $1 a branch, $2 the reply to be given, $3 its turn, $4 the turn of the conversation that it left
# whose reply is asked again, $5 caller, $6 key, $7 request hash, $8 to $11 of that reply: kind and
# name of its owner, model, provider.
ASK_AGAIN = f"""
    WITH c AS (
        {RAISE}, updated_at = now(), length = length + 1 WHERE id = $1
        RETURNING id, version, length
    ), i AS (
        INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier,
                                 content, provider_id, model_id, silent, version)
        SELECT $2, c.id, c.length, $8, $9, '', $11, $10, $8 <> 'bot', c.version FROM c
    ), t AS (
        INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
                          reply_interaction_id, system_message_id, state, attended, request_hash,
                          request, principal, key_id, version)
        SELECT $3, c.id, o.responder, c.length, {copied("o.input_interaction_id", "$1")}, $2,
               {copied("o.system_message_id", "$1")}, {QUEUED}, false, $7, o.request, $5, $6,
               c.version
        FROM c, turn o WHERE o.id = $4
    )
    SELECT version FROM c
"""

# $1 conversation, $2 user, $3 whether they read everything. The branches of the same root that the
# user may read. One made at a chat door left at the reply of a turn.
BRANCHES = f"""
    SELECT c.id, c.root_id, c.parent_id, c.title, c.created_at,
           coalesce(c.forked_at_interaction, f.reply_interaction_id) AS at_interaction_id,
           CASE WHEN c.forked_at_interaction IS NOT NULL THEN 'api'
                WHEN c.forked_at_turn IS NOT NULL THEN 'chat' END AS door,
           (SELECT count(*) FROM turn t
            WHERE t.conversation_id = c.id AND t.state = {COMPLETED}) AS turns,
           (SELECT left(i.content, 200) FROM interaction i
            WHERE i.conversation_id = c.id AND i.deleted_at IS NULL AND NOT i.silent
              AND i.created_at >= c.created_at
            ORDER BY i.ordinal LIMIT 1) AS excerpt
    FROM conversation c LEFT JOIN turn f ON f.id = c.forked_at_turn
    WHERE (c.root_id = (SELECT root_id FROM conversation WHERE id = $1)
           OR c.id = (SELECT root_id FROM conversation WHERE id = $1))
      AND c.deleted_at IS NULL AND c.owner_type = 'user'
      AND {may_read("c", "$2", "$3")}
    ORDER BY c.created_at, c.id
"""
