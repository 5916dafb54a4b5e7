"""Who may read a conversation's channel, and whose agents they may hear.

`conversation.rooms.rights` says who may read a conversation; what agents say among themselves is
for the owner of their agency, and for admins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.conversation.rooms.sql_access import may_read
from gateway.postgres.database import Database
from gateway.streams.source import Access, Reader

# $1 conversations, $2 the key of each one's reader. A row for every reader who may read. Whether a
# conversation is deleted is not looked at: its readers are told.
_ACCESS = f"""
    WITH readers AS (
        SELECT r.conversation_id, k.id AS key_id, k."user", k.scopes,
               'admin' = ANY(k.scopes) AS admin
        FROM unnest($1::uuid[], $2::text[]) AS r (conversation_id, key_id)
        JOIN api_key k ON k.id = r.key_id AND k.revoked_at IS NULL
        WHERE k.scopes && ARRAY['chat', 'conversations', 'act_as', 'admin']
    ), owned AS (
        SELECT a.owner, array_agg(r.name) AS responders
        FROM agency a CROSS JOIN LATERAL (
            SELECT 'agency/' || a.id AS name
            UNION ALL SELECT 'agent/' || g.id FROM agent g WHERE g.agency_id = a.id
        ) r
        WHERE a.owner IN (SELECT "user" FROM readers) AND a.deleted_at IS NULL
        GROUP BY a.owner
    )
    SELECT r.conversation_id, r.key_id, r.admin, coalesce(o.responders, '{{}}') AS responders,
           ARRAY(SELECT p."right" FROM participant_right p
                 WHERE p.conversation_id = r.conversation_id AND p.kind = 'user'
                   AND p.identifier = r."user") AS rights
    FROM readers r
    JOIN conversation c ON c.id = r.conversation_id
    LEFT JOIN owned o ON o.owner = r."user"
    WHERE {may_read("c", 'r."user"', "(r.admin OR 'act_as' = ANY(r.scopes))")}
"""  # noqa: S608


class Hearing:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def access(self, readers: Sequence[Reader]) -> Mapping[Reader, Access]:
        rows = await self._database.fetch(
            _ACCESS, [one.conversation_id for one in readers], [one.key_id for one in readers]
        )
        return {
            Reader(row["conversation_id"], row["key_id"]): Access(
                row["admin"], frozenset(row["responders"]), frozenset(row["rights"])
            )
            for row in rows
        }
