"""The statements that edit and restore messages, and tell what they said before.

They run in a transaction that begins with LOCK, so that each sees what others have written.
Indexes: interaction_order, turn_order, message_of_turn.
"""

from gateway.agency.revision.sql_removal import UNASKED
from gateway.conversation.raising import RAISE
from gateway.conversation.rooms.sql_access import standing
from gateway.conversation.sql import INTERACTION
from gateway.conversation.turn_states import QUEUED

# $1 conversation, $2 user.
LOCK = f"""
    SELECT {standing("c", "$2")} FROM conversation c
    WHERE c.id = $1 AND c.owner_type = 'user' AND c.deleted_at IS NULL FOR NO KEY UPDATE OF c
"""

# $1 conversation, $2 message. It may have been deleted.
FOUND = f"""
    SELECT i.owner_type, i.owner_identifier, i.version, i.completed_at IS NOT NULL AS complete,
           i.deleted_at IS NOT NULL AS deleted, i.deleted_by, i.parts, ({INTERACTION})::text AS body
    FROM interaction i WHERE i.id = $2 AND i.conversation_id = $1 AND NOT i.silent
"""

# $1 conversation, $2 message, both locked, $3 its new content, $4 and $5 who wrote that, $6 its new
# parts. Replies to it that were begun are outdated. No history that holds the old words is
# recognised any more, and no retry is given an answer to them.
EDIT = f"""
    WITH raised AS (
        {RAISE}, updated_at = now() WHERE id = $1 RETURNING version
    ), before AS (
        SELECT * FROM interaction WHERE id = $2
    ), kept AS (
        INSERT INTO interaction_edit (interaction_id, version, owner_type, owner_identifier,
                                      content, written_at)
        SELECT id, version, coalesce(edited_by_type, owner_type),
               coalesce(edited_by_identifier, owner_identifier), content,
               coalesce(edited_at, created_at)
        FROM before
    ), t AS (
        UPDATE turn SET history_hash = NULL,
               request_hash = CASE WHEN $2 IN (input_interaction_id, reply_interaction_id)
                                     AND request_hash IS NOT NULL
                                   THEN {UNASKED} ELSE request_hash END
        FROM before WHERE turn.conversation_id = $1 AND turn.seq >= before.ordinal
    ), replies AS (
        SELECT t.reply_interaction_id AS id FROM turn t
        WHERE t.conversation_id = $1 AND t.seq > (SELECT ordinal FROM before)
          AND t.state <> {QUEUED}
          AND (t.input_interaction_id = $2 OR EXISTS (
              SELECT FROM message m WHERE m.turn_id = t.id AND m.role = 'user'
                AND m.interaction_id = $2))
    ), i AS (
        UPDATE interaction SET
            content = CASE WHEN id = $2 THEN $3 ELSE content END,
            parts = CASE WHEN id = $2 THEN $6::jsonb ELSE parts END,
            edited_at = CASE WHEN id = $2 THEN now() ELSE edited_at END,
            edited_by_type = CASE WHEN id = $2 THEN $4 ELSE edited_by_type END,
            edited_by_identifier = CASE WHEN id = $2 THEN $5 ELSE edited_by_identifier END,
            outdated = id <> $2, updated_at = now(), version = raised.version
        FROM raised
        WHERE conversation_id = $1 AND (
            id = $2 OR (id IN (SELECT id FROM replies) AND deleted_at IS NULL AND NOT outdated))
    )
    SELECT version FROM raised
"""

# $1 conversation, $2 message, both locked. It comes back as it was.
RESTORE = f"""
    WITH raised AS (
        {RAISE}, updated_at = now() WHERE id = $1 RETURNING version
    ), i AS (
        UPDATE interaction SET deleted_at = NULL, deleted_by = NULL, updated_at = now(),
               version = raised.version
        FROM raised WHERE id = $2
    )
    SELECT version FROM raised
"""

# $1 message. What it said, oldest first, and what it says now.
HISTORY = """
    SELECT version, owner_type, owner_identifier, content, written_at
    FROM interaction_edit WHERE interaction_id = $1
    UNION ALL
    SELECT version, coalesce(edited_by_type, owner_type),
           coalesce(edited_by_identifier, owner_identifier), content,
           coalesce(edited_at, created_at)
    FROM interaction WHERE id = $1
    ORDER BY version
"""
