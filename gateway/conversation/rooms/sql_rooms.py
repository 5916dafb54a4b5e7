"""The statements of the Conversation API. What they show is shaped as channels show it."""

from gateway.conversation.raising import RAISE
from gateway.conversation.sql import CONVERSATION, INTERACTION

# $1 conversation, $2 owner, $3 title or null, $4 drive, $5 to $7 participants: kinds, identifiers,
# whether they have joined. $8 and $9 rights: users, and a right of each. $10 seconds that who
# has joined is taken to be there.
CREATE = """
    WITH c AS (
        INSERT INTO conversation (id, owner_type, owner_identifier, title, drive, version, length,
                                  root_id)
        VALUES ($1, 'user', $2, $3, $4, 1, 0, $1) RETURNING id, version
    ), p AS (
        INSERT INTO participant (conversation_id, kind, identifier, ordinal, status, joined_at,
                                 present_until, version)
        SELECT c.id, n.kind, n.identifier, n.ordinal - 1,
               CASE WHEN n.joined THEN 'idle' ELSE 'offline' END,
               CASE WHEN n.joined THEN now() END,
               CASE WHEN n.joined AND n.kind = 'user'
                    THEN now() + make_interval(secs => $10) END, c.version
        FROM c, unnest($5::text[], $6::text[], $7::bool[]) WITH ORDINALITY
             AS n (kind, identifier, joined, ordinal)
    )
    INSERT INTO participant_right (conversation_id, kind, identifier, "right")
    SELECT c.id, 'user', n.identifier, n."right"
    FROM c, unnest($8::text[], $9::text[]) AS n (identifier, "right")
"""

# $1 conversation.
ONE = f"""
    SELECT ({CONVERSATION})::text AS body FROM conversation c
    WHERE c.id = $1 AND c.deleted_at IS NULL
"""

# $1 conversation, $2 title or null. No row if it has that already.
ENTITLE = f"""
    {RAISE}, title = $2, updated_at = now()
    WHERE id = $1 AND deleted_at IS NULL AND title IS DISTINCT FROM $2
    RETURNING version
"""

# $1 conversation, $2 the last message of the page before or null, $3 rows. Newest first.
MESSAGES = f"""
    SELECT i.id, ({INTERACTION})::text AS body FROM interaction i
    WHERE i.conversation_id = $1 AND i.deleted_at IS NULL AND NOT i.silent
      AND ($2::uuid IS NULL OR i.ordinal < (
          SELECT ordinal FROM interaction WHERE id = $2 AND conversation_id = $1))
    ORDER BY i.ordinal DESC LIMIT $3
"""

# $1 conversation, $2 a message of it, $3 rows, $4 whether that message is one of them. Oldest
# first.
NEWER = f"""
    SELECT i.id, ({INTERACTION})::text AS body FROM interaction i
    WHERE i.conversation_id = $1 AND i.deleted_at IS NULL AND NOT i.silent
      AND i.ordinal + CASE WHEN $4 THEN 1 ELSE 0 END > (
          SELECT ordinal FROM interaction WHERE id = $2 AND conversation_id = $1)
    ORDER BY i.ordinal LIMIT $3
"""

# $1 message.
MESSAGE = f"SELECT ({INTERACTION})::text AS body FROM interaction i WHERE i.id = $1"
