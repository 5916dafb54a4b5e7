"""The catalog's SQL. The lock order is agency, then agents; a writer holds the agency's row."""

# One statement, so that an agency and its agents are of one snapshot.
READ = """
    SELECT a.id AS agency_id, a.name AS agency_name, a.owner, a.shared, a.manager_id, a.settings,
           a.revision, a.created_at AS agency_created_at, a.updated_at AS agency_updated_at,
           g.id, g.name, g.instructions, g.model, g.collections, g.params,
           g.remote, g.created_at, g.updated_at
    FROM agency a
    JOIN agent g ON g.agency_id = a.id AND g.deleted_at IS NULL
    WHERE a.id = $1 AND a.deleted_at IS NULL
    ORDER BY g.id
"""

# The agents are read by a second statement: this one's snapshot may be older than the lock.
LOCK = """
    SELECT id FROM agency WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE
"""

_PAGE = """
    SELECT a.id, a.name, a.owner, a.shared, a.manager_id, a.revision, a.created_at, a.updated_at,
           array_agg(g.id ORDER BY g.id) AS agent_ids, array_agg(g.name ORDER BY g.id) AS names
    FROM (
        SELECT * FROM agency WHERE id > $1 AND deleted_at IS NULL {condition}
        ORDER BY id LIMIT $2
    ) a
    JOIN agent g ON g.agency_id = a.id AND g.deleted_at IS NULL
    GROUP BY a.id, a.name, a.owner, a.shared, a.manager_id, a.revision, a.created_at, a.updated_at
    ORDER BY a.id
"""
PAGE_OF_ALL = _PAGE.format(condition="")
# Index agency_of_owner.
PAGE_OF_OWNER = _PAGE.format(condition="AND owner = $3")
PAGE_OF_USABLE = _PAGE.format(condition="AND (owner = $3 OR shared)")

AGENCY_OF_AGENT = "SELECT agency_id FROM agent WHERE id = $1 AND deleted_at IS NULL"

BLANK = "SELECT NOT EXISTS (SELECT FROM agency) AS blank"

# Two who apply a file of one name at once make one agency.
LOCK_NAME = "SELECT pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0))"
FIND = """
    SELECT id FROM agency WHERE owner = $1 AND name = $2 AND deleted_at IS NULL
    ORDER BY id LIMIT 2
"""

# The first SAVE_AGENCY makes it revision 1.
INSERT_AGENCY = "INSERT INTO agency (name, owner, revision) VALUES ($1, $2, 0) RETURNING id"
SAVE_AGENCY = """
    UPDATE agency SET name = $2, shared = $3, settings = $4::jsonb,
        manager_id = (SELECT id FROM agent
                      WHERE agency_id = $1 AND name = $5 AND deleted_at IS NULL),
        revision = revision + 1, updated_at = now()
    WHERE id = $1
"""
DELETE_AGENCY = """
    UPDATE agency SET deleted_at = now(), updated_at = now(), revision = revision + 1
    WHERE id = $1
"""

DELETE_AGENTS = """
    UPDATE agent SET deleted_at = now(), updated_at = now() WHERE id = ANY($1::bigint[])
"""
# Names are unique at every moment: two agents that swap theirs give them up first. No agent can
# be called so.
FREE_NAMES = "UPDATE agent SET name = '(' || id || ')' WHERE id = ANY($1::bigint[])"
UPDATE_AGENTS = """
    UPDATE agent SET name = t.name, instructions = t.instructions, model = t.model,
        collections = t.collections, params = t.params, remote = t.remote,
        updated_at = now()
    FROM jsonb_to_recordset($1::jsonb) AS t (
        id bigint, name text, instructions text, model text, collections text[], params jsonb,
        remote text)
    WHERE agent.id = t.id
"""
INSERT_AGENTS = """
    INSERT INTO agent (agency_id, name, instructions, model, collections, params, remote)
    SELECT $1, name, instructions, model, collections, params, remote
    FROM jsonb_to_recordset($2::jsonb) AS t (
        name text, instructions text, model text, collections text[], params jsonb, remote text)
"""
