"""Conversations as the Conversation API has them: created with participants, described, read.

Who asks has been found to be allowed to: see `participants` and `rights`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from gateway import ids
from gateway.conversation.absence import absent
from gateway.conversation.changes import ConversationChanges
from gateway.conversation.raising import announce
from gateway.conversation.rooms import sql_rooms as sql
from gateway.conversation.rooms.participants import Member, ParticipantKind
from gateway.conversation.rooms.presence import OFFLINE_S
from gateway.names import line
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import id_in
from gateway.streams.announcer import Announcer
from gateway.streams.events import Conversation, Interaction, WholeConversation

SHOWN = 200
"""The newest messages that a conversation is shown with, as in a channel's snapshot."""

_conversation = msgspec.json.Decoder(Conversation)
_interaction = msgspec.json.Decoder(Interaction)


@dataclass(frozen=True, slots=True)
class Messages:
    """Some messages of a conversation, newest first. `older` is the id to go on from towards the
    first message, `newer` the one towards the last; None where there are no more."""

    items: Sequence[Interaction]
    older: str | None
    newer: str | None


class Rooms:
    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer
        self._changes = ConversationChanges(database)

    async def create(
        self, owner: str, title: str | None, drive: str, others: Sequence[Member]
    ) -> UUID:
        """Bots join at once, users are invited; the owner need not be named. `others` have been
        checked. Raises InvalidRequest if the title is no line."""
        if title is not None:
            line(title, "title")
        first = Member(ParticipantKind.USER, owner)
        members = [first, *(one for one in others if one.name != first.name)]
        rights = [(one.identifier, right) for one in members for right in one.rights]
        made = ids.new()
        await self._database.execute(
            sql.CREATE,
            made,
            owner,
            title,
            drive,
            [one.kind for one in members],
            [one.identifier for one in members],
            [one is first or one.kind is not ParticipantKind.USER for one in members],
            [user for user, _ in rights],
            [right for _, right in rights],
            OFFLINE_S,
        )
        return made

    async def whole(self, conversation_id: UUID) -> WholeConversation:
        """Returns a conversation with its newest messages."""
        found = await self._changes.whole(conversation_id, SHOWN)
        if found is None:
            raise absent(ids.CONVERSATION, [conversation_id])
        return found

    async def one(self, conversation_id: UUID) -> Conversation:
        row = await self._database.fetchrow(sql.ONE, conversation_id)
        if row is None:
            raise absent(ids.CONVERSATION, [conversation_id])
        return _conversation.decode(row["body"])

    async def entitle(self, conversation_id: UUID, title: str | None) -> None:
        """Set the title. Does nothing if it is so already. Raises InvalidRequest if it is no
        line."""
        if title is not None:
            line(title, "title")
        if row := await self._database.fetchrow(sql.ENTITLE, conversation_id, title):
            announce(self._database, self._announcer, conversation_id, row["version"])

    async def messages(self, conversation_id: UUID, limit: int, cursor: str | None) -> Messages:
        """Returns the newest messages, or those before the `cursor`."""
        last = id_in(cursor, ids.INTERACTION)
        rows = await self._database.fetch(sql.MESSAGES, conversation_id, last, limit + 1)
        return _messages(rows[:limit], older=len(rows) > limit, newer=last is not None)

    async def messages_after(self, conversation_id: UUID, limit: int, one: UUID) -> Messages:
        """Returns the messages that follow this one."""
        rows = await self._database.fetch(sql.NEWER, conversation_id, one, limit + 1, False)
        return _messages(rows[:limit][::-1], older=True, newer=len(rows) > limit)

    async def messages_around(self, conversation_id: UUID, limit: int, one: UUID) -> Messages:
        """Returns a message in the midst of what was said before and after it. Raises NotFound."""
        before, since = limit // 2, limit - limit // 2
        newer = await self._database.fetch(sql.NEWER, conversation_id, one, since + 1, True)
        older = await self._database.fetch(sql.MESSAGES, conversation_id, one, before + 1)
        if not newer or newer[0]["id"] != one:
            raise absent(ids.INTERACTION, [one])
        rows = [*newer[:since][::-1], *older[:before]]
        return _messages(rows, older=len(older) > before, newer=len(newer) > since)

    async def message(self, interaction_id: UUID) -> Interaction:
        row = await self._database.fetchrow(sql.MESSAGE, interaction_id)
        if row is None:
            raise absent(ids.INTERACTION, [interaction_id])
        return _interaction.decode(row["body"])


def _messages(rows: Sequence[Row], *, older: bool, newer: bool) -> Messages:
    items = [_interaction.decode(row["body"]) for row in rows]
    return Messages(
        items,
        items[-1].id if items and older else None,
        items[0].id if items and newer else None,
    )
