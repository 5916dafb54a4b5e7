"""Who may do what with a conversation, in SQL: what `rights` decides by, and the same for lists.

`c` is a conversation, `user` the name of a user. Rows of `participant` and `participant_right` are
found by their primary keys, turns by the index turn_order.
"""


def owns(c: str, user: str) -> str:
    return f"({c}.owner_type = 'user' AND {c}.owner_identifier = {user})"


def joined(c: str, user: str) -> str:
    return f"""EXISTS (SELECT FROM participant p
        WHERE p.conversation_id = {c}.id AND p.kind = 'user' AND p.identifier = {user}
          AND p.joined_at IS NOT NULL AND p.left_at IS NULL)"""


AGENCY_OF_TURN = """a.id = coalesce(substring(t.responder FROM '^agency/([0-9]{1,18})$')::bigint, (
        SELECT g.agency_id FROM agent g
        WHERE g.id = substring(t.responder FROM '^agent/([0-9]{1,18})$')::bigint))"""
"""Joins the agency `a` that answers in the turn `t`."""


def answers(agency: str, c: str) -> str:
    """True if an agency, or one of its agents, is in the conversation or has answered in it."""
    return f"""(EXISTS (
            SELECT FROM participant p LEFT JOIN agent g
                 ON p.kind = 'agent' AND p.identifier = g.id::text
            WHERE p.conversation_id = {c}.id AND p.left_at IS NULL
              AND ((p.kind = 'agency' AND p.identifier = {agency}::text)
                   OR g.agency_id = {agency}))
        OR EXISTS (SELECT FROM turn t JOIN agency a ON {AGENCY_OF_TURN}
                   WHERE t.conversation_id = {c}.id AND a.id = {agency}))"""


def keeps(c: str, user: str) -> str:
    """True if the user owns an agency that answers in the conversation."""
    return f"""EXISTS (SELECT FROM turn t JOIN agency a ON {AGENCY_OF_TURN}
        WHERE t.conversation_id = {c}.id AND a.owner = {user} AND a.deleted_at IS NULL)"""


def may_read(c: str, user: str, everything: str) -> str:
    """`rights.may_read` as a condition. `everything` is true of admins, and of keys that may act as
    anybody."""
    return f"({everything} OR {owns(c, user)} OR {joined(c, user)} OR {keeps(c, user)})"


def standing(c: str, user: str) -> str:
    """The columns that `rights.standing` is made from."""
    return f"""{owns(c, user)} AS owns, {joined(c, user)} AS joined,
        ARRAY(SELECT r."right" FROM participant_right r WHERE r.conversation_id = {c}.id
              AND r.kind = 'user' AND r.identifier = {user}) AS rights,
        CASE WHEN {owns(c, user)} THEN false ELSE {keeps(c, user)} END AS keeps"""
