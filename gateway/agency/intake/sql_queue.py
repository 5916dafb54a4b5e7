"""The statements of conversations that are named: what is said to one waits there for its turn.

They run in one transaction that begins with LOCK, so that each sees what the others have written.
"""

from gateway.agency.intake.sql_accept import still_true
from gateway.agency.ledger.sql_read import DRIVE, chain
from gateway.conversation.raising import RAISE
from gateway.conversation.rooms.sql_access import standing
from gateway.conversation.rooms.sql_participants import RESPONDER, SHOWN, becomes
from gateway.conversation.sql_store import CONVERSATION
from gateway.conversation.turn_states import (
    COMPLETED,
    QUEUED,
    RUNNING,
    SUSPENDED,
    UNDER_WAY,
    WITHOUT_ANSWER,
)

# $1 key. Whether it still lives.
KEY_LIVES = "SELECT FROM api_key WHERE id = $1 AND revoked_at IS NULL"

# $1 conversation, $2 key, $3 user. `system` is the client's system message in force. No row for a
# session: nobody says anything in its conversation.
LOCK = f"""
    SELECT EXISTS (SELECT FROM api_key WHERE id = $2 AND revoked_at IS NULL) AS key_lives,
           {standing("c", "$3")}, t.system_message_id, s.text AS system, {CONVERSATION}
    FROM conversation c
    LEFT JOIN LATERAL (
        SELECT * FROM turn
        WHERE conversation_id = c.id AND NOT (attended AND state IN {WITHOUT_ANSWER})
        ORDER BY seq DESC LIMIT 1
    ) t ON true
    LEFT JOIN message s ON s.id = t.system_message_id
    WHERE c.id = $1 AND c.owner_type = 'user' AND c.deleted_at IS NULL
    FOR NO KEY UPDATE OF c
"""

# $1 conversation, $2 to $9 its new interactions, those that will be replies last, $9 their files,
# $10 skill sets of the message before them. $11 turns, $12 who replies in each, $13 their requests,
# $14 whether their client waits, $15 node, $16 request hash, $17 metadata, $18 caller, $19 key. $20
# the client's system message or null, $21 its text or null if it is there, $22 the agent that it is
# for. $23 whether replies are shown only when they begin to speak. $24 to $26 what is believed, if
# anything is, $27 who provides the interactions' models, $28 what is answered if nothing new is. No
# row if that is no longer true.
QUEUE = f"""
    WITH c AS (
        {RAISE}, updated_at = now(),
               length = length + cardinality($2::uuid[])
        WHERE id = $1 AND ($25::bigint IS NULL OR EXISTS (
            {still_true("$24", "$25", "$26", request="$16")}))
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
               n.provider, n.model_id,
               CASE WHEN n.completed THEN now() END, $23 AND NOT n.completed, c.version
        FROM c, unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                       $8::bool[], $9::text[], $27::text[]) WITH ORDINALITY
             AS n (id, owner_type, owner_identifier, content, parts, model_id, completed, file_ids,
                   provider, ordinal)
    ), m AS (
        INSERT INTO message (id, conversation_id, agent_id, role, to_id, text, ordinal, version)
        SELECT $20, c.id, $22, 'system', $22, $21, 0, c.version FROM c WHERE $21::text IS NOT NULL
    ), t AS (
        INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
                          reply_interaction_id, system_message_id, state, attended, owner_node,
                          request_hash, request, metadata, principal, key_id, driven, version)
        SELECT n.id, c.id, n.responder, c.base + c.said + n.ordinal,
               coalesce($28, ($2::uuid[])[c.said]),
               ($2::uuid[])[c.said + n.ordinal], $20, {QUEUED}, $14, $15, $16, n.request::jsonb,
               $17::jsonb, $18, $19,
               (SELECT nullif(p.drive, 'auto') FROM participant p
                WHERE p.conversation_id = c.id AND p.kind <> 'user' AND p.left_at IS NULL
                  AND {RESPONDER} = n.responder), c.version
        FROM c, unnest($11::uuid[], $12::text[], $13::text[]) WITH ORDINALITY
             AS n (id, responder, request, ordinal)
    )
    SELECT version FROM c
"""

# $1 turn: the ids of what it is made of.
POSTED = """
    SELECT conversation_id, input_interaction_id, reply_interaction_id FROM turn WHERE id = $1
"""


def _ours(turn: str, node: str, seconds: str) -> str:
    """Selects the queued turns that this node may start. A turn whose client waits at another
    process belongs to that process until it has failed to start it for so many seconds."""
    return f"""(NOT {turn}.attended OR {turn}.owner_node = {node}
            OR now() - make_interval(secs => {seconds}) > coalesce(
               (SELECT max(p.updated_at) FROM turn p
                WHERE p.conversation_id = {turn}.conversation_id AND p.seq < {turn}.seq),
               {turn}.created_at))"""


# Of a turn `t`: the agent that is spoken to. Null for a model, and for what was deleted.
_ENTRY = """
    SELECT CASE
        WHEN t.responder ~ '^agency/[0-9]{1,18}$' THEN (
            SELECT a.manager_id FROM agency a
            WHERE a.id = split_part(t.responder, '/', 2)::bigint AND a.deleted_at IS NULL)
        WHEN t.responder ~ '^agent/[0-9]{1,18}$' THEN (
            SELECT g.id FROM agent g JOIN agency a ON a.id = g.agency_id AND a.deleted_at IS NULL
            WHERE g.id = split_part(t.responder, '/', 2)::bigint AND g.deleted_at IS NULL)
        END AS entry OFFSET 0  -- once, not for each row that it is compared with
"""
# Of the agent `e`: when it was last told something that it was asked, and where the input stood
# that it was asked with. What it has not heard came later: it is newer, or one of the replies to
# that.
_HEARD = """
    SELECT m.version AS at, i.ordinal AS input
    FROM message m JOIN turn x ON x.id = m.turn_id
    JOIN interaction i ON i.id = x.input_interaction_id
    WHERE m.conversation_id = $1 AND m.agent_id = e.entry AND m.role = 'user'
      AND m.interaction_id IS NOT NULL
    ORDER BY m.version DESC LIMIT 1
"""
# Of a turn `t` with the reply `r` and the agent `e`, which has heard so much, `h`: what was said
# before the reply and is not in the agent's context, in order; without the replies of others to the
# same, who start from the same. `own` if the one who replies said it. It is `asked` in this turn if
# it is an answer to `g`, to which the input is one too, or if it came after the turn before that
# answers something else, and is no reply itself. `odd` is what an agent is told in another way than
# as its text alone.
_UNHEARD = """
    SELECT jsonb_agg(jsonb_build_object(
        'id', u.id, 'owner_type', u.owner_type, 'content', u.content, 'parts', u.parts,
        'own', u.owner_type = 'bot'
               OR (u.owner_type, u.owner_identifier) = (r.owner_type, r.owner_identifier),
        'asked', CASE WHEN o.id IS NULL THEN u.ordinal > coalesce((
                     SELECT max(seq) FROM turn WHERE conversation_id = $1 AND seq < t.seq
                     AND input_interaction_id <> t.input_interaction_id), 0)
                 ELSE o.input_interaction_id IS NOT DISTINCT FROM g.input_interaction_id END,
        'odd', u.file_ids IS NOT NULL OR u.marked_as_excluded_at IS NOT NULL
               OR u.owner_type NOT IN ('user', 'bot')
               OR (u.owner_type = 'user' AND u.model_id IS NULL)
    ) ORDER BY u.ordinal)
    FROM interaction u LEFT JOIN LATERAL (  -- of the few that are left, and not of all
        SELECT id, input_interaction_id FROM turn
        WHERE conversation_id = $1 AND seq = u.ordinal LIMIT 1
    ) o ON true
    WHERE e.entry IS NOT NULL AND u.conversation_id = $1 AND u.ordinal < t.seq
      AND (h.at IS NULL OR u.version > h.at OR u.ordinal > h.input)
      AND u.deleted_at IS NULL AND u.errors IS NULL AND NOT u.silent
      AND o.input_interaction_id IS DISTINCT FROM t.input_interaction_id
      AND NOT EXISTS (SELECT FROM message m WHERE m.conversation_id = $1 AND m.agent_id = e.entry
                      AND m.interaction_id = u.id)
"""

# Of a turn `o`: others wait for it, unless they answer the same as it does. Nobody waits for a bot
# that is driven by hand.
_HOLDS = f"o.state IN {UNDER_WAY} AND o.driven IS DISTINCT FROM 'manual'"

# $1 conversation, locked, $2 node, $3 seconds. The turn that is next, and all that starting it
# rests on: whether one runs, those whose clients have gone, the turn before it that counts, what
# its agent has not heard, and whether nobody has heard anything yet.
NEXT = f"""
    SELECT t.*, r.content AS answer, false AS expired, s.text AS system, {DRIVE} AS drive,
           {SHOWN} AS shown, r.owner_type <> 'bot' AS in_room,
           c.version AS found_at, {_ours("t", "$2", "$3")} AS ours,
           EXISTS (SELECT FROM turn o WHERE o.conversation_id = $1 AND {_HOLDS}
                   AND o.input_interaction_id <> t.input_interaction_id) AS busy,
           ARRAY(SELECT o.id FROM turn o
                 WHERE o.conversation_id = $1 AND o.state = {SUSPENDED}) AS suspended,
           b.responder AS before_responder, b.state AS before_state, b.history_hash AS before_hash,
           e.entry, ({_UNHEARD}) AS unheard,
           NOT EXISTS (SELECT FROM message m
                       WHERE m.conversation_id = $1 AND m.role <> 'system') AS fresh
    FROM turn t
    JOIN conversation c ON c.id = t.conversation_id
    JOIN interaction r ON r.id = t.reply_interaction_id
    JOIN interaction i ON i.id = t.input_interaction_id
    LEFT JOIN turn g ON g.conversation_id = $1 AND g.seq = i.ordinal
    CROSS JOIN LATERAL ({_ENTRY}) e
    LEFT JOIN LATERAL ({_HEARD}) h ON true
    LEFT JOIN message s ON s.id = t.system_message_id
    LEFT JOIN LATERAL (
        SELECT o.responder, o.state, o.history_hash FROM turn o
        WHERE o.conversation_id = $1 AND o.seq < t.seq
          AND NOT (o.attended AND o.state IN {WITHOUT_ANSWER})
        ORDER BY o.seq DESC LIMIT 1
    ) b ON true
    WHERE t.conversation_id = $1 AND t.state = {QUEUED}
    ORDER BY t.seq LIMIT 1
"""

# $1 conversation, $2 turn, $3 node, $4 lease, $5 history hash, $6 agent, $7 to $10 messages: ids,
# interactions, whether a bot said it, whether it is asked in this turn.
_STARTED = f"""
    WITH c AS (
        {RAISE}, updated_at = now() WHERE id = $1
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
    ), s AS (
    UPDATE turn SET state = {RUNNING}, fence = fence + 1, owner_node = $3, updated_at = now(),
           lease_until = now() + make_interval(secs => $4), history_hash = $5, version = c.version
    FROM c WHERE turn.id = $2
    RETURNING turn.version, turn.fence
    )
    SELECT s.version AS started_at, s.fence"""
START = f"{_STARTED} FROM s"

# The same with what a plain model is told, $12 rows before the reply of the ordinal $11.
START_READING = f"""{_STARTED}, x.*
    FROM s LEFT JOIN LATERAL ({chain("$11", "$12")}) x ON true
"""

# $1 node, $2 seconds, $3 rows. Conversations in which a turn waits for none.
STRANDED = f"""
    SELECT DISTINCT q.conversation_id
    FROM turn q
    WHERE q.state = {QUEUED} AND {_ours("q", "$1", "$2")}
      AND NOT EXISTS (
          SELECT FROM turn o WHERE o.conversation_id = q.conversation_id AND o.seq < q.seq
            AND o.input_interaction_id <> q.input_interaction_id
            AND (o.state = {QUEUED} OR {_HOLDS}))
    LIMIT $3
"""

# $1 turn, which has just ended; its conversation is locked. What came of all that answer the same,
# in order, and how many messages bots have said since a person did. No row while one of them is to
# answer yet, or something else was said to the conversation meanwhile. A bot that is driven by hand
# is waited for by nobody, and so stands for itself.
ROUND = f"""
    SELECT t.conversation_id, t.principal, t.key_id, t.system_message_id, (
        SELECT jsonb_agg(jsonb_build_object(
                   'id', r.id, 'responder', o.responder, 'content', r.content) ORDER BY o.seq)
        FROM turn o JOIN interaction r ON r.id = o.reply_interaction_id
        WHERE o.conversation_id = t.conversation_id AND o.state = {COMPLETED}
          AND o.input_interaction_id = t.input_interaction_id
          AND CASE WHEN t.driven IS NULL THEN o.driven IS NULL ELSE o.id = t.id END
          AND r.deleted_at IS NULL AND NOT r.silent
    ) AS replies, (
        SELECT count(*) FROM interaction i
        WHERE i.conversation_id = t.conversation_id AND i.owner_type <> 'user' AND NOT i.silent
          AND i.deleted_at IS NULL AND i.errors IS NULL AND i.ordinal > coalesce((
              SELECT max(p.ordinal) FROM interaction p
              WHERE p.conversation_id = t.conversation_id AND p.owner_type = 'user'
                AND p.deleted_at IS NULL), 0)
    ) AS said
    FROM turn t
    WHERE t.id = $1 AND NOT EXISTS (
        SELECT FROM turn o WHERE o.conversation_id = t.conversation_id
          AND (o.state = {QUEUED}
               OR (t.driven IS NULL AND o.driven IS NULL AND o.state IN {UNDER_WAY}
                   AND o.input_interaction_id = t.input_interaction_id)))
"""
