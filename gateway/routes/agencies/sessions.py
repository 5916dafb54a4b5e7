"""`/api/agents/{agent_id}/sessions`: one agent at work, step by step."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from gateway import ids
from gateway.agency.engine.engine import Engine
from gateway.agency.sessions.sessions import Sessions, WrongStep
from gateway.agency.sessions.state import SessionState
from gateway.agency.teams.catalog import Catalog
from gateway.agency.turn.request import Dialogue
from gateway.auth import Principal, Scope
from gateway.errors import Conflict, InvalidRequest
from gateway.postgres.database import Database
from gateway.routes.agencies.session_wire import (
    NewSession,
    SessionAnswer,
    SessionBody,
    SessionList,
    WrongStepBody,
    given,
    session_body,
)
from gateway.routes.http.errors import JSON
from gateway.routes.http.guards import needs
from gateway.routes.shapes.dialogue import dialogue, holds_nul
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD, MISSING, ErrorObject
from gateway.streams.announcer import Announcer

TheSessions = NamedDependency[Sessions]
ThePrincipal = NamedDependency[Principal]
Wait = Annotated[
    float,
    QueryParameter(ge=0, le=60, description="Seconds before it is told that the agent thinks."),
]
Hops = Annotated[
    int,
    HeaderParameter(
        name="X-Gateway-Hops", ge=0, description="How many gateways have handed the question on."
    ),
]
# Litestar has a use of its own for a parameter of that name.
ByState = Annotated[
    SessionState | None, QueryParameter(name="state", description="Those in this state.")
]
MOMENT = 20.0
WRONG_STEP = {
    200: ResponseSpec(SessionBody, description="How it stands", generate_examples=False),
    409: ResponseSpec(
        WrongStepBody,
        description="`wrong_step`: the session is at another step, or asks nothing.",
        generate_examples=False,
    ),
}


@post(
    "/", summary="Begin a session, in which an agent answers step by step", responses=BAD | MISSING
)
async def begin_session(
    agent_id: FromPath[int],
    data: JSONBody[NewSession],
    sessions: TheSessions,
    principal: ThePrincipal,
    hops: Hops = 0,
    wait: Wait = MOMENT,
) -> SessionBody:
    """The session is told what was said before: `messages`, or a conversation of yours, to which it
    writes nothing."""
    source, said = None, _dialogue(data)
    if data.conversation_id is not None:
        source = ids.read(ids.CONVERSATION, data.conversation_id)
        said = await sessions.dialogue(source, principal)
    session_id = await sessions.begin(
        agent_id, said, principal, source, drive=data.drive, hops=hops
    )
    return session_body(await sessions.read(agent_id, session_id, principal, wait=wait))


@get("/", summary="List an agent's sessions, oldest first", responses=BAD | MISSING)
async def list_sessions(
    agent_id: FromPath[int],
    sessions: TheSessions,
    principal: ThePrincipal,
    in_state: ByState = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> SessionList:
    """With `state=search` and `state=call_agent` a program finds the sessions that it may
    answer."""
    page = await sessions.page(agent_id, principal, limit=limit, cursor=cursor, state=in_state)
    return SessionList([session_body(one) for one in page.items], page.next_cursor)


@get("/{session_id:str}", summary="Read a session", responses=BAD | MISSING)
async def read_session(
    agent_id: FromPath[int],
    session_id: FromPath[str],
    sessions: TheSessions,
    principal: ThePrincipal,
    wait: Wait = MOMENT,
) -> SessionBody:
    session = ids.read(ids.SESSION, session_id)
    return session_body(await sessions.read(agent_id, session, principal, wait=wait))


@post(
    "/{session_id:str}/answers",
    status_code=200,
    summary="Answer a step",
    responses=BAD | MISSING | WRONG_STEP,
)
async def answer_session(
    agent_id: FromPath[int],
    session_id: FromPath[str],
    data: JSONBody[SessionAnswer],
    sessions: TheSessions,
    principal: ThePrincipal,
    wait: Wait = MOMENT,
) -> Response[bytes]:
    """Returns the next state. The same answer to the same step may be sent again; `{"step": n}`
    alone asks how the session stands."""
    session = ids.read(ids.SESSION, session_id)
    try:
        found = await sessions.answer(agent_id, session, given(data), principal, wait=wait)
    except WrongStep as wrong:
        return _wrong(wrong)
    return Response(msgspec.json.encode(session_body(found)), media_type=JSON)


@delete("/{session_id:str}", status_code=200, summary="Cancel a session", responses=MISSING)
async def cancel_session(
    agent_id: FromPath[int],
    session_id: FromPath[str],
    sessions: TheSessions,
    principal: ThePrincipal,
) -> SessionBody:
    """Closes its model call and keeps what was said. A session that has ended stays as it is."""
    session = ids.read(ids.SESSION, session_id)
    return session_body(await sessions.cancel(agent_id, session, principal))


def _dialogue(data: NewSession) -> Dialogue:
    if (data.messages is None) == (data.conversation_id is None):
        raise InvalidRequest("A session begins with either messages or a conversation_id.")
    if data.messages is None:
        return Dialogue()
    if not data.messages:
        raise InvalidRequest("'messages' must hold at least one message.", param="messages")
    if holds_nul(msgspec.to_builtins(data.messages)):
        raise InvalidRequest("Text must not hold NUL characters.", param="messages")
    return dialogue(data.messages)


def _wrong(wrong: WrongStep) -> Response[bytes]:
    problem = ErrorObject(message=wrong.reason, type=Conflict.type, param="step", code="wrong_step")
    body = WrongStepBody(problem, session_body(wrong.session))
    return Response(
        msgspec.json.encode(body),
        status_code=Conflict.status,
        headers={"x-should-retry": "false"},
        media_type=JSON,
    )


async def _sessions(
    database: NamedDependency[Database],
    catalog: NamedDependency[Catalog],
    engine: NamedDependency[Engine],
    announcer: NamedDependency[Announcer],
) -> Sessions:
    return Sessions(database, catalog, engine, announcer)


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/agents/{agent_id:int}/sessions",
        route_handlers=[
            begin_session,
            list_sessions,
            read_session,
            answer_session,
            cancel_session,
        ],
        dependencies={"sessions": Provide(_sessions)},
        guards=[needs(Scope.CONVERSATIONS)],
        tags=["Sessions"],
    )
]
