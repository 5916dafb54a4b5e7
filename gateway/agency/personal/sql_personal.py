"""What a user's own channel reads, once a second for each reader. Indexes: conversation_of_owner,
participant_of_user, turn_order."""

from gateway.conversation.turn_states import COMPLETED, RUNNING, WITHOUT_ANSWER

# $1 keys. Those that live.
KEYS = """
    SELECT id, "user", scopes FROM api_key WHERE id = ANY($1::text[]) AND revoked_at IS NULL
"""

# $1 conversations. How many turns are under way in them.
RUNS = f"""
    SELECT count(*) AS running FROM turn
    WHERE conversation_id = ANY($1::uuid[]) AND state = {RUNNING}
"""

# $1 conversations, $2 for each the version that is known, $3 since when. Turns that have ended
# since.
ENDED = f"""
    SELECT t.id, t.conversation_id, t.responder, t.state, t.reply_interaction_id, t.error,
           t.completed_at
    FROM unnest($1::uuid[], $2::bigint[]) AS known (id, version)
    JOIN turn t ON t.conversation_id = known.id AND t.version > known.version
    WHERE (t.state = {COMPLETED} OR t.state IN {WITHOUT_ANSWER}) AND t.completed_at >= $3
    ORDER BY t.completed_at, t.id
"""
