"""`/api/inbox`: the steps of all agents that wait for the caller."""

from __future__ import annotations

from datetime import datetime

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency, Provide
from litestar.types import ControllerRouterHandler

from gateway import ids
from gateway.agency.sessions.inbox import Inboxes, Waiting
from gateway.agency.speech.prompt import LIBRARY
from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.team import AgencySpec
from gateway.auth import Principal, Scope
from gateway.postgres.database import Database
from gateway.routes.agencies.session_wire import SessionBody, session_body
from gateway.routes.http.guards import needs
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD


class InboxConversation(msgspec.Struct):
    id: str
    title: str | None


class InboxAgency(msgspec.Struct):
    id: int
    name: str


class InboxAgent(msgspec.Struct):
    id: int
    label: str


class Asked(msgspec.Struct):
    """`by` asks `to`, which is -1 for the library."""

    by: int
    to: int
    label: str


class InboxItem(msgspec.Struct):
    """`session` is answered at `/api/agents/{agent.id}/sessions/{session.id}/answers`.
    `conversation` is the one that it answers; `expires_at` is null if it waits for ever."""

    session: SessionBody
    conversation: InboxConversation | None
    agency: InboxAgency
    agent: InboxAgent
    asked: Asked
    waiting_since: datetime
    expires_at: datetime | None


class InboxList(msgspec.Struct):
    """`count` is of all that waits, not of this page."""

    data: list[InboxItem]
    count: int
    next_cursor: str | None


@get("/", summary="List the steps that wait for you, the longest first", responses=BAD)
async def read_inbox(
    inboxes: NamedDependency[Inboxes],
    principal: NamedDependency[Principal],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> InboxList:
    """Those of the agents of your agencies; all of them for an admin, and for a key that may act as
    anybody."""
    found = await inboxes.page(principal, limit, cursor)
    return InboxList([inbox_item(one) for one in found.items], found.count, found.next_cursor)


def inbox_item(waiting: Waiting) -> InboxItem:
    session, question = waiting.session, waiting.session.question
    if question is None:
        raise LookupError("a session in the inbox waits for nothing")
    conversation = None
    if session.conversation_id is not None:
        shown = ids.show(ids.CONVERSATION, session.conversation_id)
        conversation = InboxConversation(shown, waiting.title)
    return InboxItem(
        session=session_body(session),
        conversation=conversation,
        agency=InboxAgency(waiting.agency.id, waiting.agency.name),
        agent=InboxAgent(session.agent_id, _label(waiting.agency, session.agent_id)),
        asked=Asked(question.asker, question.asked, _label(waiting.agency, question.asked)),
        waiting_since=waiting.waiting_since,
        expires_at=waiting.expires_at,
    )


def _label(agency: AgencySpec, agent_id: int) -> str:
    """An agent that was deleted meanwhile has its number left."""
    if agent_id == LIBRARY:
        return "library"
    agent = agency.agent(agent_id)
    return f"#{agent_id}" if agent is None else agent.label


async def _inboxes(
    database: NamedDependency[Database], catalog: NamedDependency[Catalog]
) -> Inboxes:
    return Inboxes(database, catalog)


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/inbox",
        route_handlers=[read_inbox],
        dependencies={"inboxes": Provide(_inboxes)},
        guards=[needs(Scope.CONVERSATIONS)],
        tags=["Sessions"],
    )
]
