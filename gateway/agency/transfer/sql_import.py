"""What an import writes: rows of a list of the document, as JSON ($1), into the conversation $2.
Each row's id is made from the one in the document and the conversation's (`sql_accept.copied`)."""

from gateway.agency.intake.sql_accept import copied


def _list(columns: str) -> str:
    return f"jsonb_to_recordset($1::jsonb) AS x ({columns})"


def _new(column: str) -> str:
    return copied(f"x.{column}", "$2::uuid")


# $1 conversation, $2 owner, $3 title, $4 drive, $5 provider, $6 model, $7 version, $8 and $9 when
# it was made and changed, $10 bots that come along: kinds, $11 names. $12 seconds that the owner is
# taken to be there.
CONVERSATION = """
    WITH c AS (
        INSERT INTO conversation (id, owner_type, owner_identifier, title, drive, provider_id,
                                  model_id, version, length, root_id, created_at, updated_at)
        VALUES ($1, 'user', $2, $3, $4, $5, $6, $7, 0, $1, $8, $9)
    )
    INSERT INTO participant (conversation_id, kind, identifier, ordinal, status, joined_at,
                             present_until, version)
    SELECT $1, 'user', $2, 0, 'idle', now(), now() + make_interval(secs => $12), $7
    UNION ALL
    SELECT $1, n.kind, n.identifier, n.ordinal, 'idle', now(), NULL, $7
    FROM unnest($10::text[], $11::text[]) WITH ORDINALITY AS n (kind, identifier, ordinal)
"""

MESSAGES = f"""
    WITH x AS MATERIALIZED (SELECT * FROM {
    _list('''
        id uuid, ordinal bigint, owner jsonb, content text, parts jsonb, file_ids uuid[],
        provider_id text, model_id text, errors jsonb, silent bool, outdated bool,
        marked_as_excluded_at timestamptz, created_at timestamptz, updated_at timestamptz,
        completed_at timestamptz, edited_at timestamptz, edited_by jsonb, version bigint,
        history jsonb''')
}
    ), i AS (
        INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier,
            content, parts, file_ids, provider_id, model_id, errors, silent, outdated,
            marked_as_excluded_at, created_at, updated_at, completed_at, edited_at,
            edited_by_type, edited_by_identifier, version)
        SELECT {_new("id")}, $2, x.ordinal, x.owner->>'type', x.owner->>'identifier', x.content,
            nullif(x.parts, 'null'), nullif(x.file_ids, '{{}}'), x.provider_id, x.model_id,
            nullif(x.errors, '[]'), x.silent, x.outdated,
            x.marked_as_excluded_at, x.created_at, x.updated_at, x.completed_at, x.edited_at,
            x.edited_by->>'type', x.edited_by->>'identifier', x.version
        FROM x
    )
    INSERT INTO interaction_edit (interaction_id, version, owner_type, owner_identifier, content,
                                  written_at)
    SELECT {_new("id")}, e.version, e.owner->>'type', e.owner->>'identifier', e.content,
           e.written_at
    FROM x CROSS JOIN LATERAL jsonb_to_recordset(x.history) AS e (
        version bigint, owner jsonb, content text, written_at timestamptz)
"""

# $3 user, $4 key, $5 responders that the user may use. Turns whose message and reply are there.
TURNS = f"""
    INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
        reply_interaction_id, system_message_id, state, attended, attempt, request, principal,
        key_id, finish_reason, error, prompt_tokens, completion_tokens, created_at, updated_at,
        completed_at, version)
    SELECT {_new("id")}, $2, x.responder, r.ordinal, {_new("input_interaction_id")},
        {_new("reply_interaction_id")}, {_new("system_message_id")}, x.state, x.attended,
        x.attempt, coalesce(nullif(x.request, 'null'),
                            jsonb_build_object('responder', x.responder)),
        $3, $4, x.finish_reason, nullif(x.error, 'null'), x.prompt_tokens, x.completion_tokens,
        x.created_at, x.updated_at, x.completed_at, x.version
    FROM {
    _list('''
        id uuid, responder text, input_interaction_id uuid, reply_interaction_id uuid,
        system_message_id uuid, state text, attempt smallint, attended bool, request jsonb,
        finish_reason text, error jsonb, prompt_tokens int, completion_tokens int,
        created_at timestamptz, updated_at timestamptz, completed_at timestamptz,
        version bigint''')
}
    JOIN interaction r ON r.id = {_new("reply_interaction_id")}
    JOIN interaction i ON i.id = {_new("input_interaction_id")} AND i.ordinal < r.ordinal
    WHERE x.responder = ANY($5::text[])
"""

# $3 agents whose contexts may be set.
STEPS = f"""
    INSERT INTO step (id, turn_id, agent_id, attempt, model, provider, read_version, output,
        prompt_tokens, completion_tokens, error, started_at, completed_at, version)
    SELECT {_new("id")}, t.id, x.agent_id, x.attempt, x.model, x.provider, x.read_version, x.output,
        x.prompt_tokens, x.completion_tokens, nullif(x.error, 'null'), x.started_at,
        x.completed_at, x.version
    FROM {
    _list('''
        id uuid, turn_id uuid, agent_id bigint, attempt smallint, model text, provider text,
        read_version bigint, output text, prompt_tokens int, completion_tokens int, error jsonb,
        started_at timestamptz, completed_at timestamptz, version bigint''')
}
    JOIN turn t ON t.id = {_new("turn_id")}
    WHERE x.agent_id IS NULL OR x.agent_id = ANY($3::bigint[])
"""

# $3 agents whose contexts may be set. What stands for a message that is not there is left out.
CONTEXTS = f"""
    INSERT INTO message (id, conversation_id, turn_id, step_id, interaction_id, linked_message_id,
        agent_id, role, from_id, to_id, text, ordinal, version, created_at)
    SELECT {_new("id")}, $2, t.id, {_new("step_id")}, i.id, {_new("linked_message_id")}, x.agent_id,
        x.role, x.from_id, x.to_id, x.text, x.ordinal, x.version, x.created_at
    FROM {
    _list('''
        id uuid, turn_id uuid, step_id uuid, interaction_id uuid, linked_message_id uuid,
        agent_id bigint, role text, from_id bigint, to_id bigint, text text, ordinal int,
        version bigint, created_at timestamptz''')
}
    LEFT JOIN turn t ON t.id = {_new("turn_id")}
    LEFT JOIN interaction i ON i.id = {_new("interaction_id")}
    WHERE x.agent_id = ANY($3::bigint[]) AND (x.turn_id IS NULL OR t.id IS NOT NULL)
      AND (x.interaction_id IS NULL OR i.id IS NOT NULL)
      AND (x.interaction_id IS NOT NULL OR x.text IS NOT NULL)
"""

# $1 conversation. All that comes later is newer, and stands behind what is there.
LEVEL = """
    UPDATE conversation SET
        length = coalesce((SELECT max(ordinal) FROM interaction WHERE conversation_id = $1), 0),
        version = greatest(version, 1,
            (SELECT max(version) FROM interaction WHERE conversation_id = $1),
            (SELECT max(version) FROM turn WHERE conversation_id = $1),
            (SELECT max(version) FROM message WHERE conversation_id = $1))
    WHERE id = $1
"""

# $1 user, $2 whether they may define every agency.
AGENTS = """
    SELECT g.id FROM agent g JOIN agency a ON a.id = g.agency_id
    WHERE a.deleted_at IS NULL AND (a.owner = $1 OR $2)
"""
