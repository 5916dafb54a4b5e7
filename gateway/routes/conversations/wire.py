"""What the Conversation API takes. What it answers are the shapes that channels tell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from litestar import Response
from litestar.params import HeaderParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway import ids
from gateway.agency.turn.request import RoomMessage
from gateway.conversation.rooms.membership import MOST, Invitation
from gateway.conversation.rooms.participants import Member, ParticipantKind, Status, checked
from gateway.conversation.rooms.rights import Right
from gateway.errors import InvalidRequest
from gateway.routes.http.errors import JSON
from gateway.streams.events import Conversation, Interaction

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same request again is given the first answer, for 24 hours.",
    ),
]
Title = Annotated[str, Meta(min_length=1, max_length=200)]
Drive = Annotated[
    Literal["auto", "manual"],
    Meta(description="Whether the gateway has bots answer, or leaves that to others."),
]
NextOwner = Annotated[
    str, Meta(max_length=128, description="A user who has joined: the next owner.")
]
Identifier = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        description="A user name, the number of an agent or agency, or the name of a model.",
        examples=["ann", "143", "gpt-4o-mini"],
    ),
]


class NewParticipant(Struct, forbid_unknown_fields=True):
    """Only users hold `rights`."""

    kind: ParticipantKind
    identifier: Identifier
    rights: Annotated[list[Right], Meta(max_length=len(Right))] = []


class OneInvitation(Struct):
    """`title` and `invited_by` are all that is told of a conversation before one joins it."""

    conversation_id: str
    title: str | None
    invited_by: str
    invited_at: datetime


class InvitationList(Struct):
    data: list[OneInvitation]
    next_cursor: str | None


class NewConversation(Struct, forbid_unknown_fields=True):
    title: Title | None = None
    participants: Annotated[list[NewParticipant], Meta(max_length=MOST)] = []
    drive: Drive = "auto"


class ConversationPatch(Struct, forbid_unknown_fields=True):
    """What is left out stays as it is."""

    title: Title | UnsetType | None = UNSET
    drive: Drive | UnsetType = UNSET
    owner: NextOwner | UnsetType = UNSET


class NewMessage(Struct, forbid_unknown_fields=True):
    content: str
    file_ids: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=100)] = []


class NewStatus(Struct, forbid_unknown_fields=True):
    status: Status


class ConversationList(Struct):
    data: list[Conversation]
    next_cursor: str | None


class MessageList(Struct):
    data: list[Interaction]
    next_cursor: str | None


class Created(Response[bytes]):
    """What was made, as JSON, with 201."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, status_code=201, media_type=JSON)


def members(wanted: NewConversation) -> Sequence[Member]:
    """Raises InvalidRequest."""
    return checked([member(one) for one in wanted.participants])


def member(wanted: NewParticipant) -> Member:
    return Member(wanted.kind, wanted.identifier, tuple(dict.fromkeys(wanted.rights)))


def invitation(of: Invitation) -> OneInvitation:
    shown = ids.show(ids.CONVERSATION, of.conversation_id)
    return OneInvitation(shown, of.title, of.invited_by, of.invited_at)


def said(conversation_id: UUID, message: NewMessage) -> RoomMessage:
    """Raises InvalidRequest for a message without anything in it, NotFound."""
    if not message.content and not message.file_ids:
        raise InvalidRequest("A message needs content or files.", param="content")
    return RoomMessage(
        conversation_id, message.content, tuple(ids.read_all(ids.FILE, message.file_ids))
    )
