"""A conversation as channels tell it: as it stands, and what changed after a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from gateway import ids
from gateway.conversation import sql
from gateway.postgres.database import Database, Row
from gateway.streams.events import (
    Change,
    Conversation,
    ConversationDeleted,
    ConversationUpdated,
    Interaction,
    InteractionCreated,
    InteractionDeleted,
    InteractionUpdated,
    Message,
    MessageCreated,
    Participant,
    ParticipantUpdated,
    Turn,
    TurnUpdated,
    WholeConversation,
)
from gateway.streams.source import Changed, Changes

MOST = 10_000
"""Versions, and rows of a kind, that are told one by one. Who is further behind begins anew."""

_conversation = msgspec.json.Decoder(Conversation)
_whole = msgspec.json.Decoder(WholeConversation)
_participant = msgspec.json.Decoder(Participant)
_interaction = msgspec.json.Decoder(Interaction)
_turn = msgspec.json.Decoder(Turn)
_message = msgspec.json.Decoder(Message)


class ConversationChanges:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def changes(self, conversation_id: UUID, since: int) -> Changes | None:
        rows = await self._database.fetch(sql.CHANGES, conversation_id, since, MOST)
        if not rows:
            return None
        version, deleted = rows[0]["version"], rows[0]["flag"]
        if version - since > MOST or len(rows) > MOST:
            return Changes(version, behind=True, deleted=deleted)
        told = [row for row in rows[1:] if row["kind"] != "speaking"]
        speaking = frozenset(row["id"] for row in rows if row["kind"] == "speaking")
        items = [_changed(row) for row in told]
        return Changes(version, items, speaking, deleted=deleted)

    async def whole(self, conversation_id: UUID, newest: int | None) -> WholeConversation | None:
        row = await self._database.fetchrow(sql.WHOLE, conversation_id, newest, None)
        return None if row is None else _whole.decode(row["body"])

    async def one(self, conversation_id: UUID, interaction_id: UUID) -> WholeConversation | None:
        """Returns the conversation with this interaction and no other, or None if there is no such
        interaction."""
        row = await self._database.fetchrow(sql.WHOLE, conversation_id, None, interaction_id)
        found = None if row is None else _whole.decode(row["body"])
        return found if found is not None and found.messages else None

    async def versions(self, conversations: Sequence[UUID]) -> Mapping[UUID, int]:
        rows = await self._database.fetch(sql.VERSIONS, conversations)
        return {row["id"]: row["version"] for row in rows}


def _changed(row: Row) -> Changed:
    event = _event(row)
    match event:
        case TurnUpdated(turn) if turn.awaits is not None:
            instead = TurnUpdated(msgspec.structs.replace(turn, awaits=None))
            return Changed(row["version"], event, turn.responder, instead)
        case _:
            return Changed(row["version"], event, row["talk_of"])


def _event(row: Row) -> Change:
    body: str | None = row["body"]
    match row["kind"], body:
        case "described", None:
            return ConversationDeleted(ids.show(ids.CONVERSATION, row["id"]))
        case "described", str():
            return ConversationUpdated(_conversation.decode(body))
        case "participant", str():
            return ParticipantUpdated(_participant.decode(body))
        case "interaction", None:
            return InteractionDeleted(ids.show(ids.INTERACTION, row["id"]))
        case "interaction", str() if row["flag"]:
            return InteractionCreated(_interaction.decode(body))
        case "interaction", str():
            return InteractionUpdated(_interaction.decode(body))
        case "turn", str():
            return TurnUpdated(_turn.decode(body))
        case "message", str():
            return MessageCreated(_message.decode(body))
        case kind, _:
            raise ValueError(f"a change of kind {kind!r}")
