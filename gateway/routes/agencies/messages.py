"""What was said in a conversation with an agency: each agent's context, page by page."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler

from gateway import ids
from gateway.agency.records.records import ConversationRecord, MessageRecord, Records
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.register import BIGINT
from gateway.auth import Principal, Scope
from gateway.postgres.database import Database
from gateway.routes.http.guards import needs
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD, MISSING

Agent = Annotated[
    int | None,
    QueryParameter(ge=1, le=BIGINT - 1, description="Whose context; by default everyone's."),
]


class MessageData(msgspec.Struct):
    """`from` is null if it came from the API, `to` is null if it goes to the API."""

    from_id: int | None = msgspec.field(name="from")
    to: int | None
    text: str


class ContextMessage(msgspec.Struct):
    message_id: str
    conversation_id: str
    agent_id: int
    role: str
    linked_message_id: str | None
    data: MessageData
    date_created: datetime


class ContextMessageList(msgspec.Struct):
    data: list[ContextMessage]
    next_cursor: str | None


class AgencyConversation(msgspec.Struct):
    """`parent_id`: the conversation that this one was forked from."""

    id: str
    agency_id: int
    title: str | None
    version: int
    parent_id: str | None
    created_at: datetime
    updated_at: datetime


class AgencyConversationList(msgspec.Struct):
    data: list[AgencyConversation]
    next_cursor: str | None


@get("/", summary="List your conversations with an agency, newest first", responses=BAD | MISSING)
async def list_agency_conversations(
    agency_id: FromPath[int],
    catalog: NamedDependency[Catalog],
    records: NamedDependency[Records],
    principal: NamedDependency[Principal],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> AgencyConversationList:
    agency = await catalog.read(agency_id, principal)
    page = await records.conversations(agency, principal, limit=limit, cursor=cursor)
    found = [_conversation(one, agency_id) for one in page.items]
    return AgencyConversationList(found, page.next_cursor)


@get(
    "/{conversation_id:str}/messages",
    summary="List the agents' contexts, oldest first",
    responses=BAD | MISSING,
)
async def list_messages(
    agency_id: FromPath[int],
    conversation_id: FromPath[str],
    catalog: NamedDependency[Catalog],
    records: NamedDependency[Records],
    principal: NamedDependency[Principal],
    agent_id: Agent = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> ContextMessageList:
    """The owner of the agency sees what the agents say among themselves, the owner of the
    conversation what was said to the end user and by them. The system message that the gateway
    composes is not shown to anyone; the client's own is."""
    agency = await catalog.read(agency_id, principal)
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    page = await records.messages(
        agency, conversation, principal, agent_id=agent_id, limit=limit, cursor=cursor
    )
    shown = ids.show(ids.CONVERSATION, conversation)
    return ContextMessageList([_message(one, shown) for one in page.items], page.next_cursor)


def _message(message: MessageRecord, conversation_id: str) -> ContextMessage:
    linked = message.linked_message_id
    return ContextMessage(
        message_id=ids.show(ids.MESSAGE, message.id),
        conversation_id=conversation_id,
        agent_id=message.agent_id,
        role=message.role,
        linked_message_id=None if linked is None else ids.show(ids.MESSAGE, linked),
        data=MessageData(message.from_id, message.to_id, message.text),
        date_created=message.created_at,
    )


def _conversation(conversation: ConversationRecord, agency_id: int) -> AgencyConversation:
    parent = conversation.parent_id
    return AgencyConversation(
        id=ids.show(ids.CONVERSATION, conversation.id),
        agency_id=agency_id,
        title=conversation.title,
        version=conversation.version,
        parent_id=None if parent is None else ids.show(ids.CONVERSATION, parent),
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
    )


async def _records(database: NamedDependency[Database]) -> Records:
    return Records(database)


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/agency/{agency_id:int}/conversations",
        route_handlers=[list_agency_conversations, list_messages],
        dependencies={"records": Provide(_records)},
        guards=[needs(Scope.CHAT)],
        tags=["Conversations"],
    )
]
