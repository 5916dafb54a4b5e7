"""The statements of the conversation store.

Indexes: conversation_of_owner, interaction_order.
"""

from gateway.conversation.rooms.sql_access import may_read
from gateway.names import DEFAULT_PROVIDER

CONVERSATION = f"""c.id, c.owner_identifier, coalesce(c.provider_id, '{DEFAULT_PROVIDER}'),
           coalesce(c.model_id, ''), c.title, c.created_at, c.updated_at, c.deleted_at"""
# Those of a row are null where its conversation's hold.
_INTERACTION = """i.id, i.conversation_id, i.file_ids, i.skill_set_ids, i.marked_as_excluded_at,
           i.content, i.errors, i.owner_type, i.owner_identifier, i.provider_id, i.model_id,
           i.created_at, i.updated_at, i.deleted_at, i.completed_at"""
# $1 conversation, $2 owner, $3 provider, $4 model.
CREATE = f"""
    INSERT INTO conversation AS c (id, owner_type, owner_identifier, provider_id, model_id,
                                   version, length, root_id)
    VALUES ($1, 'user', $2, $3, $4, 1, 0, $1) RETURNING {CONVERSATION}
"""

# $1 conversation, $2 user, $3 whether they may read everything.
ONE = f"""
    SELECT {CONVERSATION} FROM conversation c
    WHERE c.id = $1 AND c.deleted_at IS NULL AND {may_read("c", "$2", "$3")}
"""

# $1 the last id of the page before, $2 owner, $3 rows or null for all.
PAGE = f"""
    SELECT {CONVERSATION} FROM conversation c
    WHERE c.owner_type = 'user' AND c.owner_identifier = $2 AND c.deleted_at IS NULL AND c.id > $1
    ORDER BY c.id LIMIT $3
"""

# $1 conversations.
INTERACTIONS = f"""
    SELECT {_INTERACTION} FROM interaction i
    WHERE i.conversation_id = ANY($1::uuid[]) AND i.deleted_at IS NULL AND NOT i.silent
    ORDER BY i.conversation_id, i.ordinal
"""

# $1 interactions, deleted or not.
THESE = f"SELECT {_INTERACTION} FROM interaction i WHERE i.id = ANY($1::uuid[])"
