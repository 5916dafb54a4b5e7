"""What channels read of a conversation. Each is one statement, and so sees one moment of the rows.

Interactions and turns of a conversation are found by their order's index (`interaction_order`,
`turn_order`) and sifted by version: an index by version would have every update of a turn write to
all indexes. Messages are found agent by agent in their contexts' index (`message_context`), which
every turn writes to anyway.
"""

from gateway.conversation.rooms.sql_participants import PARTICIPANT, PARTICIPANTS
from gateway.conversation.turn_states import WAITING

CONVERSATION = """
    jsonb_build_object(
        'id', 'conv_' || replace(c.id::text, '-', ''), 'title', c.title,
        'owner', jsonb_build_object('type', c.owner_type, 'identifier', c.owner_identifier),
        'drive', c.drive, 'provider_id', c.provider_id, 'model_id', c.model_id,
        'parent_id', 'conv_' || replace(c.parent_id::text, '-', ''),
        'stream_channel_id', 'conv_' || replace(c.id::text, '-', ''),
        'created_at', c.created_at, 'updated_at', c.updated_at, 'version', c.version)
"""
INTERACTION = """
    jsonb_build_object(
        'id', 'int_' || replace(i.id::text, '-', ''),
        'owner', jsonb_build_object('type', i.owner_type, 'identifier', i.owner_identifier),
        'content', i.content,
        'file_ids', coalesce((SELECT jsonb_agg('file_' || replace(n.id::text, '-', '') ORDER BY at)
            FROM unnest(i.file_ids) WITH ORDINALITY AS n (id, at)), '[]'),
        'skill_set_ids', coalesce((
            SELECT jsonb_agg('skill_' || replace(n.id::text, '-', '') ORDER BY at)
            FROM unnest(i.skill_set_ids) WITH ORDINALITY AS n (id, at)), '[]'),
        'provider_id', i.provider_id, 'model_id', i.model_id,
        'errors', coalesce(i.errors, '[]'::jsonb),
        'marked_as_excluded_at', i.marked_as_excluded_at, 'created_at', i.created_at,
        'edited_at', i.edited_at, 'outdated', i.outdated,
        'updated_at', i.updated_at, 'completed_at', i.completed_at, 'version', i.version)
"""
# Of the turn `t`: how many questions of its agents were answered by somebody outside, or by the
# library. Index: message_of_turn.
ANSWERS = """
    (SELECT count(*) FROM message m
     WHERE m.turn_id = t.id AND m.role = 'user' AND m.step_id IS NULL
       AND (m.from_id = -1 OR m.from_id > 0))
"""
# Of the turn `t`, which waits: its session.
_AWAITS = f"""
    jsonb_build_object(
        'session_id', 'sess_' || replace(t.id::text, '-', ''),
        'agent_id', coalesce(substring(t.responder FROM '^agent/([0-9]{{1,18}})$')::bigint, (
            SELECT a.manager_id FROM agency a
            WHERE a.id = substring(t.responder FROM '^agency/([0-9]{{1,18}})$')::bigint)),
        'step', {ANSWERS} + 1,
        'state', CASE t.awaited->>'asked' WHEN '-1' THEN 'search' ELSE 'call_agent' END)
"""
TURN = f"""
    jsonb_build_object(
        'id', 'turn_' || replace(t.id::text, '-', ''), 'responder', t.responder,
        'state', t.state, 'attempt', t.attempt,
        'input_interaction_id', 'int_' || replace(t.input_interaction_id::text, '-', ''),
        'reply_interaction_id', 'int_' || replace(t.reply_interaction_id::text, '-', ''),
        'awaits', CASE WHEN t.state = {WAITING} AND t.awaited IS NOT NULL THEN {_AWAITS} END,
        'finish_reason', t.finish_reason, 'error', t.error, 'created_at', t.created_at,
        'updated_at', t.updated_at, 'completed_at', t.completed_at, 'version', t.version)
"""
_MESSAGE = """
    jsonb_build_object(
        'id', 'msg_' || replace(m.id::text, '-', ''),
        'turn_id', 'turn_' || replace(m.turn_id::text, '-', ''),
        'agent_id', m.agent_id, 'role', m.role,
        'linked_message_id', 'msg_' || replace(m.linked_message_id::text, '-', ''),
        'from', m.from_id, 'to', m.to_id, 'text', coalesce(x.content, m.text, ''),
        'created_at', m.created_at, 'version', m.version)
"""

# $1 conversation, $2 a version, $3 rows. What changed after that version, in order: kind, version,
# the row as JSON (none if it was deleted), and for messages the responder whose agents said it. The
# first row is the conversation; it stands there also if nothing changed, and its flag says that it
# is deleted. The flag of an interaction says that it is as it was made. `speaking` rows are the
# interactions whose text is not complete, whatever their version. What is silent is not told.
CHANGES = f"""
    WITH RECURSIVE heard AS (
        SELECT min(agent_id) AS id FROM message WHERE conversation_id = $1
        UNION ALL
        SELECT (SELECT min(agent_id) FROM message
                WHERE conversation_id = $1 AND agent_id > heard.id)
        FROM heard WHERE heard.id IS NOT NULL
    )
    SELECT * FROM (
        SELECT 0 AS rank, 0 AS ordinal, 'conversation' AS kind, c.version AS version, NULL AS body,
               c.id, NULL AS talk_of, c.deleted_at IS NOT NULL AS flag
        FROM conversation c WHERE c.id = $1
        UNION ALL
        SELECT 1, 0, 'described', c.described_version,
               CASE WHEN c.deleted_at IS NULL THEN ({CONVERSATION})::text END, c.id, NULL, false
        FROM conversation c WHERE c.id = $1 AND c.described_version > $2
        UNION ALL
        (SELECT 1, p.ordinal + 1, 'participant', p.version, ({PARTICIPANT})::text, c.id, NULL, false
         FROM conversation c JOIN participant p ON p.conversation_id = c.id
         WHERE c.id = $1 AND p.version > $2 LIMIT $3)
        UNION ALL
        (SELECT 2, i.ordinal, 'interaction', i.version,
                CASE WHEN i.deleted_at IS NULL THEN ({INTERACTION})::text END, i.id, NULL,
                i.created_at = i.updated_at
         FROM interaction i
         WHERE i.conversation_id = $1 AND i.version > $2 AND NOT i.silent LIMIT $3)
        UNION ALL
        (SELECT 3, t.seq, 'turn', t.version, ({TURN})::text, t.id, NULL, false
         FROM turn t WHERE t.conversation_id = $1 AND t.version > $2 LIMIT $3)
        UNION ALL
        (SELECT 4, m.ordinal, 'message', m.version, ({_MESSAGE})::text, m.id, t.responder, false
         FROM heard CROSS JOIN LATERAL (
             SELECT * FROM message
             WHERE conversation_id = $1 AND agent_id = heard.id AND version > $2
             ORDER BY version LIMIT $3
         ) m
         LEFT JOIN turn t ON t.id = m.turn_id
         LEFT JOIN interaction x ON x.id = m.interaction_id
         WHERE x.deleted_at IS NULL
           AND NOT EXISTS (SELECT FROM interaction y
                           WHERE y.id = t.input_interaction_id AND y.deleted_at IS NOT NULL)
         LIMIT $3)
        UNION ALL
        SELECT 5, 0, 'speaking', i.version, NULL, i.id, NULL, false
        FROM interaction i
        WHERE i.conversation_id = $1 AND i.completed_at IS NULL AND i.deleted_at IS NULL
          AND NOT i.silent
    ) AS found
    ORDER BY rank <> 0, version, rank, ordinal
"""

# $1 conversation, $2 its newest so many interactions or null for all, $3 only this one or null.
WHOLE = f"""
    SELECT ({CONVERSATION} || jsonb_build_object('participants', ({PARTICIPANTS}), 'messages', (
        SELECT coalesce(jsonb_agg(body ORDER BY ordinal), '[]'::jsonb) FROM (
            SELECT i.ordinal, {INTERACTION} AS body FROM interaction i
            WHERE i.conversation_id = c.id AND i.deleted_at IS NULL AND NOT i.silent
              AND ($3::uuid IS NULL OR i.id = $3)
            ORDER BY i.ordinal DESC LIMIT $2
        ) newest
    )))::text AS body
    FROM conversation c WHERE c.id = $1 AND c.deleted_at IS NULL
"""

# $1 conversations.
VERSIONS = "SELECT id, version FROM conversation WHERE id = ANY($1::uuid[])"
