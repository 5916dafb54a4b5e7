"""The statements of the turn engine. Each is one round trip and one transaction of its own.

Lock order: the conversation, then its turn. Raising `conversation.version` takes the row's lock, so
versions and commits have one order. Whatever a runner writes names its fence: if another process
has taken the turn, the statement changes nothing and returns no row.

`message` and `interaction` have their indexes in `piccolo_migrations/m0001_foundation.py`.
"""

from gateway.conversation.raising import RAISE
from gateway.conversation.rooms.sql_participants import becomes
from gateway.conversation.turn_states import (
    ANY_OPEN,
    COMPLETED,
    FAILED,
    RUNNING,
    SUSPENDED,
    UNDER_WAY,
    WAITING,
)

_RAISED = f"""
    WITH raised AS (
        {RAISE}, updated_at = now()
        WHERE id = $1 AND EXISTS (
            SELECT FROM turn WHERE id = $2 AND fence = $3 AND state = {RUNNING})
        RETURNING version, title IS NULL AS untitled, drive, owner_type, length
    )"""
_STEP = """
    INSERT INTO step (id, turn_id, agent_id, attempt, model, read_version, output, prompt_tokens,
                      completion_tokens, error, started_at, version, provider)
    SELECT $4, $2, $5, t.attempt, $6, $7, $8, $9, $10, $11::jsonb,
           now() - make_interval(secs => $12), t.version, $13
    FROM t WHERE $4::uuid IS NOT NULL
"""
_FENCED = f"turn.id = $2 AND turn.fence = $3 AND turn.state = {RUNNING}"
_DRIVE = "coalesce(turn.driven, raised.drive)"
_USED = """
    prompt_tokens = turn.prompt_tokens + $9, completion_tokens = turn.completion_tokens + $10,
    version = raised.version, updated_at = now()
"""

# A step and the messages that it caused; without a step ($4 null), messages alone.
ADVANCE = f"""{_RAISED}, t AS (
        UPDATE turn SET {_USED} FROM raised WHERE {_FENCED}
        RETURNING raised.version, {_DRIVE} AS drive, turn.attempt
    ), s AS ({_STEP}), m AS (
        INSERT INTO message (id, conversation_id, turn_id, step_id, linked_message_id, agent_id,
                             role, from_id, to_id, text, ordinal, version)
        SELECT n.id, $1, $2, $4, n.linked, n.agent_id, n.role, n.from_id, n.to_id, n.text,
               n.ordinal, t.version
        FROM t, unnest($14::uuid[], $15::uuid[], $16::bigint[], $17::text[], $18::bigint[],
                       $19::bigint[], $20::text[]) WITH ORDINALITY
             AS n (id, linked, agent_id, role, from_id, to_id, text, ordinal)
    )
    SELECT version, drive FROM t
"""

# $1 conversation, $2 turn, $3 fence, $4 what it waits for, $5 seconds. Wait for an answer from
# outside, a session at most so long. Nothing happens if the conversation is driven by hand no more.
PARK = f"""{_RAISED}
    UPDATE turn SET version = raised.version, updated_at = now(), awaited = $4::jsonb,
           state = CASE {_DRIVE} WHEN 'manual' THEN {WAITING} ELSE state END,
           owner_node = CASE {_DRIVE} WHEN 'manual' THEN NULL ELSE owner_node END,
           lease_until = CASE WHEN {_DRIVE} <> 'manual' THEN lease_until
                              WHEN raised.owner_type = 'session'
                              THEN now() + make_interval(secs => $5) END
    FROM raised WHERE {_FENCED}
    RETURNING raised.version, {_DRIVE} AS drive
"""


# $1 conversation, locked, $2 who drives it. Turns that wait for somebody outside go on by
# themselves, but for those of bots that are driven by hand all the same: those are told.
DRIVE = f"""
    WITH freed AS (
        SELECT id FROM turn WHERE conversation_id = $1 AND state = {WAITING} AND $2 = 'auto'
          AND driven IS NULL
    ), raised AS (
        {RAISE}, drive = $2, updated_at = now()
        WHERE id = $1 AND (drive <> $2 OR EXISTS (SELECT FROM freed)) RETURNING version
    ), t AS (
        UPDATE turn SET state = {RUNNING}, fence = fence + 1, lease_until = now(),
               updated_at = now(), version = raised.version
        FROM raised WHERE turn.id IN (SELECT id FROM freed)
    )
    SELECT version, ARRAY(SELECT id FROM freed) AS freed FROM raised
"""

# $1 turn, $2 node, $3 lease. One that waits is ours, to be ended at once.
RESUME = f"""
    UPDATE turn SET state = {RUNNING}, fence = fence + 1, owner_node = $2, awaited = NULL,
           lease_until = now() + make_interval(secs => $3)
    WHERE id = $1 AND state = {WAITING}
    RETURNING fence
"""

# $1 conversation, locked, $2 a responder that is driven by hand no more. What waits goes on by
# itself: those turns are told.
FREE = f"""
    WITH found AS (
        SELECT id, state FROM turn
        WHERE conversation_id = $1 AND responder = $2 AND driven = 'manual' AND state IN {ANY_OPEN}
    ), raised AS (
        {RAISE}, updated_at = now() WHERE id = $1 AND EXISTS (SELECT FROM found) RETURNING version
    ), t AS (
        UPDATE turn SET driven = 'auto', updated_at = now(), version = raised.version
        FROM raised, found WHERE turn.id = found.id AND found.state <> {WAITING}
    ), freed AS (
        UPDATE turn SET driven = 'auto', updated_at = now(), version = raised.version,
               state = {RUNNING}, fence = fence + 1, lease_until = now()
        FROM raised, found WHERE turn.id = found.id AND found.state = {WAITING}
        RETURNING turn.id
    )
    SELECT version, ARRAY(SELECT id FROM freed) AS freed FROM raised
"""

# The answer. `followed`: something was said after the reply, so there may be a turn that waits. It
# is read of the locked row, where a look for that turn would miss what is committed just now.
# $14 its message, $15 its text, $16 finish reason, $17 history hash: none if what it
# stands for was changed meanwhile, which took away the hash up to the input.
_COMPLETED = f"""{_RAISED}, t AS (
        UPDATE turn SET {_USED}, state = {COMPLETED}, finish_reason = $16,
               history_hash = CASE WHEN turn.history_hash IS NOT NULL THEN $17::bytea END,
               completed_at = now(), lease_until = NULL
        FROM raised WHERE {_FENCED}
        RETURNING raised.version, raised.untitled, raised.length > turn.seq AS followed,
                  turn.attempt, turn.reply_interaction_id
    ), s AS ({_STEP}), i AS (
        UPDATE interaction SET content = $15, completed_at = now(), updated_at = now(),
               silent = interaction.silent AND $15 = '', version = t.version
        FROM t WHERE interaction.id = t.reply_interaction_id
    ), m AS (
        INSERT INTO message (id, conversation_id, turn_id, step_id, interaction_id, agent_id, role,
                             from_id, ordinal, version)
        SELECT $14, $1, $2, $4, t.reply_interaction_id, $5, 'assistant', $5, 1, t.version
        FROM t WHERE $5 IS NOT NULL
    )"""

# The end without an answer. $14 the error, $15 the text so far.
_FAILED = f"""{_RAISED}, t AS (
        UPDATE turn SET {_USED}, state = {FAILED}, error = $14::jsonb, completed_at = now(),
               lease_until = NULL
        FROM raised WHERE {_FENCED}
        RETURNING raised.version, raised.length > turn.seq AS followed, turn.attempt,
                  turn.reply_interaction_id
    ), s AS ({_STEP}), i AS (
        UPDATE interaction SET content = $15, errors = jsonb_build_array($14::jsonb),
               completed_at = now(), updated_at = now(), silent = false, version = t.version
        FROM t WHERE interaction.id = t.reply_interaction_id
    )"""

# What a responder that is a participant does then.
_IDLE = f""", p AS ({becomes("'idle'", version="t.version", beside="t", of="$2")})"""
_ANSWERED = """
    SELECT version, untitled, followed FROM t
"""
_UNANSWERED = """
    SELECT version, false AS untitled, followed FROM t
"""
COMPLETE = f"{_COMPLETED}{_ANSWERED}"
COMPLETE_IN_ROOM = f"{_COMPLETED}{_IDLE}{_ANSWERED}"
FAIL = f"{_FAILED}{_UNANSWERED}"
FAIL_IN_ROOM = f"{_FAILED}{_IDLE}{_UNANSWERED}"

# $1 turn; its conversation is locked. Several may answer the same, and their replies stand in the
# order of their first words: this one, which begins to speak, changes places with the first of
# those that have not.
TAKE_PLACE = """
    WITH mine AS (
        SELECT t.* FROM turn t
        JOIN interaction r ON r.id = t.reply_interaction_id AND r.silent AND r.completed_at IS NULL
        WHERE t.id = $1
    ), first AS (
        SELECT o.* FROM mine
        JOIN turn o ON o.conversation_id = mine.conversation_id AND o.seq < mine.seq
             AND o.input_interaction_id = mine.input_interaction_id
        JOIN interaction r ON r.id = o.reply_interaction_id AND r.silent AND r.completed_at IS NULL
        ORDER BY o.seq LIMIT 1
    ), places AS (
        SELECT mine.id AS turn_id, mine.reply_interaction_id AS reply_id, first.seq FROM mine, first
        UNION ALL
        SELECT first.id, first.reply_interaction_id, mine.seq FROM mine, first
    ), i AS (
        UPDATE interaction SET ordinal = places.seq FROM places WHERE interaction.id = reply_id
    )
    UPDATE turn SET seq = places.seq FROM places WHERE turn.id = turn_id
"""

# $1 turn. Locks its conversation. Whether others may answer the same.
LOCK_OF_TURN = """
    SELECT r.owner_type <> 'bot' AS in_room
    FROM turn t JOIN conversation c ON c.id = t.conversation_id
    JOIN interaction r ON r.id = t.reply_interaction_id
    WHERE t.id = $1 FOR NO KEY UPDATE OF c
"""

# $1 conversation, $2 turn, $3 fence, $4 status. What its responder is seen to do; once it writes,
# so is its reply. Nothing is shown of a turn that ended while its conversation was waited for.
SHOW = f"""
    WITH raised AS (
        {RAISE}
        WHERE id = $1 AND EXISTS (
            SELECT FROM turn WHERE id = $2 AND fence = $3 AND state = {RUNNING})
        RETURNING version
    ), t AS (
        SELECT turn.id, turn.reply_interaction_id, raised.version FROM raised, turn
        WHERE {_FENCED} FOR NO KEY UPDATE OF turn
    ), p AS ({becomes("$4::text", version="t.version", beside="t", of="$2")}
    ), i AS (
        UPDATE interaction SET silent = false, version = t.version FROM t
        WHERE interaction.id = t.reply_interaction_id AND silent AND $4 = 'writing'
    )
    SELECT version, EXISTS (SELECT FROM t) AS shown FROM raised
"""

# $1 turn, $2 fence, $3 seconds to wait for its client.
SUSPEND = f"""
    WITH raised AS (
        {RAISE}, updated_at = now()
        WHERE id = (SELECT conversation_id FROM turn
                    WHERE id = $1 AND fence = $2 AND state = {RUNNING})
        RETURNING id, version
    ), t AS (
        UPDATE turn SET state = {SUSPENDED}, owner_node = NULL, updated_at = now(),
               lease_until = now() + make_interval(secs => $3), version = raised.version
        FROM raised WHERE turn.id = $1 AND turn.fence = $2 AND turn.state = {RUNNING}
    ), p AS ({becomes("'idle'", version="raised.version", beside="raised", of="$1")}
    )
    SELECT id, version FROM raised
"""

# $1 turns, $2 their fences. Give turns up, for whoever is first to take them.
RELEASE = f"""
    UPDATE turn SET owner_node = NULL, lease_until = now()
    FROM unnest($1::uuid[], $2::bigint[]) AS mine (id, fence)
    WHERE turn.id = mine.id AND turn.fence = mine.fence AND turn.state = {RUNNING}
"""

# $1 node. The same for all turns of a process but those whose clients wait for them.
RELEASE_ALL = f"""
    UPDATE turn SET owner_node = NULL, lease_until = now()
    WHERE owner_node = $1 AND state = {RUNNING} AND NOT attended AND lease_until IS NOT NULL
"""

# Attempts since the last that finished a step: a long turn may lose any number of processes as long
# as it goes on between them, and one that loses them all at one place ends.
_FRUITLESS = """(turn.attempt - coalesce(
                     (SELECT max(step.attempt) FROM step WHERE step.turn_id = turn.id), 0))"""
_NOBODYS = f"""(turn.state = {SUSPENDED}
              OR (turn.state = {RUNNING} AND turn.lease_until < now()
                  AND (turn.owner_node IS NULL OR {_FRUITLESS} < $4)))"""

# $1 turn, $2 node, $3 lease, $4 fruitless attempts. A turn that nobody runs; only a lost process
# costs an attempt.
TAKE = f"""
    WITH raised AS (
        {RAISE}, updated_at = now()
        WHERE id = (SELECT conversation_id FROM turn WHERE turn.id = $1 AND {_NOBODYS})
        RETURNING id, version
    ), t AS (
        UPDATE turn SET state = {RUNNING}, fence = fence + 1, owner_node = $2, updated_at = now(),
               attempt = attempt + (state = {RUNNING} AND owner_node IS NOT NULL)::int,
               lease_until = now() + make_interval(secs => $3), version = raised.version
        FROM raised WHERE turn.id = $1 AND {_NOBODYS}
        RETURNING turn.fence
    )
    SELECT raised.id, raised.version, (SELECT fence FROM t) AS fence FROM raised
"""

# $1 turns, $2 their fences, $3 what their replies say so far.
SAVE = f"""
    UPDATE interaction SET content = told.text
    FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS told (turn_id, fence, text), turn
    WHERE turn.id = told.turn_id AND turn.fence = told.fence AND turn.state = {RUNNING}
      AND interaction.id = turn.reply_interaction_id AND interaction.completed_at IS NULL
"""

# $1 turns, $2 their fences, $3 lease. Those that another process has taken, or somebody has ended:
# either raises the fence.
RENEW = f"""
    WITH mine AS (
        SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS mine (id, fence)
    ), renewed AS (
        UPDATE turn SET lease_until = now() + make_interval(secs => $3)
        FROM mine WHERE turn.id = mine.id AND turn.fence = mine.fence AND turn.state = {RUNNING}
    )
    SELECT mine.id FROM mine JOIN turn ON turn.id = mine.id WHERE turn.fence <> mine.fence
"""

# Open turns whose time is up: suspended and waiting ones, and running ones that nobody renews.
EXPIRED = f"""
    SELECT id, state, {_FRUITLESS} AS fruitless, owner_node IS NOT NULL AS lost FROM turn
    WHERE state IN ({RUNNING}, {SUSPENDED}, {WAITING}) AND lease_until < now()
    ORDER BY lease_until LIMIT $1
"""

# $1 turn, $2 the error, $3 states it may be in, $4 the state it gets, $5 whether its time must be
# up. Ends a turn from outside.
END = f"""
    WITH found AS (
        SELECT conversation_id, state FROM turn WHERE id = $1 AND state = ANY($3::text[])
          AND ($5 = false OR lease_until < now())
    ), raised AS (
        {RAISE}, updated_at = now()
        WHERE id = (SELECT conversation_id FROM found) RETURNING version
    ), t AS (
        UPDATE turn SET state = $4, error = $2::jsonb, completed_at = now(),
               updated_at = now(), lease_until = NULL, fence = fence + 1, version = raised.version
        FROM raised WHERE turn.id = $1 AND turn.state = ANY($3::text[])
          AND ($5 = false OR turn.lease_until < now())
        RETURNING raised.version, turn.reply_interaction_id, turn.conversation_id
    ), i AS (
        UPDATE interaction SET errors = jsonb_build_array($2::jsonb), completed_at = now(),
               updated_at = now(), silent = false, version = t.version
        FROM t WHERE interaction.id = t.reply_interaction_id
    ), worked AS (
        SELECT t.version FROM t, found WHERE found.state IN {UNDER_WAY}
    ), p AS ({becomes("'idle'", version="worked.version", beside="worked", of="$1")}
    )
    SELECT version, conversation_id FROM t
"""

# $1 conversation, $2 its title.
ENTITLE = f"""
    {RAISE}, title = $2, updated_at = now()
    WHERE id = $1 AND title IS NULL AND deleted_at IS NULL
    RETURNING version
"""
