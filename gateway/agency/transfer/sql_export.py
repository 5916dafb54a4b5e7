"""What an export reads: each list page by page, so that nothing large is held. What was deleted,
and what is still being given, is left out. Indexes: interaction_order, turn_order, step_of_turn,
message_context."""

from gateway.conversation.rooms.sql_participants import IMPLIED
from gateway.conversation.turn_states import COMPLETED, WITHOUT_ANSWER

_ENDED = f"(t.state = {COMPLETED} OR t.state IN {WITHOUT_ANSWER})"


def _id(column: str, prefix: str) -> str:
    return f"'{prefix}_' || replace({column}::text, '-', '')"


def _owner(kind: str, identifier: str) -> str:
    return f"jsonb_build_object('type', {kind}, 'identifier', {identifier})"


# $1 conversation.
CONVERSATION = f"""
    SELECT length, jsonb_build_object(
        'id', {_id("id", "conv")}, 'title', title,
        'owner', {_owner("owner_type", "owner_identifier")},
        'drive', drive, 'provider_id', provider_id, 'model_id', model_id, 'version', version,
        'created_at', created_at, 'updated_at', updated_at)::text AS body
    FROM conversation WHERE id = $1 AND deleted_at IS NULL
"""

# $1 conversation.
PARTICIPANTS = f"""
    SELECT jsonb_build_object(
        'kind', p.kind, 'identifier', p.identifier, 'joined_at', p.joined_at,
        'left_at', p.left_at)::text AS body
    FROM (
        SELECT kind, identifier, joined_at, left_at, ordinal FROM participant
        WHERE conversation_id = $1
        UNION ALL
        SELECT i.kind, i.identifier, i.joined_at, i.left_at, i.ordinal
        FROM conversation c CROSS JOIN LATERAL ({IMPLIED}) i WHERE c.id = $1
    ) p ORDER BY p.ordinal
"""

# $1 conversation, $2 the last file before, $3 rows. Files of messages that are there.
FILES = f"""
    SELECT f.id AS place, jsonb_build_object(
        'id', {_id("f.id", "file")}, 'filename', f.filename, 'purpose', f.purpose,
        'content', replace(encode(f.content, 'base64'), E'\\n', ''),
        'created_at', f.created_at)::text AS body
    FROM file f
    WHERE f.deleted_at IS NULL AND f.id > $2 AND f.id IN (
        SELECT unnest(i.file_ids) FROM interaction i
        WHERE i.conversation_id = $1 AND i.deleted_at IS NULL AND i.file_ids IS NOT NULL)
    ORDER BY f.id LIMIT $3
"""

# $1 conversation, $2 the last ordinal before, $3 rows, $4 the ordinal that is the last.
MESSAGES = f"""
    SELECT i.ordinal AS place, jsonb_build_object(
        'id', {_id("i.id", "int")}, 'ordinal', i.ordinal,
        'owner', {_owner("i.owner_type", "i.owner_identifier")}, 'content', i.content,
        'parts', i.parts,
        'file_ids', coalesce((SELECT jsonb_agg({_id("n.id", "file")} ORDER BY at)
            FROM unnest(i.file_ids) WITH ORDINALITY AS n (id, at)), '[]'),
        'provider_id', i.provider_id, 'model_id', i.model_id,
        'errors', coalesce(i.errors, '[]'), 'silent', i.silent, 'outdated', i.outdated,
        'marked_as_excluded_at', i.marked_as_excluded_at, 'created_at', i.created_at,
        'updated_at', i.updated_at, 'completed_at', i.completed_at, 'edited_at', i.edited_at,
        'edited_by', CASE WHEN i.edited_by_type IS NOT NULL
            THEN {_owner("i.edited_by_type", "i.edited_by_identifier")} END,
        'version', i.version,
        'history', coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                'version', e.version, 'owner', {_owner("e.owner_type", "e.owner_identifier")},
                'content', e.content, 'written_at', e.written_at) ORDER BY e.version)
            FROM interaction_edit e WHERE e.interaction_id = i.id), '[]'))::text AS body
    FROM interaction i
    WHERE i.conversation_id = $1 AND i.ordinal > $2 AND i.ordinal <= $4
      AND i.deleted_at IS NULL AND i.completed_at IS NOT NULL
    ORDER BY i.ordinal LIMIT $3
"""

# Of a turn `t`: whether the user $5, or an admin ($6), may hear its agents.
_HEARD = """
    ($6 OR EXISTS (
        SELECT FROM agency a LEFT JOIN agent g ON g.agency_id = a.id
        WHERE a.owner = $5 AND a.deleted_at IS NULL
          AND t.responder IN ('agency/' || a.id, 'agent/' || g.id)))
"""
# Of a turn `t`: it has ended, and neither what it answers nor its reply was deleted.
_WHOLE = f"""
    t.conversation_id = $1 AND {_ENDED} AND t.seq <= $4 AND NOT EXISTS (
        SELECT FROM interaction x WHERE x.id IN (t.input_interaction_id, t.reply_interaction_id)
          AND (x.deleted_at IS NOT NULL OR x.completed_at IS NULL))
"""

# The same, and $5 user, $6 whether they hear all agents.
TURNS = f"""
    SELECT t.seq AS place, jsonb_build_object(
        'id', {_id("t.id", "turn")}, 'responder', t.responder,
        'input_interaction_id', {_id("t.input_interaction_id", "int")},
        'reply_interaction_id', {_id("t.reply_interaction_id", "int")},
        'system_message_id', CASE WHEN {_HEARD} THEN {_id("t.system_message_id", "msg")} END,
        'state', t.state, 'attempt', t.attempt, 'attended', t.attended,
        'request', CASE WHEN {_HEARD} THEN t.request END,
        'finish_reason', t.finish_reason, 'error', t.error, 'prompt_tokens', t.prompt_tokens,
        'completion_tokens', t.completion_tokens, 'created_at', t.created_at,
        'updated_at', t.updated_at, 'completed_at', t.completed_at,
        'version', t.version)::text AS body
    FROM turn t
    WHERE {_WHOLE} AND t.seq > $2 ORDER BY t.seq LIMIT $3
"""

# The steps of turns $2 to $3 by their place in the conversation, in order. A copied turn has
# messages of its own, but its steps stay where they were made.
STEPS = f"""
    SELECT jsonb_build_object(
        'id', {_id("s.id", "step")}, 'turn_id', {_id("t.id", "turn")}, 'agent_id', s.agent_id,
        'attempt', s.attempt, 'model', s.model, 'provider', s.provider,
        'read_version', s.read_version, 'output', s.output, 'prompt_tokens', s.prompt_tokens,
        'completion_tokens', s.completion_tokens, 'error', s.error, 'started_at', s.started_at,
        'completed_at', s.completed_at, 'version', s.version)::text AS body
    FROM turn t CROSS JOIN LATERAL (
        SELECT id FROM step WHERE turn_id = t.id
        UNION SELECT step_id FROM message WHERE turn_id = t.id AND step_id IS NOT NULL
    ) mine JOIN step s ON s.id = mine.id
    WHERE {_WHOLE} AND ({_HEARD} OR s.agent_id IS NULL) AND t.seq > $2 AND t.seq <= $3
    ORDER BY t.seq, s.version, s.id
"""

# $1 conversation, $2 to $4 agent, version and ordinal of the last before, $5 user, $6 whether they
# hear all agents, $7 rows, $8 the version that is the last. What agents have before them, of those
# that the user may hear.
CONTEXTS = f"""
    SELECT m.agent_id, m.version, m.ordinal, jsonb_build_object(
        'id', {_id("m.id", "msg")}, 'turn_id', {_id("m.turn_id", "turn")},
        'step_id', {_id("m.step_id", "step")},
        'interaction_id', {_id("m.interaction_id", "int")},
        'linked_message_id', {_id("m.linked_message_id", "msg")}, 'agent_id', m.agent_id,
        'role', m.role, 'from_id', m.from_id, 'to_id', m.to_id,
        'text', CASE WHEN m.interaction_id IS NULL THEN m.text END, 'ordinal', m.ordinal,
        'version', m.version, 'created_at', m.created_at)::text AS body
    FROM message m
    LEFT JOIN interaction i ON i.id = m.interaction_id
    LEFT JOIN turn t ON t.id = m.turn_id
    WHERE m.conversation_id = $1 AND (m.agent_id, m.version, m.ordinal) > ($2, $3, $4)
      AND m.version <= $8
      AND ($6 OR EXISTS (SELECT FROM agent g JOIN agency a ON a.id = g.agency_id
                         WHERE g.id = m.agent_id AND a.owner = $5 AND a.deleted_at IS NULL))
      AND (m.interaction_id IS NULL OR (i.deleted_at IS NULL AND i.completed_at IS NOT NULL))
      AND (m.turn_id IS NULL OR ({_ENDED} AND NOT EXISTS (
          SELECT FROM interaction x WHERE x.id IN (t.input_interaction_id, t.reply_interaction_id)
            AND x.deleted_at IS NOT NULL)))
    ORDER BY m.agent_id, m.version, m.ordinal LIMIT $7
"""
