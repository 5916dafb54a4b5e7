"""The statements that read what was said. Each starts from what the caller may read.

`conversation.rooms.rights` says who may read a conversation; what the agents say among themselves
is for the owner of their agency, and for admins. What was deleted is left out.
"""

from gateway.conversation.rooms.sql_access import AGENCY_OF_TURN, may_read, owns

# $1 caller, $2 responder, $3 the last conversation of the page before, $4 rows. Newest first, by
# the index conversation_of_owner.
CONVERSATIONS = """
    SELECT id, title, version, parent_id, created_at, updated_at
    FROM conversation
    WHERE owner_type = 'user' AND owner_identifier = $1 AND model_id = $2 AND deleted_at IS NULL
      AND id < $3
    ORDER BY id DESC LIMIT $4
"""

# $1 conversation, $2 agency, $3 caller, $4 whether the caller may see the inside of the agency,
# $5 agent or null, $6 version and $7 ordinal of the page before, $8 rows. No row if the caller may
# not know of the conversation; one empty row if there is nothing to show.
# $9 whether the caller may read everything.
#
# Agents are found by hopping through the index message_context, and each is read in its order: a
# page costs the same wherever it lies.
MESSAGES = f"""
    WITH RECURSIVE room AS (
        SELECT c.id FROM conversation c
        WHERE c.id = $1 AND c.deleted_at IS NULL
          AND {may_read("c", "$3", "($4 OR $9)")}
          AND EXISTS (SELECT FROM turn t WHERE t.conversation_id = c.id AND (
                      t.responder = 'agency/' || $2::bigint
                      OR t.responder IN (SELECT 'agent/' || id FROM agent WHERE agency_id = $2)))
    ), heard AS (
        SELECT min(agent_id) AS id FROM message WHERE conversation_id = $1
        UNION ALL
        SELECT (SELECT min(agent_id) FROM message
                WHERE conversation_id = $1 AND agent_id > heard.id)
        FROM heard WHERE heard.id IS NOT NULL
    )
    SELECT page.* FROM room LEFT JOIN LATERAL (
        SELECT said.*
        FROM heard CROSS JOIN LATERAL (
            SELECT m.id, m.agent_id, m.role, m.linked_message_id, m.from_id, m.to_id,
                   coalesce(i.content, m.text) AS text, m.version, m.ordinal, m.created_at
            FROM message m
            LEFT JOIN interaction i ON i.id = m.interaction_id
            LEFT JOIN turn t ON t.id = m.turn_id
            LEFT JOIN interaction x ON x.id = t.input_interaction_id
            WHERE m.conversation_id = room.id AND m.agent_id = heard.id
              AND (m.version, m.ordinal) > ($6::bigint, $7::bigint)
              AND ($4 OR m.role = 'system' OR m.from_id IS NULL OR m.to_id IS NULL)
              AND CASE WHEN m.role = 'system' THEN EXISTS (
                      SELECT FROM turn u JOIN interaction y ON y.id = u.input_interaction_id
                      WHERE u.conversation_id = room.id AND u.system_message_id = m.id
                        AND y.deleted_at IS NULL)
                  ELSE i.deleted_at IS NULL AND x.deleted_at IS NULL END
            ORDER BY m.version, m.ordinal LIMIT $8
        ) said
        WHERE ($5::bigint IS NULL OR heard.id = $5)
          AND (SELECT agency_id FROM agent WHERE id = heard.id) = $2
        ORDER BY said.version, said.ordinal LIMIT $8
    ) page ON true
    ORDER BY page.version, page.ordinal
"""

# $1 caller, $2 whether the caller is an admin, $3 whether the caller may read everything.
_TURN = f"""
    SELECT t.id, t.conversation_id, t.responder, t.seq, t.state, t.attempt, t.prompt_tokens,
           t.completion_tokens, t.finish_reason, t.error, t.created_at, t.updated_at,
           t.completed_at,
           ($2 OR coalesce(a.owner = $1, false)) AND NOT EXISTS (
               SELECT FROM interaction x
               WHERE x.id IN (t.input_interaction_id, t.reply_interaction_id)
                 AND x.deleted_at IS NOT NULL
           ) AS inside,
           $3 OR {owns("c", "$1")} OR coalesce(a.owner = $1, false) AS may_cancel
    FROM turn t
    JOIN conversation c ON c.id = t.conversation_id AND c.deleted_at IS NULL
    LEFT JOIN agency a ON {AGENCY_OF_TURN}
"""

# $4 turn.
TURN = f"{_TURN} WHERE t.id = $4 AND {may_read('c', '$1', '$3')}"

# $4 conversation, $5 the last seq of the page before, $6 rows. No row if the caller may not know of
# the conversation; one empty row if there is nothing to show.
TURNS = f"""
    SELECT page.* FROM conversation room LEFT JOIN LATERAL (
        {_TURN} WHERE t.conversation_id = room.id AND t.seq > $5 ORDER BY t.seq LIMIT $6
    ) page ON true
    WHERE room.id = $4 AND room.deleted_at IS NULL AND {may_read("room", "$1", "$3")}
    ORDER BY page.seq
"""

# $1 turn. A turn that was copied by a fork has messages of its own, but its steps stay where they
# were made.
STEPS = """
    SELECT s.id, s.agent_id, a.name, s.model, s.attempt, s.prompt_tokens, s.completion_tokens,
           s.output, s.error, s.started_at, s.completed_at
    FROM (
        SELECT id FROM step WHERE turn_id = $1
        UNION
        SELECT step_id FROM message WHERE turn_id = $1
    ) AS mine
    JOIN step s ON s.id = mine.id
    LEFT JOIN agent a ON a.id = s.agent_id
    ORDER BY s.version
"""

# $1 turn. Each message once: as its sender has it, or as it was received from outside of the team.
TALK = """
    SELECT m.step_id, m.from_id, m.to_id, coalesce(i.content, m.text) AS text
    FROM message m LEFT JOIN interaction i ON i.id = m.interaction_id
    WHERE m.turn_id = $1 AND i.deleted_at IS NULL
      AND (m.role = 'assistant' OR (m.role = 'user' AND m.linked_message_id IS NULL))
    ORDER BY m.version, m.ordinal
"""
