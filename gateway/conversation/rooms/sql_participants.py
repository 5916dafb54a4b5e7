"""The statements about who is in a conversation. Rows are found by the primary key's beginning.

A conversation of another door has no rows: whoever owns it and its default responder are its
participants, until this door is used to change something in it. Only what has rows has statuses.
"""

import json

from gateway.conversation.raising import RAISE
from gateway.conversation.rooms.rights import Right
from gateway.conversation.rooms.sql_access import standing

# Of `p`: what turns call a bot.
RESPONDER = "CASE p.kind WHEN 'model' THEN p.identifier ELSE p.kind || '/' || p.identifier END"


def becomes(status: str, *, version: str, beside: str, of: str) -> str:
    """A statement that gives the bot which responds in the turn `of` another status. It stands
    `beside` others in one statement, and gets the `version` of that. It does nothing if the bot is
    no participant."""
    return f"""
        UPDATE participant p SET status = {status}, status_until = NULL, version = {version}
        FROM {beside}, turn
        WHERE turn.id = {of} AND p.conversation_id = turn.conversation_id AND p.kind <> 'user'
          AND p.left_at IS NULL AND {RESPONDER} = turn.responder AND p.status <> {status}"""


# Of the turn `t`: what its responder is seen to do. Null for one that is no participant.
SHOWN = f"""(SELECT p.status FROM participant p
            WHERE p.conversation_id = t.conversation_id AND p.kind <> 'user'
              AND p.left_at IS NULL AND {RESPONDER} = t.responder)"""

ALL_RIGHTS = f"'{json.dumps(sorted(Right))}'::jsonb"

# Of `p`, in the conversation `c`. Its owner may do everything.
PARTICIPANT = f"""
    jsonb_build_object(
        'kind', p.kind, 'identifier', p.identifier, 'status', p.status, 'drive', p.drive,
        'rights', CASE WHEN (p.kind, p.identifier) = (c.owner_type, c.owner_identifier)
            THEN {ALL_RIGHTS} ELSE coalesce((
                SELECT jsonb_agg(r."right" ORDER BY r."right") FROM participant_right r
                WHERE (r.conversation_id, r.kind, r.identifier)
                    = (p.conversation_id, p.kind, p.identifier)), '[]') END,
        'invited_at', p.invited_at, 'joined_at', p.joined_at, 'left_at', p.left_at,
        'version', p.version)
"""

# Of a conversation `c` without rows: who is in it all the same.
IMPLIED = """
    SELECT c.id AS conversation_id, n.kind, n.identifier, n.ordinal, 'idle' AS status,
           'auto' AS drive,
           c.created_at AS invited_at, c.created_at AS joined_at, NULL::timestamptz AS left_at,
           1::bigint AS version
    FROM (SELECT c.model_id ~ '^(agency|agent)/[0-9]+$' AS numbered) m, LATERAL (VALUES
        (0, c.owner_type, c.owner_identifier),
        (1, CASE WHEN m.numbered THEN split_part(c.model_id, '/', 1) ELSE 'model' END,
            CASE WHEN m.numbered THEN split_part(c.model_id, '/', 2) ELSE c.model_id END)
    ) AS n (ordinal, kind, identifier)
    WHERE n.identifier <> ''
      AND NOT EXISTS (SELECT FROM participant x WHERE x.conversation_id = c.id)
"""

# Of a conversation `c`: all its participants, as a JSON list.
PARTICIPANTS = f"""
    SELECT coalesce(jsonb_agg({PARTICIPANT} ORDER BY p.ordinal), '[]'::jsonb) FROM (
        SELECT conversation_id, kind, identifier, ordinal, status, drive, invited_at, joined_at,
               left_at, version
        FROM participant WHERE conversation_id = c.id
        UNION ALL {IMPLIED}
    ) p
"""

# $1 conversation, $2 user. No row if there is no such conversation.
STANDING = f"""
    SELECT {standing("c", "$2")} FROM conversation c WHERE c.id = $1 AND c.deleted_at IS NULL
"""

# $1 conversation. Gives one of another door its rows. No row if it has them.
ENROL = f"""
    WITH c AS (
        {RAISE}
        WHERE id = $1 AND NOT EXISTS (SELECT FROM participant WHERE conversation_id = $1)
        RETURNING *
    ), p AS (
        INSERT INTO participant (conversation_id, kind, identifier, ordinal, status, invited_at,
                                 joined_at, version)
        SELECT n.conversation_id, n.kind, n.identifier, n.ordinal, n.status, n.invited_at,
               n.joined_at, c.version
        FROM c CROSS JOIN LATERAL ({IMPLIED}) n
    )
    SELECT version FROM c
"""

# $1 conversation.
OWNER = "SELECT owner_identifier FROM conversation WHERE id = $1"

# $1 conversation. Those who may answer in it, in order.
BOTS = """
    SELECT kind, identifier FROM participant
    WHERE conversation_id = $1 AND kind <> 'user' AND joined_at IS NOT NULL AND left_at IS NULL
    ORDER BY ordinal
"""

# $1 conversation, $2 kind, $3 identifier of a bot, $4 user, who may own its agency. No row if the
# bot is not in the conversation.
OWNED = """
    SELECT a.owner IS NOT DISTINCT FROM $4 AS owned
    FROM participant p
    LEFT JOIN agent g ON p.kind = 'agent' AND p.identifier = g.id::text AND g.deleted_at IS NULL
    LEFT JOIN agency a ON a.id = g.agency_id AND a.deleted_at IS NULL
         OR p.kind = 'agency' AND p.identifier = a.id::text AND a.deleted_at IS NULL
    WHERE p.conversation_id = $1 AND p.kind = $2 AND p.identifier = $3
      AND p.joined_at IS NOT NULL AND p.left_at IS NULL
"""

# $1 conversation, locked, $2 kind, $3 identifier, $4 status, $5 seconds that it lasts or null for
# ever, $6 seconds that who says it is taken to be there. Saying the same again makes no version. No
# row if they are not in it.
SET_STATUS = f"""
    WITH found AS (
        SELECT * FROM participant
        WHERE conversation_id = $1 AND kind = $2 AND identifier = $3 AND left_at IS NULL
    ), raised AS (
        {RAISE}
        WHERE id = $1 AND EXISTS (SELECT FROM found WHERE status <> $4)
        RETURNING version
    ), p AS (
        UPDATE participant SET status = $4, status_until = now() + make_interval(secs => $5),
               away = $4 = 'offline',
               present_until = CASE WHEN $4 <> 'offline' AND participant.kind = 'user'
                   THEN greatest(participant.present_until, now() + make_interval(secs => $6)) END,
               version = coalesce((SELECT version FROM raised), found.version)
        FROM found WHERE (participant.conversation_id, participant.kind, participant.identifier)
            = (found.conversation_id, found.kind, found.identifier)
        RETURNING participant.*
    )
    SELECT ({PARTICIPANT})::text AS body, (SELECT version FROM raised) AS version
    FROM p JOIN conversation c ON c.id = p.conversation_id
"""
