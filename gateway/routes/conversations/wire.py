"""What the Conversation API takes. What it answers are the shapes that channels tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, TypeVar
from uuid import UUID

import msgspec
from litestar import Response
from litestar.params import HeaderParameter, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway import ids
from gateway.agency.turn.request import RoomMessage
from gateway.conversation.lists.lists import ConversationEntry
from gateway.conversation.rooms.membership import MOST, Invitation
from gateway.conversation.rooms.participants import Member, ParticipantKind, Status, checked
from gateway.conversation.rooms.rights import Right
from gateway.errors import InvalidRequest
from gateway.routes.http.errors import JSON
from gateway.streams.events import Interaction, Owner

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same request again is given the first answer, for 24 hours.",
    ),
]
IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        max_length=1000,
        description="The ETag of the message as you know it. Without one the last write wins.",
    ),
]
AsBot = Annotated[
    str | None,
    QueryParameter(
        name="as",
        max_length=64,
        description="A bot of yours in whose place you act: `agent/143` or `agency/7`.",
    ),
]
_TAG = re.compile(r'"([0-9]{1,18})"')
_TAGS = re.compile(r'\s*"[0-9]{1,18}"(?:\s*,\s*"[0-9]{1,18}")*\s*')
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
    """Only users hold `rights`: to add messages, if nothing is said about it."""

    kind: ParticipantKind
    identifier: Identifier
    rights: Annotated[list[Right], Meta(max_length=len(Right))] | UnsetType = UNSET


class ParticipantPatch(Struct, forbid_unknown_fields=True):
    """An agent or an agency, and whether somebody outside answers in its place."""

    kind: ParticipantKind
    identifier: Identifier
    drive: Drive


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


class BotPlace(Struct, forbid_unknown_fields=True):
    """A bot in whose place the owner of its agency acts: an `agent` or an `agency`."""

    kind: ParticipantKind
    identifier: Identifier


class NewMessage(Struct, forbid_unknown_fields=True):
    content: str
    file_ids: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=100)] = []
    as_: BotPlace | None = field(default=None, name="as")


class MessagePatch(Struct, forbid_unknown_fields=True):
    content: str
    as_: BotPlace | None = field(default=None, name="as")


class Excluded(Struct, forbid_unknown_fields=True):
    excluded: bool


class NewStatus(Struct, forbid_unknown_fields=True):
    status: Status
    as_: BotPlace | None = field(default=None, name="as")


class MessageEdition(Struct):
    """What a message said from `written_at` on. `version` is the one that it had then."""

    version: int
    owner: Owner
    content: str
    written_at: datetime


class MessageHistory(Struct):
    data: list[MessageEdition]


class NewFork(Struct, forbid_unknown_fields=True):
    """Where a branch leaves. With `content`, `at` is a message of a person's, which says that
    instead; with `regenerate`, `at` is a reply, which is asked again. With neither the branch ends
    after `at`."""

    at: Annotated[str, Meta(max_length=100)]
    content: str | UnsetType = UNSET
    regenerate: bool = False


class BranchNode(Struct):
    """It left its parent at `at_interaction_id`, and went on with `excerpt`. `door` is `api` or
    `chat`, where it was made; null for the root."""

    conversation_id: str
    parent_id: str | None
    at_interaction_id: str | None
    title: str | None
    turns: int
    excerpt: str | None
    door: str | None
    created_at: datetime


class BranchTree(Struct):
    root_id: str
    nodes: list[BranchNode]


class ConversationList(Struct):
    data: list[ConversationEntry]
    next_cursor: str | None


class MessageList(Struct):
    """`next_cursor` leads to older messages; `previous_cursor`, as `after`, to newer ones."""

    data: list[Interaction]
    next_cursor: str | None
    previous_cursor: str | None


class Created(Response[bytes]):
    """What was made, as JSON, with 201."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, status_code=201, media_type=JSON)


def members(wanted: NewConversation) -> Sequence[Member]:
    """Raises InvalidRequest."""
    return checked([member(one) for one in wanted.participants])


def member(wanted: NewParticipant) -> Member:
    if wanted.rights is not UNSET:
        rights = tuple(dict.fromkeys(wanted.rights))
    else:
        rights = (Right.ADD_MESSAGE,) if wanted.kind is ParticipantKind.USER else ()
    return Member(wanted.kind, wanted.identifier, rights)


def invitation(of: Invitation) -> OneInvitation:
    shown = ids.show(ids.CONVERSATION, of.conversation_id)
    return OneInvitation(shown, of.title, of.invited_by, of.invited_at)


def said(conversation_id: UUID, message: NewMessage) -> RoomMessage:
    """Raises InvalidRequest for a message without anything in it, NotFound."""
    if not message.content and not message.file_ids:
        raise InvalidRequest("A message needs content or files.", param="content")
    files = tuple(ids.read_all(ids.FILE, message.file_ids))
    return RoomMessage(conversation_id, message.content, files, in_place(message.as_))


def in_place(of: BotPlace | None) -> Member | None:
    """Raises InvalidRequest."""
    if of is None:
        return None
    (place,) = checked([Member(of.kind, of.identifier)])
    return place


def place_in(query: str | None) -> Member | None:
    """The same for `agent/143`, as a query has it."""
    if query is None:
        return None
    kind, _, identifier = query.partition("/")
    if kind not in (ParticipantKind.AGENT, ParticipantKind.AGENCY):
        raise InvalidRequest("`as` is agent/<number> or agency/<number>.", param="as")
    return in_place(BotPlace(ParticipantKind(kind), identifier))


def named(query: str) -> tuple[ParticipantKind, str]:
    """Reads who is meant by `user/ann`. Raises InvalidRequest."""
    kind, _, identifier = query.partition("/")
    if kind not in set(ParticipantKind) or not identifier:
        raise InvalidRequest("A participant is a kind and an identifier.", param="participant")
    return ParticipantKind(kind), identifier


Choice = TypeVar("Choice", bound=StrEnum)


def choices(query: str, of: type[Choice], param: str) -> frozenset[Choice]:
    """Reads some of these, by commas. Raises InvalidRequest."""
    words = query.split(",")
    if unknown := [word for word in words if word not in set(of)]:
        told = ", ".join(of)
        raise InvalidRequest(f"{unknown[0]!r} is none of {told}.", param=param)
    return frozenset(map(of, words))


class Versioned(Response[bytes]):
    """A message as JSON, with its version as the ETag."""

    def __init__(self, message: Interaction) -> None:
        etag = f'"{message.version}"'
        body = msgspec.json.encode(message)
        super().__init__(body, headers={"ETag": etag}, media_type=JSON, status_code=200)


def versions(if_match: str | None) -> frozenset[int] | None:
    """Returns the versions that an `If-Match` names; None if any will do. Raises InvalidRequest."""
    if if_match is None or if_match.strip() == "*":
        return None
    if not _TAGS.fullmatch(if_match):
        raise InvalidRequest('`If-Match` holds the version of a message: "5".', param="If-Match")
    return frozenset(map(int, _TAG.findall(if_match)))
