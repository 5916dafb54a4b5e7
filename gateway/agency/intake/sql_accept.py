"""The statements that accept a turn: where a history was seen before, and the rows of a new turn.

Each is one round trip and one transaction of its own; the lock order stands in `sql`. Indexes:
turn_history for MATCHES, turn_request and turn_suspended for SEEN, turn_order for what follows.
"""

from gateway.agency.ledger.sql_read import context
from gateway.conversation.raising import RAISE
from gateway.conversation.turn_states import (
    COMPLETED,
    RUNNING,
    SUSPENDED,
    UNSUSPENDED,
    WITHOUT_ANSWER,
)


def believed(key: str, agency: str, revision: str) -> str:
    """Selects a row if the key lives and the agency has this revision. A turn that is accepted
    relies on both from memory."""
    return f"""
    SELECT FROM api_key k, agency a
    WHERE k.id = {key} AND k.revoked_at IS NULL
      AND a.id = {agency} AND a.revision = {revision} AND a.deleted_at IS NULL"""


def still_true(key: str, agency: str, revision: str, *, request: str) -> str:
    """The same where the request's hash is known: a suspended turn of it must be taken up
    instead."""
    return f"""{believed(key, agency, revision)}
      AND NOT EXISTS (SELECT FROM turn WHERE request_hash = {request} AND state = {SUSPENDED})
"""


# $1 hashes of a history's prefixes, $2 rows for each, $3 user, $4 whether they may act as anybody.
# A hash that is busier than that belongs to many conversations, of which it does not matter which
# are seen. Deleted ones are told too: they had people who said the same. A conversation that was
# handed over is its new owner's, and no history leads there any more.
MATCHES = f"""
    SELECT t.*, s.text AS system
    FROM unnest($1::bytea[]) AS h (hash)
    CROSS JOIN LATERAL (
        SELECT t.id, t.conversation_id, t.seq, t.history_hash, t.system_message_id,
               c.root_id, c.version, c.deleted_at IS NOT NULL AS deleted,
               EXISTS (
                   SELECT FROM turn f WHERE f.conversation_id = t.conversation_id
                   AND f.seq > t.seq AND f.state NOT IN {WITHOUT_ANSWER}
               ) AS followed
        FROM turn t JOIN conversation c ON c.id = t.conversation_id
        WHERE t.history_hash = h.hash AND t.state = {COMPLETED}
          AND ($4 OR c.owner_identifier = $3)
        LIMIT $2
    ) t
    LEFT JOIN message s ON s.id = t.system_message_id
"""

# $1 request hash, $2 whether the caller says that it comes again, $3 to $5 what is believed. A
# suspended turn has lost its client, so the same request takes it up even if it does not say so.
SEEN = f"""
    SELECT id FROM (
        SELECT id FROM turn WHERE request_hash = $1 AND state = {SUSPENDED}
        UNION ALL (
            SELECT id FROM turn
            WHERE $2 AND request_hash = $1
              AND (state IN {UNSUSPENDED}
                   OR (state = {COMPLETED} AND completed_at > now() - interval '15 minutes'))
            ORDER BY id DESC LIMIT 1)
    ) t
    WHERE EXISTS ({believed("$3", "$4", "$5")})
    ORDER BY id DESC LIMIT 1
"""

_INTERACTIONS = """
    INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier, content,
                             parts, model_id, completed_at, file_ids, version)
    SELECT n.id, c.id, c.base + n.ordinal, n.owner_type, n.owner_identifier, n.content,
           n.parts::jsonb, n.model_id, CASE WHEN n.completed THEN now() END, n.file_ids::uuid[],
           c.version
    FROM c, unnest($6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                   $12::bool[], $13::text[]) WITH ORDINALITY
         AS n (id, owner_type, owner_identifier, content, parts, model_id, completed, file_ids,
               ordinal)
"""
_TURN = f"""
    INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
                      reply_interaction_id, system_message_id, state, owner_node, lease_until,
                      history_hash, request_hash, request, metadata, principal, key_id, version,
                      attended)
    SELECT $14, c.id, $15, c.base + cardinality($6::uuid[]), $16, $17, $18, {RUNNING}, $19,
           now() + make_interval(secs => $20), $21, $22, $23::jsonb, $24::jsonb, $25, $3, c.version,
           c.attended
    FROM c
"""
_INBOUND = """
    INSERT INTO message (id, conversation_id, turn_id, interaction_id, agent_id, role, from_id,
                         to_id, text, ordinal, version)
    SELECT n.id, c.id, n.turn_id, n.interaction_id, $26, n.role, n.from_id, n.to_id, n.text,
           n.ordinal, c.version
    FROM c, unnest($27::uuid[], $28::uuid[], $29::uuid[], $30::text[], $31::bigint[],
                   $32::bigint[], $33::text[]) WITH ORDINALITY
         AS n (id, turn_id, interaction_id, role, from_id, to_id, text, ordinal)
"""
_STILL_TRUE = still_true("$3", "$4", "$5", request="$22")

# $1 conversation, $2 its title, $34 owner, $35 provider. The first turn of a new conversation.
BEGIN = f"""
    WITH c AS (
        INSERT INTO conversation (id, owner_type, owner_identifier, title, provider_id, model_id,
                                  version, length, root_id)
        SELECT $1, 'user', $34, $2, $35, $15, 1, cardinality($6::uuid[]), $1
        WHERE EXISTS ({_STILL_TRUE})
        RETURNING id, version, 0 AS base, true AS attended, drive
    ), i AS ({_INTERACTIONS}), t AS ({_TURN}), m AS ({_INBOUND})
    SELECT version AS begun_at_version, now() AS begun_at, drive FROM c
"""

# The same for a session; $36 the conversation that it answers, or null, $37 its drive. Nobody waits
# for its turn.
OPEN = f"""
    WITH c AS (
        INSERT INTO conversation (id, owner_type, owner_identifier, title, provider_id, model_id,
                                  drive, version, length, root_id, parent_id)
        SELECT $1, 'session', $34, $2, $35, $15, $37, 1, cardinality($6::uuid[]), $1, $36
        WHERE EXISTS ({_STILL_TRUE})
        RETURNING id, version, 0 AS base, false AS attended, drive
    ), i AS ({_INTERACTIONS}), t AS ({_TURN}), m AS ({_INBOUND})
    SELECT version AS begun_at_version, now() AS begun_at, drive FROM c
"""

# $1 conversation, $2 the version it was found at. The next turn; no row if the conversation has
# moved on meanwhile.
_CONTINUED = f"""
    WITH c AS (
        {RAISE}, length = length + cardinality($6::uuid[]),
               updated_at = now()
        WHERE id = $1 AND version = $2 AND deleted_at IS NULL AND EXISTS ({_STILL_TRUE})
        RETURNING id, version, length - cardinality($6::uuid[]) AS base, true AS attended, drive
    ), i AS ({_INTERACTIONS}), t AS ({_TURN}), m AS ({_INBOUND})
    SELECT c.version AS begun_at_version, now() AS begun_at, c.drive
"""
CONTINUE = f"{_CONTINUED} FROM c"

# The same with the context of the one who answers, $34 rows of it.
CONTINUE_READING = f"""{_CONTINUED}, x.*
    FROM c LEFT JOIN LATERAL ({context(agent="$26", rows="$34")}) x ON true
"""


def copied(column: str, copy: str) -> str:
    """The id that a row has in a copy: made from its old id and the copy's, so that links between
    copied rows need no look-up. Its time, and so its place among UUIDv7s, stays."""
    kept = f"left(replace({column}::text, '-', ''), 17)"
    return f"overlay(md5({column}::text || {copy}::text) PLACING {kept} FROM 1 FOR 17)::uuid"


_SAID = """ordinal, owner_type, owner_identifier, content, file_ids, skill_set_ids, parts,
            provider_id, model_id, errors, silent, marked_as_excluded_at, created_at, updated_at,
            deleted_at, completed_at, edited_at, edited_by_type, edited_by_identifier, outdated,
            version"""
_TURN = """responder, seq, state, attended, attempt, history_hash, request, principal, key_id,
            finish_reason, created_at, updated_at, completed_at, version"""
_HEARD = "agent_id, role, from_id, to_id, text, ordinal, version, created_at"


def copies(source: str, copy: str) -> str:
    """Three parts of a WITH that copy what goes along from one conversation to another: the
    interactions `said`, the turns `kept`, and what agents have heard and said with them. What an
    agent heard first as a turn began that stays behind is not copied: it would stand in another
    order than the first time it was told."""
    return f"""i AS (
        INSERT INTO interaction (id, conversation_id, {_SAID})
        SELECT {copied("id", copy)}, {copy}, {_SAID} FROM said
    ), t AS (
        INSERT INTO turn (id, conversation_id, input_interaction_id, reply_interaction_id,
            system_message_id, {_TURN})
        SELECT {copied("id", copy)}, {copy}, {copied("input_interaction_id", copy)},
            {copied("reply_interaction_id", copy)}, {copied("system_message_id", copy)}, {_TURN}
        FROM kept
    ), m AS (
        INSERT INTO message (id, conversation_id, turn_id, step_id, interaction_id,
            linked_message_id, {_HEARD})
        SELECT {copied("id", copy)}, {copy}, {copied("turn_id", copy)}, step_id,
            {copied("interaction_id", copy)}, {copied("linked_message_id", copy)}, {_HEARD}
        FROM message h WHERE conversation_id = {source}
          AND (turn_id IN (SELECT id FROM kept)
               OR id IN (SELECT system_message_id FROM kept)
               OR (turn_id IS NULL AND interaction_id IN (SELECT id FROM said)
                   AND NOT EXISTS (
                       SELECT FROM message o
                       WHERE o.conversation_id = {source} AND o.agent_id = h.agent_id
                         AND o.version = h.version AND o.turn_id NOT IN (SELECT id FROM kept))))
    )"""


# $1 source, $2 copy, $3 seq of the last turn that goes along, $4 that turn, $5 the copy's root.
# Completed turns go along with what belongs to them. No row if the place is gone.
FORK = f"""
    WITH source AS (
        SELECT * FROM conversation WHERE id = $1 AND deleted_at IS NULL
          AND EXISTS (SELECT FROM turn WHERE id = $4 AND history_hash IS NOT NULL)
    ), c AS (
        INSERT INTO conversation (id, owner_type, owner_identifier, title, provider_id, model_id,
                                  drive, version, length, root_id, parent_id, forked_at_turn)
        SELECT $2, owner_type, owner_identifier, title, provider_id, model_id, drive, version, $3,
               $5, id, $4 FROM source
        RETURNING version
    ), kept AS (
        SELECT * FROM turn
        WHERE conversation_id = (SELECT id FROM source) AND seq <= $3 AND state = {COMPLETED}
    ), said AS (
        SELECT i.* FROM interaction i
        WHERE i.conversation_id = (SELECT id FROM source) AND i.ordinal <= $3 AND {COMPLETED} = (
            SELECT o.state FROM turn o WHERE o.conversation_id = $1 AND o.seq >= i.ordinal
            ORDER BY o.seq LIMIT 1)
    ), {copies("(SELECT id FROM source)", "$2")}
    SELECT c.version, (SELECT {copied("system_message_id", "$2")} FROM kept WHERE id = $4)
                      AS system_message_id
    FROM c
"""
