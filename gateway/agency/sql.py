"""The statements of the turn engine. Each is one round trip and one transaction of its own.

Lock order: the conversation, then its turn. Raising `conversation.version` takes the row's lock, so
versions and commits have one order. Whatever a runner writes names its fence: if another process
has taken the turn, the statement changes nothing and returns no row.

`message` and `interaction` have their indexes in `piccolo_migrations/m0001_foundation.py`.
"""

# ---- reading ------------------------------------------------------------------------------------

# $1 conversation, $2 agent, $3 rows. Newest first. What failed, was excluded or deleted is not
# shown to an agent; excluding an input hides its whole turn.
CONTEXT = """
    SELECT m.role, m.from_id, m.to_id, coalesce(i.content, m.text) AS text, i.parts,
           m.version, m.ordinal, m.turn_id, m.step_id
    FROM message m
    LEFT JOIN interaction i ON i.id = m.interaction_id
    WHERE m.conversation_id = $1 AND m.agent_id = $2 AND m.role <> 'system'
      AND (i.id IS NULL OR (i.deleted_at IS NULL AND i.marked_as_excluded_at IS NULL))
      AND (m.turn_id IS NULL OR m.turn_id NOT IN (
            SELECT t.id FROM turn t
            WHERE t.conversation_id = $1 AND t.state IN ('failed', 'cancelled')
            UNION ALL
            SELECT t.id FROM interaction x
            JOIN turn t ON t.conversation_id = $1 AND t.input_interaction_id = x.id
            WHERE x.conversation_id = $1
              AND (x.deleted_at IS NOT NULL OR x.marked_as_excluded_at IS NOT NULL)))
    ORDER BY m.version DESC, m.ordinal DESC
    LIMIT $3
"""

# $1 hashes of a history's prefixes.
MATCHES = """
    SELECT t.id, t.conversation_id, c.root_id, t.seq, t.history_hash, c.version, c.length,
           t.system_message_id, s.text AS system,
           EXISTS (
               SELECT FROM turn f WHERE f.conversation_id = t.conversation_id AND f.seq > t.seq
               AND f.state NOT IN ('failed', 'cancelled')
           ) AS followed
    FROM turn t
    JOIN conversation c ON c.id = t.conversation_id AND c.deleted_at IS NULL
    LEFT JOIN message s ON s.id = t.system_message_id
    WHERE t.history_hash = ANY($1::bytea[]) AND t.state = 'completed'
    ORDER BY t.id DESC
    LIMIT 64
"""

# $1 conversation, $2 responder: its newest completed turn, in the shape of MATCHES.
HEAD = """
    SELECT c.id AS conversation_id, c.owner_identifier, c.root_id, c.version, c.length,
           t.id, coalesce(t.seq, 0) AS seq, t.history_hash, t.system_message_id, s.text AS system,
           r.id AS running
    FROM conversation c
    LEFT JOIN LATERAL (
        SELECT * FROM turn WHERE conversation_id = c.id AND responder = $2 AND state = 'completed'
        ORDER BY seq DESC LIMIT 1
    ) t ON true
    LEFT JOIN LATERAL (
        SELECT id FROM turn WHERE conversation_id = c.id AND responder = $2
        AND state IN ('running', 'queued', 'waiting') ORDER BY seq DESC LIMIT 1
    ) r ON true
    LEFT JOIN message s ON s.id = t.system_message_id
    WHERE c.id = $1 AND c.deleted_at IS NULL
"""

# $1 request hash, $2 whether the caller says that it comes again. A suspended turn has lost its
# client, so the same request takes it up even if it does not say so.
SEEN = """
    SELECT id, conversation_id FROM turn
    WHERE request_hash = $1 AND created_at > now() - interval '15 minutes'
      AND (state = 'suspended' OR ($2 AND state IN ('running', 'waiting', 'completed')))
    ORDER BY id DESC LIMIT 1
"""

# $1 turn.
TURN = """
    SELECT t.*, i.content AS answer, r.marked_as_excluded_at AS input_excluded,
           t.lease_until < now() AS expired, s.text AS system
    FROM turn t
    JOIN interaction i ON i.id = t.reply_interaction_id
    JOIN interaction r ON r.id = t.input_interaction_id
    LEFT JOIN message s ON s.id = t.system_message_id
    WHERE t.id = $1
"""

# $1 turn. What happened in it, in order: the input, steps, and notes that no step caused.
STEPS = """
    SELECT id, agent_id, read_version, version, error IS NOT NULL AS failed,
           prompt_tokens + completion_tokens AS tokens
    FROM step WHERE turn_id = $1 ORDER BY version
"""
DELIVERIES = """
    SELECT m.version, m.step_id, m.from_id, m.to_id, coalesce(i.content, m.text) AS text
    FROM message m LEFT JOIN interaction i ON i.id = m.interaction_id
    WHERE m.turn_id = $1 AND m.role = 'user' ORDER BY m.version, m.ordinal
"""

# ---- writing ------------------------------------------------------------------------------------

_INTERACTIONS = """
    INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier, content,
                             parts, model_id, completed_at, version)
    SELECT n.id, c.id, c.base + n.ordinal, n.owner_type, n.owner_identifier, n.content,
           n.parts::jsonb, n.model_id, CASE WHEN n.completed THEN now() END, c.version
    FROM c, unnest($6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                   $12::bool[]) WITH ORDINALITY
         AS n (id, owner_type, owner_identifier, content, parts, model_id, completed, ordinal)
"""
_TURN = """
    INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
                      reply_interaction_id, system_message_id, state, owner_node, lease_until,
                      history_hash, request_hash, request, metadata, principal, key_id, version)
    SELECT $13, c.id, $14, c.base + cardinality($6::uuid[]), $15, $16, $17, 'running', $18,
           now() + make_interval(secs => $19), $20, $21, $22::jsonb, $23::jsonb, $24, $3, c.version
    FROM c
"""
_INBOUND = """
    INSERT INTO message (id, conversation_id, turn_id, interaction_id, agent_id, role, from_id,
                         to_id, text, ordinal, version)
    SELECT n.id, c.id, n.turn_id, n.interaction_id, $25, n.role, n.from_id, n.to_id, n.text,
           n.ordinal, c.version
    FROM c, unnest($26::uuid[], $27::uuid[], $28::uuid[], $29::text[], $30::bigint[],
                   $31::bigint[], $32::text[]) WITH ORDINALITY
         AS n (id, turn_id, interaction_id, role, from_id, to_id, text, ordinal)
"""
# The key and the agency are believed from memory; here they are checked. A suspended turn of the
# same request must be taken up instead.
_STILL_TRUE = """
    SELECT FROM api_key k, agency a
    WHERE k.id = $3 AND k.revoked_at IS NULL
      AND a.id = $4 AND a.revision = $5 AND a.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM turn WHERE request_hash = $21 AND state = 'suspended')
"""

# $1 conversation, $2 its title, $33 owner. The first turn of a new conversation.
BEGIN = f"""
    WITH c AS (
        INSERT INTO conversation (id, owner_type, owner_identifier, title, provider_id, model_id,
                                  version, length, root_id)
        SELECT $1, 'user', $33, $2, 'open_ai', $14, 1, cardinality($6::uuid[]), $1
        WHERE EXISTS ({_STILL_TRUE})
        RETURNING id, version, 0 AS base
    ), i AS ({_INTERACTIONS}), t AS ({_TURN}), m AS ({_INBOUND})
    SELECT version FROM c
"""  # noqa: S608

# $1 conversation, $2 the version it was found at, $33 rows of context. The next turn; no row if the
# conversation has moved on meanwhile.
CONTINUE = f"""
    WITH c AS (
        UPDATE conversation SET version = version + 1, length = length + cardinality($6::uuid[]),
               updated_at = now()
        WHERE id = $1 AND version = $2 AND deleted_at IS NULL AND EXISTS ({_STILL_TRUE})
        RETURNING id, version, length - cardinality($6::uuid[]) AS base
    ), i AS ({_INTERACTIONS}), t AS ({_TURN}), m AS ({_INBOUND})
    SELECT c.version AS now, x.*
    FROM c LEFT JOIN LATERAL ({CONTEXT.replace("$2", "$25").replace("$3", "$33")}) x ON true
"""  # noqa: S608

# $1 source, $2 copy, $3 seq of the last turn that goes along, $4 that turn. Ids in the copy are
# made from the old id and the copy's, so that links between rows need no look-up.
FORK = """
    WITH source AS (
        SELECT * FROM conversation WHERE id = $1 AND deleted_at IS NULL
    ), c AS (
        INSERT INTO conversation (id, owner_type, owner_identifier, title, provider_id, model_id,
                                  drive, version, length, root_id, parent_id, forked_at_turn)
        SELECT $2, owner_type, owner_identifier, title, provider_id, model_id, drive, version, $3,
               root_id, id, $4 FROM source
        RETURNING version, length
    ), kept AS (
        SELECT * FROM turn WHERE conversation_id = $1 AND seq <= $3 AND state = 'completed'
    ), dropped AS (
        SELECT id, input_interaction_id, reply_interaction_id FROM turn
        WHERE conversation_id = $1 AND state <> 'completed'
    ), i AS (
        INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier,
            content, parts, provider_id, model_id, errors, marked_as_excluded_at, created_at,
            updated_at, deleted_at, completed_at, version)
        SELECT md5(id::text || $2::text)::uuid, $2, ordinal, owner_type, owner_identifier,
            content, parts, provider_id, model_id, errors, marked_as_excluded_at, created_at,
            updated_at, deleted_at, completed_at, version
        FROM interaction WHERE conversation_id = $1 AND ordinal <= $3
          AND id NOT IN (SELECT input_interaction_id FROM dropped
                         UNION ALL SELECT reply_interaction_id FROM dropped)
    ), t AS (
        INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
            reply_interaction_id, system_message_id, state, attempt, history_hash, request,
            metadata, principal, key_id, finish_reason, created_at, updated_at, completed_at,
            version)
        SELECT md5(id::text || $2::text)::uuid, $2, responder, seq,
            md5(input_interaction_id::text || $2::text)::uuid,
            md5(reply_interaction_id::text || $2::text)::uuid,
            md5(system_message_id::text || $2::text)::uuid, state, attempt, history_hash, request,
            NULL, principal, key_id, finish_reason, created_at, updated_at, completed_at, version
        FROM kept
    ), m AS (
        INSERT INTO message (id, conversation_id, turn_id, step_id, interaction_id,
            linked_message_id, agent_id, role, from_id, to_id, text, ordinal, version, created_at)
        SELECT md5(id::text || $2::text)::uuid, $2, md5(turn_id::text || $2::text)::uuid, step_id,
            md5(interaction_id::text || $2::text)::uuid,
            md5(linked_message_id::text || $2::text)::uuid, agent_id, role, from_id, to_id, text,
            ordinal, version, created_at
        FROM message WHERE conversation_id = $1
          AND version <= (SELECT max(version) FROM kept)
          AND (turn_id IS NULL OR turn_id IN (SELECT id FROM kept))
    )
    SELECT c.version, c.length,
           (SELECT md5(system_message_id::text || $2::text)::uuid FROM kept WHERE id = $4)
           AS system_message_id
    FROM c
"""

_RAISED = """
    WITH raised AS (
        UPDATE conversation SET version = version + 1, updated_at = now()
        WHERE id = $1 AND EXISTS (
            SELECT FROM turn WHERE id = $2 AND fence = $3 AND state = 'running')
        RETURNING version
    )"""
_STEP = """
    INSERT INTO step (id, turn_id, agent_id, attempt, model, read_version, output, prompt_tokens,
                      completion_tokens, error, started_at, version)
    SELECT $4, $2, $5, t.attempt, $6, $7, $8, $9, $10, $11::jsonb,
           now() - make_interval(secs => $12), t.version
    FROM t WHERE $4::uuid IS NOT NULL
"""
_FENCED = "turn.id = $2 AND turn.fence = $3 AND turn.state = 'running'"
_USED = """
    prompt_tokens = turn.prompt_tokens + $9, completion_tokens = turn.completion_tokens + $10,
    version = raised.version, updated_at = now()
"""

# A step and the messages that it caused; without a step ($4 null), notes alone.
ADVANCE = f"""{_RAISED}, t AS (
        UPDATE turn SET {_USED} FROM raised WHERE {_FENCED} RETURNING raised.version, turn.attempt
    ), s AS ({_STEP}), m AS (
        INSERT INTO message (id, conversation_id, turn_id, step_id, linked_message_id, agent_id,
                             role, from_id, to_id, text, ordinal, version)
        SELECT n.id, $1, $2, $4, n.linked, n.agent_id, n.role, n.from_id, n.to_id, n.text,
               n.ordinal, t.version
        FROM t, unnest($13::uuid[], $14::uuid[], $15::bigint[], $16::text[], $17::bigint[],
                       $18::bigint[], $19::text[]) WITH ORDINALITY
             AS n (id, linked, agent_id, role, from_id, to_id, text, ordinal)
    )
    SELECT version FROM t
"""  # noqa: S608

# The answer. $13 its message, $14 its text, $15 finish reason, $16 history hash.
COMPLETE = f"""{_RAISED}, t AS (
        UPDATE turn SET {_USED}, state = 'completed', finish_reason = $15, history_hash = $16,
               completed_at = now(), lease_until = NULL
        FROM raised WHERE {_FENCED}
        RETURNING raised.version, turn.attempt, turn.reply_interaction_id
    ), s AS ({_STEP}), i AS (
        UPDATE interaction SET content = $14, completed_at = now(), updated_at = now(),
               version = t.version
        FROM t WHERE interaction.id = t.reply_interaction_id
    ), m AS (
        INSERT INTO message (id, conversation_id, turn_id, step_id, interaction_id, agent_id, role,
                             from_id, ordinal, version)
        SELECT $13, $1, $2, $4, t.reply_interaction_id, $5, 'assistant', $5, 1, t.version FROM t
    )
    SELECT version FROM t
"""  # noqa: S608

# The end without an answer. $13 the error, $14 the text so far.
FAIL = f"""{_RAISED}, t AS (
        UPDATE turn SET {_USED}, state = 'failed', error = $13::jsonb, completed_at = now(),
               lease_until = NULL
        FROM raised WHERE {_FENCED}
        RETURNING raised.version, turn.attempt, turn.reply_interaction_id
    ), s AS ({_STEP}), i AS (
        UPDATE interaction SET content = $14, errors = jsonb_build_array($13::jsonb),
               completed_at = now(), updated_at = now(), version = t.version
        FROM t WHERE interaction.id = t.reply_interaction_id
    )
    SELECT version FROM t
"""  # noqa: S608

# $1 turn, $2 fence, $3 seconds to wait for its client.
SUSPEND = """
    UPDATE turn SET state = 'suspended', owner_node = NULL, updated_at = now(),
           lease_until = now() + make_interval(secs => $3)
    WHERE id = $1 AND fence = $2 AND state = 'running'
"""

# $1 turn, $2 node, $3 lease, $4 attempts. A turn that nobody runs; only a lost process costs an
# attempt.
TAKE = """
    UPDATE turn SET state = 'running', fence = fence + 1, owner_node = $2, updated_at = now(),
           attempt = attempt + (state = 'running')::int,
           lease_until = now() + make_interval(secs => $3)
    WHERE id = $1 AND (state = 'suspended'
                       OR (state = 'running' AND lease_until < now() AND attempt < $4))
    RETURNING fence
"""

# $1 turns, $2 their fences, $3 lease. What does not come back was lost.
RENEW = """
    UPDATE turn SET lease_until = now() + make_interval(secs => $3)
    FROM unnest($1::uuid[], $2::bigint[]) AS mine (id, fence)
    WHERE turn.id = mine.id AND turn.fence = mine.fence AND turn.state = 'running'
    RETURNING turn.id
"""

# Open turns whose time is up: suspended ones, and running ones that nobody renews.
EXPIRED = """
    SELECT id, state, attempt FROM turn
    WHERE state IN ('running', 'suspended') AND lease_until < now() ORDER BY lease_until LIMIT $1
"""

# $1 turn, $2 the error, $3 states it may be in, $4 the state it gets. Ends a turn from outside.
END = """
    WITH found AS (
        SELECT conversation_id FROM turn WHERE id = $1 AND state = ANY($3::text[])
    ), raised AS (
        UPDATE conversation SET version = version + 1, updated_at = now()
        WHERE id = (SELECT conversation_id FROM found) RETURNING version
    ), t AS (
        UPDATE turn SET state = $4, error = $2::jsonb, completed_at = now(),
               updated_at = now(), lease_until = NULL, fence = fence + 1, version = raised.version
        FROM raised WHERE turn.id = $1 AND turn.state = ANY($3::text[])
          AND ($5 = false OR turn.lease_until < now())
        RETURNING raised.version, turn.reply_interaction_id, turn.conversation_id
    ), i AS (
        UPDATE interaction SET errors = jsonb_build_array($2::jsonb), completed_at = now(),
               updated_at = now(), version = t.version
        FROM t WHERE interaction.id = t.reply_interaction_id
    )
    SELECT version, conversation_id FROM t
"""
