"""What the turn engine reads. Each statement is one round trip, and so sees one moment of the rows.

`message` and `interaction` have their indexes in `piccolo_migrations/m0001_foundation.py`.
"""

from gateway.conversation.assets.sql_files import TEXT
from gateway.conversation.rooms.sql_participants import SHOWN
from gateway.conversation.turn_states import WITHOUT_ANSWER


def files(interaction: str) -> str:
    """The texts of an interaction's files, as JSON; null if it has none."""
    return f"""CASE WHEN {interaction}.file_ids IS NOT NULL THEN (
               SELECT jsonb_agg(jsonb_build_object('name', f.filename, 'text', f.text)
                                ORDER BY n.at)
               FROM unnest({interaction}.file_ids) WITH ORDINALITY AS n (id, at)
               CROSS JOIN LATERAL (SELECT filename, {TEXT} AS text FROM file
                                   WHERE file.id = n.id AND deleted_at IS NULL LIMIT 1) f
               ) END"""


# Who said an interaction, where several may speak: in a room a message is put to nobody, and its
# replies are of their kind. At the other doors whoever replies is a `bot`, and there is but one.
_SPEAKER = """CASE WHEN i.owner_type NOT IN ('user', 'bot')
                     OR (i.owner_type = 'user' AND i.model_id IS NULL) THEN i.owner_type END"""


def context(agent: str, rows: str) -> str:
    """The newest rows of an agent's context, newest first; $1 is the conversation.

    What failed, was excluded or deleted is not shown to an agent; excluding an input hides its
    whole turn. What was imported has no turn of its own: it belongs to the turn that it is the
    answer of, or to the next one, which brought it along. Of a turn that failed while nobody needed
    to wait for it, what was asked stays.
    """
    return f"""
    SELECT m.role, m.from_id, m.to_id,
           coalesce(i.content, m.text) AS text, i.parts,
           {_SPEAKER} AS speaker, i.owner_identifier AS speaker_identifier,
           {files("i")} AS files, m.version, m.ordinal, m.turn_id, m.step_id
    FROM message m
    LEFT JOIN interaction i ON i.id = m.interaction_id
    WHERE m.conversation_id = $1 AND m.agent_id = {agent} AND m.role <> 'system'
      AND (i.id IS NULL OR (i.deleted_at IS NULL AND i.marked_as_excluded_at IS NULL))
      AND coalesce(m.turn_id, (
            SELECT o.id FROM turn o WHERE o.conversation_id = $1 AND o.seq = i.ordinal
          ), m.id) NOT IN (
            SELECT t.id FROM interaction x
            JOIN turn t ON t.conversation_id = $1 AND t.input_interaction_id = x.id
            WHERE x.conversation_id = $1
              AND (x.deleted_at IS NOT NULL OR x.marked_as_excluded_at IS NOT NULL))
      AND coalesce(m.turn_id, (
            SELECT o.id FROM turn o WHERE o.conversation_id = $1 AND o.seq >= i.ordinal
            ORDER BY o.seq LIMIT 1
          )) NOT IN (
            SELECT t.id FROM turn t
            WHERE t.conversation_id = $1 AND t.state IN {WITHOUT_ANSWER} AND t.attended)
      AND (m.turn_id IS NULL OR (m.role = 'user' AND m.interaction_id IS NOT NULL)
           OR m.turn_id NOT IN (
            SELECT t.id FROM turn t
            WHERE t.conversation_id = $1 AND t.state IN {WITHOUT_ANSWER}
              AND NOT t.attended))
    ORDER BY m.version DESC, m.ordinal DESC
    LIMIT {rows}
"""


# $2 agent, $3 rows.
CONTEXT = context("$2", "$3")


def chain(ordinal: str, rows: str) -> str:
    """Returns what a plain model is told before it gives the reply of this ordinal, newest first;
    $1 is the conversation. All that was said and is neither deleted, excluded nor failed; what it
    said itself is the assistant's; what others reply to the same is for the next time."""
    return f"""
    SELECT CASE WHEN own THEN 'assistant' ELSE 'user' END AS role, NULL AS from_id,
           NULL AS to_id, i.content AS text, i.parts,
           {_SPEAKER} AS speaker, i.owner_identifier AS speaker_identifier,
           {files("i")} AS files,
           i.ordinal AS version, NULL AS turn_id, NULL AS step_id
    FROM interaction i
    LEFT JOIN interaction r ON r.conversation_id = $1 AND r.ordinal = {ordinal}
    CROSS JOIN LATERAL (SELECT i.owner_type = 'bot' OR coalesce(
        (i.owner_type, i.owner_identifier) = (r.owner_type, r.owner_identifier), false) AS own) o
    LEFT JOIN LATERAL (
        SELECT t.* FROM turn t WHERE t.conversation_id = $1 AND t.seq >= i.ordinal
        ORDER BY t.seq LIMIT 1
    ) t ON true
    LEFT JOIN interaction x ON x.id = t.input_interaction_id AND t.seq = i.ordinal
    LEFT JOIN turn mine ON mine.conversation_id = $1 AND mine.seq = {ordinal}
    WHERE i.conversation_id = $1 AND i.ordinal < {ordinal} AND i.errors IS NULL AND NOT i.silent
      AND i.deleted_at IS NULL AND i.marked_as_excluded_at IS NULL
      AND x.deleted_at IS NULL AND x.marked_as_excluded_at IS NULL
      AND NOT coalesce(t.attended AND t.state IN {WITHOUT_ANSWER}, false)
      AND NOT coalesce(t.seq = i.ordinal
                       AND t.input_interaction_id = mine.input_interaction_id, false)
    ORDER BY i.ordinal DESC
    LIMIT {rows}
"""


# $2 the ordinal of a reply, $3 rows.
CHAIN = chain("$2", "$3")

# $2 a turn, $3 rows.
CHAIN_OF_TURN = chain("(SELECT seq FROM turn WHERE id = $2)", "$3")

# Of the turn `t` in the conversation `c`: who answers what it asks. Of its reply `i`: whether it is
# that of a participant, beside whom others may answer the same.
DRIVE = "coalesce(t.driven, c.drive)"
IN_ROOM = "i.owner_type <> 'bot'"

# $1 turn. `shown` is what its responder is seen to do, if that is a participant.
TURN = f"""
    SELECT t.*, i.content AS answer,
           t.lease_until < now() AS expired, s.text AS system, {DRIVE} AS drive,
           {SHOWN} AS shown, {IN_ROOM} AS in_room
    FROM turn t
    JOIN conversation c ON c.id = t.conversation_id
    JOIN interaction i ON i.id = t.reply_interaction_id
    LEFT JOIN message s ON s.id = t.system_message_id
    WHERE t.id = $1
"""

# $1 turn.
VOID = f"SELECT state IN {WITHOUT_ANSWER} AS void FROM turn WHERE id = $1"

# $1 turn. What happened in it, in order: the input, steps, and what no step said. What is said to
# the library (-1) has no other side.
STEPS = """
    SELECT id, agent_id, read_version, version, error IS NOT NULL AS failed,
           started_at, completed_at
    FROM step WHERE turn_id = $1 ORDER BY version
"""
DELIVERIES = """
    SELECT m.version, m.step_id, m.from_id, m.to_id, coalesce(i.content, m.text) AS text
    FROM message m LEFT JOIN interaction i ON i.id = m.interaction_id
    WHERE m.turn_id = $1 AND (m.role = 'user' OR m.to_id = -1) ORDER BY m.version, m.ordinal
"""


# $1 conversation: its first words, for a title, and who replies in it. No row if it has one.
UNTITLED = """
    SELECT c.model_id, string_agg(said.content, E'\\n\\n' ORDER BY said.ordinal) AS text
    FROM conversation c JOIN LATERAL (
        SELECT left(i.content, 2000) AS content, i.ordinal FROM interaction i
        WHERE i.conversation_id = c.id AND i.deleted_at IS NULL
          AND i.marked_as_excluded_at IS NULL AND i.errors IS NULL
        ORDER BY i.ordinal LIMIT 4
    ) said ON true
    WHERE c.id = $1 AND c.title IS NULL AND c.deleted_at IS NULL
    GROUP BY c.id
"""
