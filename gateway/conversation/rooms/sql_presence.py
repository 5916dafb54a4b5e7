"""The statements about who is there, and what ends because nobody has said it again.

Those that see to many conversations at once pass over what others have locked: the next round finds
it. Indexes: participant_of_user, participant_present, participant_status.
"""

from gateway.conversation.raising import RAISE

# $1 conversations and $2 keys of those who follow them, $3 seconds that they are taken to be there,
# $4 seconds that must be left of what is stored.
SEEN = """
    WITH due AS (
        SELECT p.conversation_id, p.identifier
        FROM participant p
        WHERE p.kind = 'user' AND p.joined_at IS NOT NULL AND p.left_at IS NULL AND NOT p.away
          AND (p.conversation_id, p.identifier) IN (
              SELECT r.conversation_id, k."user"
              FROM unnest($1::uuid[], $2::text[]) AS r (conversation_id, key_id)
              JOIN api_key k ON k.id = r.key_id)
          AND coalesce(p.present_until < now() + make_interval(secs => $4), true)
        FOR NO KEY UPDATE SKIP LOCKED
    ), p AS (
        UPDATE participant SET present_until = now() + make_interval(secs => $3)
        FROM due
        WHERE participant.conversation_id = due.conversation_id AND participant.kind = 'user'
          AND participant.identifier = due.identifier
        RETURNING participant.conversation_id, participant.status
    )
    SELECT DISTINCT conversation_id FROM p WHERE status = 'offline'
"""

# $1 conversations in which somebody has come back.
BACK = f"""
    WITH those AS (
        SELECT id FROM conversation c
        WHERE id = ANY($1::uuid[]) AND deleted_at IS NULL AND EXISTS (
            SELECT FROM participant p WHERE p.conversation_id = c.id AND p.status = 'offline'
              AND NOT p.away AND p.present_until > now())
        ORDER BY id FOR NO KEY UPDATE
    ), raised AS (
        {RAISE} WHERE id IN (SELECT id FROM those) RETURNING id, version
    ), p AS (
        UPDATE participant SET status = 'idle', version = raised.version
        FROM raised
        WHERE participant.conversation_id = raised.id AND participant.status = 'offline'
          AND NOT participant.away AND participant.present_until > now()
    )
    SELECT id, version FROM raised
"""

# Of a participant: a status that nobody has said again, and an idle one who is no longer there.
_LAPSED = "participant.status_until < now()"
_GONE = """(participant.present_until < now() AND participant.kind = 'user'
            AND participant.status = 'idle')"""

# $1 conversations at most.
SWEEP = f"""
    WITH over AS (
        SELECT id FROM conversation
        WHERE id IN (
            (SELECT conversation_id FROM participant WHERE {_LAPSED}
             ORDER BY status_until LIMIT $1)
            UNION ALL
            (SELECT conversation_id FROM participant WHERE {_GONE}
             ORDER BY present_until LIMIT $1))
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ), raised AS (
        {RAISE} WHERE id IN (SELECT id FROM over)
        RETURNING id, version
    ), p AS (
        UPDATE participant
        SET status = CASE WHEN kind = 'user' AND present_until < now() THEN 'offline'
                     ELSE 'idle' END,
            status_until = NULL, version = raised.version,
            present_until = CASE WHEN present_until > now() THEN present_until END
        FROM raised
        WHERE participant.conversation_id = raised.id AND ({_LAPSED} OR {_GONE})
    )
    SELECT id, version FROM raised
"""
