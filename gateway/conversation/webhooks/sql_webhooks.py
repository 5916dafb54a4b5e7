"""The statements of webhooks. Indexes: webhook_of_user, webhook_delivery_of_webhook,
webhook_delivery_due, webhook_delivery_age."""

from gateway.conversation.rooms.sql_access import answers, keeps, may_read
from gateway.conversation.sql import INTERACTION, TURN

_SHOWN = "id, url, events, conversation_id, agency_id, created_at, disabled_at"

# $1 webhook, $2 user, $3 key, $4 url, $5 events, $6 conversation or null, $7 agency or null, $8
# secret, $9 how many one user may have. No row if they have that many.
CREATE = f"""
    INSERT INTO webhook (id, "user", key_id, url, events, conversation_id, agency_id, secret)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8
    WHERE (SELECT count(*) FROM webhook WHERE "user" = $2) < $9
    RETURNING {_SHOWN}
"""

# $1 user, $2 the last id of the page before, $3 rows.
PAGE = f"""
    SELECT {_SHOWN} FROM webhook WHERE "user" = $1 AND id < $2 ORDER BY id DESC LIMIT $3
"""

# $1 webhook, $2 user.
FIND = f"""SELECT {_SHOWN} FROM webhook WHERE id = $1 AND "user" = $2"""
DELETE = """DELETE FROM webhook WHERE id = $1 AND "user" = $2 RETURNING id"""

_DELIVERY = """
    id, event, attempts, created_at, due_at, delivered_at, failed_at, answered_at, status, answer,
    error
"""

# $1 webhook, $2 the last id of the page before, $3 rows.
DELIVERIES = f"""
    SELECT {_DELIVERY} FROM webhook_delivery WHERE webhook_id = $1 AND id < $2
    ORDER BY id DESC LIMIT $3
"""

# $1 webhook, $2 delivery. It is sent as if for the first time.
AGAIN = f"""
    UPDATE webhook_delivery SET due_at = now(), asked_at = now(), attempts = 0,
           delivered_at = NULL, failed_at = NULL
    WHERE webhook_id = $1 AND id = $2
    RETURNING {_DELIVERY}
"""

# What is told of an event `e` as `told.event` in the conversation `c` to the webhook `w`; `h.hears`
# if its user may hear what agents ask each other.
_DATA = f"""
    SELECT {INTERACTION} AS data FROM interaction i
    WHERE told.event = 'message.created' AND i.deleted_at IS NULL AND NOT i.silent
      AND i.id = CASE e.event WHEN 'turn.completed' THEN (
              SELECT reply_interaction_id FROM turn WHERE id = e.subject_id)
          ELSE e.subject_id END
    UNION ALL
    SELECT {TURN} || CASE WHEN h.hears THEN '{{}}'::jsonb ELSE '{{"awaits": null}}' END
    FROM turn t WHERE told.event LIKE 'turn.%' AND t.id = e.subject_id
    UNION ALL
    SELECT jsonb_build_object(
        'title', c.title, 'invited_by', coalesce(p.invited_by, c.owner_identifier),
        'user', p.identifier)
    FROM participant p
    WHERE e.event = 'participant.invited' AND p.conversation_id = c.id AND p.kind = 'user'
      AND p.identifier = e.name AND p.left_at IS NULL
"""
_EVERYTHING = "(k.scopes && ARRAY['admin', 'act_as'])"

ANY_EVENT = "SELECT FROM webhook_event LIMIT 1"

# $1 rows. Events that no other process looks at, the oldest first.
EVENTS = "SELECT id FROM webhook_event ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"

# $1 events. What is to be told of each as it is now, to each webhook whose user may read it. A turn
# that is completed has made a message, too.
TOLD = f"""
    SELECT w.id AS webhook_id, told.event, e.created_at, c.id AS conversation_id, d.data::text
    FROM webhook_event e
    CROSS JOIN LATERAL (VALUES
        (e.event), (CASE e.event WHEN 'turn.completed' THEN 'message.created' END)
    ) AS told (event)
    JOIN webhook w ON told.event = ANY(w.events) AND w.disabled_at IS NULL
         AND (w.conversation_id IS NULL OR w.conversation_id = e.conversation_id)
    JOIN api_key k ON k.id = w.key_id AND k.revoked_at IS NULL
    JOIN conversation c ON c.id = e.conversation_id AND c.deleted_at IS NULL
    CROSS JOIN LATERAL (
        SELECT {_EVERYTHING} OR {keeps("c", 'w."user"')} AS hears
    ) h
    CROSS JOIN LATERAL ({_DATA}) d
    WHERE e.id = ANY($1::bigint[])
      AND ({may_read("c", 'w."user"', _EVERYTHING)}
           OR (e.event = 'participant.invited' AND e.name = w."user"))
      AND (w.agency_id IS NULL OR {answers("w.agency_id", "c")})
    ORDER BY e.id
"""

# $1 events, $2 deliveries of them: $3 their webhooks, $4 events, $5 bodies.
FAN_OUT = """
    WITH gone AS (
        DELETE FROM webhook_event WHERE id = ANY($1::bigint[])
    )
    INSERT INTO webhook_delivery (id, webhook_id, event, body, due_at)
    SELECT n.id, n.webhook_id, n.event, n.body, now()
    FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[]) AS n (id, webhook_id, event, body)
    JOIN webhook w ON w.id = n.webhook_id
"""

# $1 deliveries at most, $2 those of one webhook at most, $3 webhooks that take no more now, $4
# seconds within which the attempt is over, or its process is lost. Nothing is due any more where
# the key was revoked, or the receiver is gone.
CLAIM = """
    WITH due AS (
        SELECT d.id FROM webhook_delivery d
        WHERE d.due_at <= now() AND d.id IN (
            SELECT id FROM (
                SELECT x.id, x.due_at,
                       row_number() OVER (PARTITION BY x.webhook_id ORDER BY x.due_at) AS place
                FROM webhook_delivery x
                JOIN webhook w ON w.id = x.webhook_id AND w.disabled_at IS NULL
                JOIN api_key k ON k.id = w.key_id AND k.revoked_at IS NULL
                WHERE x.due_at <= now() AND x.webhook_id <> ALL($3::uuid[])
            ) first WHERE place <= $2 ORDER BY due_at LIMIT $1)
        FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE webhook_delivery d
    SET due_at = now() + make_interval(secs => $4), attempts = d.attempts + 1
    FROM due, webhook w
    WHERE d.id = due.id AND w.id = d.webhook_id
    RETURNING d.id, d.webhook_id, d.body, d.attempts, w.url, w.secret,
              extract(epoch FROM now() - d.asked_at)::float8 AS age
"""

# $1 delivery, $2 the attempt that this is about, $3 status or null, $4 how the answer begins, $5
# what went wrong or null, $6 seconds until the next attempt; null if there is none. Nothing if it
# was asked for again meanwhile.
ATTEMPTED = """
    UPDATE webhook_delivery
    SET answered_at = now(), status = $3, answer = $4, error = $5,
        due_at = now() + make_interval(secs => $6),
        delivered_at = CASE WHEN $5::text IS NULL THEN now() END,
        failed_at = CASE WHEN $5::text IS NOT NULL AND $6::float8 IS NULL THEN now() END
    WHERE id = $1 AND attempts = $2 AND due_at IS NOT NULL
"""

# $1 webhook, whose receiver is gone for good.
DISABLE = "UPDATE webhook SET disabled_at = now() WHERE id = $1"

# $1 days.
PRUNE = "DELETE FROM webhook_delivery WHERE created_at < now() - make_interval(days => $1)"
