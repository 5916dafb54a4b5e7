"""What webhooks are told: the same shapes as channels tell. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from gateway import ids
from gateway.postgres.database import Row
from gateway.streams.events import Interaction, Turn


class MessageData(msgspec.Struct):
    conversation_id: str
    message: Interaction


class TurnData(msgspec.Struct):
    """`awaits` of the turn is null for who may not hear the agents."""

    conversation_id: str
    turn: Turn


class InvitedUser(msgspec.Struct):
    kind: str
    identifier: str


class InvitationData(msgspec.Struct):
    conversation_id: str
    title: str | None
    invited_by: str
    participant: InvitedUser


Data: TypeAlias = MessageData | TurnData | InvitationData


class Payload(msgspec.Struct):
    """The body of a request to a webhook. `timestamp` is when it happened."""

    type: str
    timestamp: datetime
    data: Data


class _Invitation(msgspec.Struct):
    title: str | None
    invited_by: str
    user: str


def body(row: Row) -> str:
    """Returns a row of `sql_webhooks.TOLD` as it is sent."""
    conversation = ids.show(ids.CONVERSATION, row["conversation_id"])
    data: Data
    match row["event"]:
        case "message.created":
            data = MessageData(conversation, msgspec.json.decode(row["data"], type=Interaction))
        case "participant.invited":
            told = msgspec.json.decode(row["data"], type=_Invitation)
            user = InvitedUser("user", told.user)
            data = InvitationData(conversation, told.title, told.invited_by, user)
        case _:
            data = TurnData(conversation, msgspec.json.decode(row["data"], type=Turn))
    return msgspec.json.encode(Payload(row["event"], row["created_at"], data)).decode()
