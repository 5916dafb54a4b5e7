"""A user's own channel on the wire."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import TypeAlias

import msgspec

from gateway import ids
from gateway.agency.model import Json
from gateway.agency.personal import news
from gateway.conversation.lists.lists import ConversationEntry
from gateway.routes.agencies.inbox import InboxItem, inbox_item
from gateway.routes.conversations.wire import OneInvitation, invitation
from gateway.streams.sse import event

CHANNEL = "me"


class _Event(msgspec.Struct, frozen=True, tag_field="type"):
    pass


class PersonalSnapshot(_Event, frozen=True, tag="snapshot"):
    """The first event: how much waits in the inbox, and how many turns run in one's own
    conversations."""

    inbox_count: int
    running: int


class InboxUpdated(_Event, frozen=True, tag="inbox.updated"):
    """`item` is what began to wait last, if that is new."""

    count: int
    item: InboxItem | None


class ConversationListed(_Event, frozen=True, tag="conversation.listed"):
    """A conversation of one's own list that is new or has changed."""

    entry: ConversationEntry


class ConversationUnlisted(_Event, frozen=True, tag="conversation.unlisted"):
    """It was deleted, or one has left it."""

    conversation_id: str


class InvitationMade(_Event, frozen=True, tag="invitation"):
    invitation: OneInvitation


class InvitationEnded(_Event, frozen=True, tag="invitation.ended"):
    """It was followed, turned down or withdrawn."""

    conversation_id: str


class TurnEnded(_Event, frozen=True, tag="turn.ended"):
    turn_id: str
    conversation_id: str
    responder: str
    state: str
    reply_interaction_id: str
    error: Mapping[str, Json] | None
    completed_at: datetime


PersonalEvent: TypeAlias = (
    PersonalSnapshot
    | InboxUpdated
    | ConversationListed
    | ConversationUnlisted
    | InvitationMade
    | InvitationEnded
    | TurnEnded
)


async def told(reader: news.NewsReader) -> AsyncGenerator[bytes, None]:
    while (item := await reader.next()) is not None:
        shown = _event(item)
        name = shown.__struct_config__.tag
        yield event(str(name), msgspec.json.encode(shown))


def _event(item: news.Item) -> PersonalEvent:
    match item:
        case news.Overview(count, running):
            return PersonalSnapshot(count, running)
        case news.InboxChanged(count, waiting):
            return InboxUpdated(count, None if waiting is None else inbox_item(waiting))
        case news.Listed(entry):
            return ConversationListed(entry)
        case news.Unlisted(conversation):
            return ConversationUnlisted(ids.show(ids.CONVERSATION, conversation))
        case news.Invited(made):
            return InvitationMade(invitation(made))
        case news.InvitationOver(conversation):
            return InvitationEnded(ids.show(ids.CONVERSATION, conversation))
        case news.TurnEnded() as ended:
            return TurnEnded(
                ids.show(ids.TURN, ended.turn_id),
                ids.show(ids.CONVERSATION, ended.conversation_id),
                ended.responder,
                ended.state,
                ids.show(ids.INTERACTION, ended.reply_interaction_id),
                ended.error,
                ended.completed_at,
            )
