"""The statements of the conversation store.

Changes run in a transaction that begins with a lock, so that each sees what others have written.
Lock order: conversations by id, then turns. Indexes: conversation_of_owner, interaction_order,
turn_order, message_of_turn.
"""

from gateway.conversation.raising import RAISE
from gateway.conversation.rooms.sql_access import may_read, standing
from gateway.conversation.rooms.sql_participants import RESPONDER
from gateway.conversation.turn_states import ANY_OPEN, CANCELLED, UNDER_WAY
from gateway.names import DEFAULT_PROVIDER

CONVERSATION = f"""c.id, c.owner_identifier, coalesce(c.provider_id, '{DEFAULT_PROVIDER}'),
           coalesce(c.model_id, ''), c.title, c.created_at, c.updated_at, c.deleted_at"""
# Those of a row are null where its conversation's hold.
_INTERACTION = """i.id, i.conversation_id, i.file_ids, i.skill_set_ids, i.marked_as_excluded_at,
           i.content, i.errors, i.owner_type, i.owner_identifier, i.provider_id, i.model_id,
           i.created_at, i.updated_at, i.deleted_at, i.completed_at"""
# $1 conversation, $2 owner, $3 provider, $4 model.
CREATE = f"""
    INSERT INTO conversation AS c (id, owner_type, owner_identifier, provider_id, model_id,
                                   version, length, root_id)
    VALUES ($1, 'user', $2, $3, $4, 1, 0, $1) RETURNING {CONVERSATION}
"""

# $1 conversation, $2 user, $3 whether they may read everything.
ONE = f"""
    SELECT {CONVERSATION} FROM conversation c
    WHERE c.id = $1 AND c.deleted_at IS NULL AND {may_read("c", "$2", "$3")}
"""

# $1 the last id of the page before, $2 owner, $3 rows or null for all.
PAGE = f"""
    SELECT {CONVERSATION} FROM conversation c
    WHERE c.owner_type = 'user' AND c.owner_identifier = $2 AND c.deleted_at IS NULL AND c.id > $1
    ORDER BY c.id LIMIT $3
"""

# $1 conversations.
INTERACTIONS = f"""
    SELECT {_INTERACTION} FROM interaction i
    WHERE i.conversation_id = ANY($1::uuid[]) AND i.deleted_at IS NULL AND NOT i.silent
    ORDER BY i.conversation_id, i.ordinal
"""

# $1 interactions, deleted or not.
THESE = f"SELECT {_INTERACTION} FROM interaction i WHERE i.id = ANY($1::uuid[])"

# $1 conversations, $2 user.
LOCK = f"""
    SELECT c.id, {standing("c", "$2")} FROM conversation c
    WHERE c.id = ANY($1::uuid[]) AND c.deleted_at IS NULL
    ORDER BY c.id FOR NO KEY UPDATE
"""

# $1 interactions, $2 user: their conversations.
LOCK_AROUND = f"""
    SELECT c.id, {standing("c", "$2")} FROM conversation c
    WHERE c.id IN (SELECT conversation_id FROM interaction WHERE id = ANY($1::uuid[]))
      AND c.deleted_at IS NULL
    ORDER BY c.id FOR NO KEY UPDATE
"""

# What a turn is that was cancelled, and its reply; $2 says why.
_CANCELLED = f"""state = {CANCELLED}, error = $2::jsonb, fence = fence + 1, lease_until = NULL,
               completed_at = now(), updated_at = now()"""
_WHY = "jsonb_build_array($2::jsonb)"

# $1 conversations, locked. No retry is given an answer that was deleted.
DELETE = f"""
    WITH raised AS (
        {RAISE}, deleted_at = now(), updated_at = now()
        WHERE id = ANY($1::uuid[]) RETURNING id, version
    ), t AS (
        UPDATE turn SET {_CANCELLED}, request_hash = NULL, version = raised.version
        FROM raised WHERE turn.conversation_id = raised.id AND turn.state IN {ANY_OPEN}
        RETURNING turn.id, turn.conversation_id, turn.reply_interaction_id
    ), ended AS (
        UPDATE turn SET request_hash = NULL
        FROM raised WHERE turn.conversation_id = raised.id AND turn.state NOT IN {ANY_OPEN}
          AND turn.request_hash IS NOT NULL
    ), i AS (
        UPDATE interaction SET deleted_at = now(), updated_at = now(), version = raised.version,
               completed_at = coalesce(completed_at, now()),
               errors = CASE WHEN interaction.id IN (SELECT reply_interaction_id FROM t)
                             THEN {_WHY} ELSE errors END
        FROM raised
        WHERE interaction.conversation_id = raised.id AND interaction.deleted_at IS NULL
    )
    SELECT raised.id, raised.version,
           ARRAY(SELECT id FROM t WHERE t.conversation_id = raised.id) AS cancelled
    FROM raised
"""

# $1 interactions, $3 their conversations, locked. A turn is `hit` if one of its inputs or its reply
# is deleted: it is cancelled if it is open, and no retry is given its answer. No history that holds
# what was deleted is recognised any more.
DELETE_INTERACTIONS = f"""
    WITH gone AS (
        SELECT id, conversation_id, ordinal FROM interaction
        WHERE id = ANY($1::uuid[]) AND conversation_id = ANY($3::uuid[]) AND deleted_at IS NULL
    ), raised AS (
        {RAISE}, updated_at = now()
        WHERE id IN (SELECT conversation_id FROM gone) RETURNING id, version
    ), later AS (
        SELECT t.id, t.conversation_id, t.state IN {ANY_OPEN} AS open, t.reply_interaction_id,
               t.state IN {UNDER_WAY} AS worked, t.responder, raised.version,
               t.input_interaction_id = ANY($1) OR t.reply_interaction_id = ANY($1) OR EXISTS (
                   SELECT FROM message m WHERE m.turn_id = t.id AND m.interaction_id = ANY($1)
               ) AS hit
        FROM raised
        JOIN turn t ON t.conversation_id = raised.id AND t.seq >= (
            SELECT min(ordinal) FROM gone WHERE gone.conversation_id = raised.id)
    ), cancelled AS (
        UPDATE turn SET {_CANCELLED}, history_hash = NULL, request_hash = NULL,
               version = later.version
        FROM later WHERE turn.id = later.id AND later.hit AND later.open
        RETURNING turn.id, turn.conversation_id, turn.reply_interaction_id
    ), forgotten AS (
        UPDATE turn SET history_hash = NULL,
               request_hash = CASE WHEN NOT later.hit THEN turn.request_hash END
        FROM later WHERE turn.id = later.id AND NOT (later.hit AND later.open)
    ), p AS (
        UPDATE participant p SET status = 'idle', version = later.version
        FROM later
        WHERE later.hit AND later.worked AND p.conversation_id = later.conversation_id
          AND p.kind <> 'user' AND {RESPONDER} = later.responder
    ), replies AS (
        SELECT reply_interaction_id AS id FROM cancelled
    ), i AS (
        UPDATE interaction SET updated_at = now(), version = raised.version,
               deleted_at = CASE WHEN interaction.id IN (SELECT id FROM gone)
                                 THEN now() ELSE deleted_at END,
               completed_at = coalesce(completed_at, now()),
               errors = CASE WHEN interaction.id IN (SELECT id FROM replies)
                             THEN {_WHY} ELSE errors END,
               silent = silent AND interaction.id NOT IN (SELECT id FROM replies)
        FROM raised
        WHERE interaction.conversation_id = raised.id
          AND interaction.id IN (SELECT id FROM gone UNION ALL SELECT id FROM replies)
    )
    SELECT raised.id, raised.version,
           ARRAY(SELECT id FROM gone WHERE gone.conversation_id = raised.id) AS gone,
           ARRAY(SELECT id FROM cancelled c WHERE c.conversation_id = raised.id) AS cancelled
    FROM raised
"""

# $1 interaction, $2 whether it is to be excluded, $3 conversations, locked. No row if there is no
# such interaction; no version if it is so already. No history that holds what was excluded is
# recognised any more: the answers after it knew of it.
EXCLUDE = f"""
    WITH found AS (
        SELECT id, conversation_id, ordinal, (marked_as_excluded_at IS NOT NULL) <> $2 AS changes
        FROM interaction
        WHERE id = $1 AND conversation_id = ANY($3::uuid[]) AND deleted_at IS NULL
    ), raised AS (
        {RAISE}, updated_at = now()
        WHERE id = (SELECT conversation_id FROM found WHERE changes) RETURNING id, version
    ), i AS (
        UPDATE interaction SET marked_as_excluded_at = CASE WHEN $2 THEN now() END,
               updated_at = now(), version = raised.version
        FROM raised WHERE interaction.id = $1
    ), t AS (
        UPDATE turn SET history_hash = NULL
        FROM found, raised WHERE $2 AND turn.conversation_id = raised.id
          AND turn.seq >= found.ordinal
    )
    SELECT found.conversation_id AS id, raised.version FROM found LEFT JOIN raised ON true
"""

# $1 skill sets. Whose they are, for a caller who may act as anybody.
SKILL_SET_OWNERS = """
    SELECT id, owner_identifier FROM skill_set
    WHERE id = ANY($1::uuid[]) AND owner_type = 'user' AND deleted_at IS NULL
"""
