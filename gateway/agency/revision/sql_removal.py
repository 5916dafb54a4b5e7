"""The statements that delete conversations and interactions, and exclude these.

They run in a transaction that begins with a lock, so that each sees what others have written. Lock
order: conversations by id, then turns. Indexes: interaction_order, turn_order, message_of_turn.
"""

from gateway.conversation.raising import RAISE
from gateway.conversation.rooms.sql_access import standing
from gateway.conversation.rooms.sql_participants import RESPONDER
from gateway.conversation.turn_states import ANY_OPEN, CANCELLED, UNDER_WAY

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

# The request hash of a turn that no retry is given any more. It stays a completion of its caller's:
# what has no such hash was copied.
UNASKED = "sha256(convert_to('unasked ' || turn.id, 'UTF8'))"

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
        UPDATE turn SET {_CANCELLED}, version = raised.version,
               request_hash = CASE WHEN turn.request_hash IS NOT NULL THEN {UNASKED} END
        FROM raised WHERE turn.conversation_id = raised.id AND turn.state IN {ANY_OPEN}
        RETURNING turn.id, turn.conversation_id, turn.reply_interaction_id
    ), ended AS (
        UPDATE turn SET request_hash = {UNASKED}
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

# $1 conversation, $2 user. One that was deleted, or was not.
LOCK_ANY = f"""
    SELECT c.id, c.deleted_at IS NOT NULL AS gone, {standing("c", "$2")} FROM conversation c
    WHERE c.id = $1 AND c.owner_type = 'user' FOR NO KEY UPDATE
"""

# $1 conversation, locked, which was deleted. What was deleted with it comes back; turns that were
# cancelled by that stay so.
RESTORE = f"""
    WITH found AS (SELECT deleted_at FROM conversation WHERE id = $1), raised AS (
        {RAISE}, deleted_at = NULL, updated_at = now() WHERE id = $1 RETURNING id, version
    ), i AS (
        UPDATE interaction SET deleted_at = NULL, updated_at = now(), version = raised.version
        FROM raised, found
        WHERE interaction.conversation_id = raised.id AND interaction.deleted_at = found.deleted_at
    )
    SELECT id, version FROM raised
"""

# $1 interactions, $3 their conversations, locked, $4 who deletes them. A turn is `hit` if one of
# its inputs or its reply is deleted: it is cancelled if it is open, and no retry is given its
# answer. No history that holds what was deleted is recognised any more.
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
          AND p.kind <> 'user' AND p.left_at IS NULL AND {RESPONDER} = later.responder
    ), replies AS (
        SELECT reply_interaction_id AS id FROM cancelled
    ), i AS (
        UPDATE interaction SET updated_at = now(), version = raised.version,
               deleted_at = CASE WHEN interaction.id IN (SELECT id FROM gone)
                                 THEN now() ELSE deleted_at END,
               deleted_by = CASE WHEN interaction.id IN (SELECT id FROM gone)
                                 THEN $4 ELSE deleted_by END,
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
