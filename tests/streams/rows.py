"""A writer of conversations that stands for all the real ones: each call is one transaction, raises
the version by one and stamps what it changed."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from gateway import ids
from gateway.postgres.database import Database

_RAISE = """
    UPDATE conversation SET version = version + 1, updated_at = now(){more} WHERE id = $1
    RETURNING id, version, length
"""


@dataclass
class Writer:
    """One conversation. `announce` is called after each commit, as the engine does."""

    database: Database
    conversation_id: UUID
    version: int = 1
    ordinal: int = 0

    @property
    def channel(self) -> str:
        return ids.show(ids.CONVERSATION, self.conversation_id)

    async def say(self, content: str, *, done: bool = True, owner: str = "root") -> UUID:
        made = ids.new()
        self.ordinal += 1
        await self.write(
            """
            WITH c AS ({raise_})
            INSERT INTO interaction (id, conversation_id, ordinal, owner_type, owner_identifier,
                                     content, completed_at, version)
            SELECT $2, c.id, $3, 'user', $4, $5, CASE WHEN $6 THEN now() END, c.version FROM c
            RETURNING version
            """,
            *(made, self.ordinal, owner, content, done),
        )
        return made

    async def complete(self, interaction_id: UUID, content: str) -> None:
        await self.write(
            """
            WITH c AS ({raise_})
            UPDATE interaction SET content = $3, completed_at = now(), version = c.version,
                   updated_at = clock_timestamp() FROM c WHERE interaction.id = $2
            RETURNING c.version
            """,
            *(interaction_id, content),
        )

    async def remove(self, interaction_id: UUID) -> None:
        await self.write(
            """
            WITH c AS ({raise_})
            UPDATE interaction SET deleted_at = now(), version = c.version FROM c
            WHERE interaction.id = $2 RETURNING c.version
            """,
            interaction_id,
        )

    async def entitle(self, title: str) -> None:
        await self.write("{raise_}", title, more=", title = $2")

    async def delete(self) -> None:
        await self.write("{raise_}", more=", deleted_at = now()")

    async def talk(self, agent_id: int, text: str, turn_id: UUID) -> UUID:
        made = ids.new()
        await self.write(
            """
            WITH c AS ({raise_}), a AS (
                INSERT INTO agency (id, name, owner) VALUES (999999, 'Team', 'nobody')
                ON CONFLICT DO NOTHING
            ), e AS (
                INSERT INTO agent (id, agency_id, name)
                VALUES ($4::bigint, 999999, 'agent ' || $4::bigint)
                ON CONFLICT DO NOTHING
            )
            INSERT INTO message (id, conversation_id, turn_id, agent_id, role, from_id, to_id, text,
                                 ordinal, version)
            SELECT $2, c.id, $3, $4::bigint, 'user', -2, $4, $5, 1, c.version FROM c
            RETURNING version
            """,
            *(made, turn_id, agent_id, text),
        )
        return made

    async def begin_turn(self, responder: str, question: UUID, reply: UUID) -> UUID:
        made = ids.new()
        await self.write(
            """
            WITH c AS ({raise_})
            INSERT INTO turn (id, conversation_id, responder, seq, input_interaction_id,
                              reply_interaction_id, state, lease_until, principal, version)
            SELECT $2, c.id, $3, c.version, $4, $5, 'waiting', NULL, 'root', c.version FROM c
            RETURNING version
            """,
            *(made, responder, question, reply),
        )
        return made

    async def write(self, sql: str, *arguments: object, more: str = "") -> None:
        statement = sql.replace("{raise_}", _RAISE.replace("{more}", more))
        row = await self.database.fetchrow(statement, self.conversation_id, *arguments)
        assert row is not None
        self.version = row["version"]


async def new_conversation(database: Database, owner: str = "root") -> Writer:
    made = ids.new()
    await database.execute(
        """
        INSERT INTO conversation (id, owner_type, owner_identifier, title, version, length, root_id)
        VALUES ($1, 'user', $2, 'Fruit', 1, 0, $1)
        """,
        made,
        owner,
    )
    return Writer(database, made)
