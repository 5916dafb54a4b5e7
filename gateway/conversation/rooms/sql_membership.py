"""The statements of membership: who comes into a conversation, who goes, and what they may do.

They run in one transaction that begins with LOCK and gives the conversation its rows (ENROL), so
that each sees what others have written.
"""

from gateway.conversation.raising import RAISE
from gateway.conversation.rooms.sql_access import standing
from gateway.conversation.rooms.sql_participants import PARTICIPANT
from gateway.conversation.turn_states import ANY_OPEN

# $1 conversation, $2 user. What the caller is in it, and who owns it. No row if it is not there.
LOCK = f"""
    SELECT c.owner_identifier AS owner, {standing("c", "$2")} FROM conversation c
    WHERE c.id = $1 AND c.owner_type = 'user' AND c.deleted_at IS NULL FOR NO KEY UPDATE OF c
"""

# $1 conversation, $2 kind, $3 identifier. One who is in it, or invited to it.
ONE = f"""
    SELECT ({PARTICIPANT})::text AS body, p.joined_at IS NOT NULL AS joined
    FROM participant p JOIN conversation c ON c.id = p.conversation_id
    WHERE p.conversation_id = $1 AND p.kind = $2 AND p.identifier = $3 AND p.left_at IS NULL
"""

# $1 conversation. How many are in it, or invited to it.
COUNT = """
    SELECT count(*) AS there FROM participant WHERE conversation_id = $1 AND left_at IS NULL
"""

# $1 conversation, $2 kind, $3 identifier, $4 whether they join at once, $5 who invited them. They
# are not in it now; who was in it before comes back without rights.
INVITE = f"""
    WITH raised AS ({RAISE} WHERE id = $1 RETURNING version), p AS (
        INSERT INTO participant AS p (conversation_id, kind, identifier, ordinal, status,
                                      invited_at, invited_by, joined_at, version)
        SELECT $1, $2, $3,
               (SELECT coalesce(max(ordinal), -1) + 1 FROM participant WHERE conversation_id = $1),
               CASE WHEN $4 THEN 'idle' ELSE 'offline' END, now(), $5, CASE WHEN $4 THEN now() END,
               raised.version
        FROM raised
        ON CONFLICT (conversation_id, kind, identifier) DO UPDATE
        SET ordinal = excluded.ordinal, status = excluded.status, status_until = NULL,
            invited_at = excluded.invited_at, invited_by = excluded.invited_by,
            joined_at = excluded.joined_at, left_at = NULL, drive = 'auto',
            version = excluded.version
    )
    SELECT version FROM raised
"""

# $1 conversation, $2 user, who is invited, $3 seconds that they are taken to be there.
JOIN = f"""
    WITH raised AS ({RAISE} WHERE id = $1 RETURNING version), p AS (
        UPDATE participant SET joined_at = now(), status = 'idle', version = raised.version,
               away = false, present_until = now() + make_interval(secs => $3)
        FROM raised WHERE conversation_id = $1 AND kind = 'user' AND identifier = $2
    )
    SELECT version FROM raised
"""

# $1 conversation, $2 kind, $3 identifier, who is in it or invited. Rights go with their holder.
LEAVE = f"""
    WITH raised AS ({RAISE} WHERE id = $1 RETURNING version), p AS (
        UPDATE participant SET left_at = now(), status = 'offline', status_until = NULL,
               present_until = NULL,
               version = raised.version
        FROM raised WHERE conversation_id = $1 AND kind = $2 AND identifier = $3
    ), r AS (
        DELETE FROM participant_right WHERE conversation_id = $1 AND kind = $2 AND identifier = $3
    )
    SELECT version FROM raised
"""

# $1 conversation, $2 kind, $3 identifier of a bot, $4 who drives it. No row if it is so already.
SET_DRIVE = f"""
    WITH raised AS (
        {RAISE} WHERE id = $1 AND EXISTS (
            SELECT FROM participant WHERE conversation_id = $1 AND kind = $2 AND identifier = $3
              AND left_at IS NULL AND drive <> $4)
        RETURNING version
    ), p AS (
        UPDATE participant SET drive = $4, version = raised.version
        FROM raised WHERE conversation_id = $1 AND kind = $2 AND identifier = $3
    )
    SELECT version FROM raised
"""

# $1 conversation, $2 user, who is in it or invited, $3 rights. No row if they hold them already.
GRANT = f"""
    WITH lacking AS (
        SELECT n."right" FROM unnest($3::text[]) AS n ("right")
        WHERE NOT EXISTS (SELECT FROM participant_right r WHERE r.conversation_id = $1
                          AND r.kind = 'user' AND r.identifier = $2 AND r."right" = n."right")
    ), raised AS (
        {RAISE} WHERE id = $1 AND EXISTS (SELECT FROM lacking) RETURNING version
    ), p AS (
        UPDATE participant SET version = raised.version FROM raised
        WHERE conversation_id = $1 AND kind = 'user' AND identifier = $2
    ), r AS (
        INSERT INTO participant_right (conversation_id, kind, identifier, "right")
        SELECT $1, 'user', $2, lacking."right" FROM lacking
    )
    SELECT version FROM raised
"""

# $1 conversation, $2 user, $3 right. No row if they do not hold it.
REVOKE = f"""
    WITH held AS (
        DELETE FROM participant_right
        WHERE conversation_id = $1 AND kind = 'user' AND identifier = $2 AND "right" = $3
        RETURNING identifier
    ), raised AS (
        {RAISE} WHERE id = $1 AND EXISTS (SELECT FROM held) RETURNING version
    ), p AS (
        UPDATE participant SET version = raised.version FROM raised
        WHERE conversation_id = $1 AND kind = 'user' AND identifier = $2
    )
    SELECT version FROM raised
"""

# $1 conversation, $2 the owner, $3 a user who has joined: the next owner.
HAND_OVER = f"""
    WITH raised AS (
        {RAISE}, owner_identifier = $3, updated_at = now()
        WHERE id = $1 RETURNING version
    ), p AS (
        UPDATE participant SET version = raised.version FROM raised
        WHERE conversation_id = $1 AND kind = 'user' AND identifier IN ($2, $3)
    )
    SELECT version FROM raised
"""

# $1 conversation, $2 a responder. Its turns that have not ended.
TURNS = f"""
    SELECT id FROM turn WHERE conversation_id = $1 AND responder = $2 AND state IN {ANY_OPEN}
"""

# $1 user, $2 the last conversation of the page before, $3 rows. Newest conversation first. Index:
# participant_of_user.
INVITATIONS = """
    SELECT c.id, c.title, coalesce(p.invited_by, c.owner_identifier) AS invited_by, p.invited_at
    FROM participant p JOIN conversation c ON c.id = p.conversation_id AND c.deleted_at IS NULL
    WHERE p.kind = 'user' AND p.identifier = $1 AND p.left_at IS NULL AND p.joined_at IS NULL
      AND p.conversation_id < $2
    ORDER BY p.conversation_id DESC LIMIT $3
"""
