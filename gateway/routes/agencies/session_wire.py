"""Sessions on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import ids
from gateway.agency.model import Json
from gateway.agency.sessions.state import Given, Session, SessionState
from gateway.agency.speech.prompt import LIBRARY
from gateway.agency.turn.library import PASSAGES
from gateway.errors import InvalidRequest
from gateway.routes.agencies.turn_wire import Failure
from gateway.routes.shapes.dialogue import Messages
from gateway.routes.shapes.refusals import ErrorObject

MOST_PASSAGES = 100

STATUSES = {
    SessionState.THINKING: "thinking",
    SessionState.SEARCH: "searching",
    SessionState.CALL_AGENT: "waiting",
    SessionState.RESOLVED: "idle",
    SessionState.FAILED: "idle",
}
"""What a participant's status is meanwhile."""


class NewSession(msgspec.Struct):
    """What the agent answers: OpenAI's messages, or a conversation of the caller's. With `drive:
    "auto"` the gateway itself searches and calls."""

    messages: Messages | None = None
    conversation_id: str | None = None
    drive: Literal["auto", "manual"] = "manual"


class PassageIn(msgspec.Struct, frozen=True):
    """`score` is only for who reads it."""

    text: str
    source: str | None = None
    score: float | None = None


# A misspelt answer would pass for a question how it stands.
class SessionAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """`passages` answer a search, `context` a call of an agent; neither asks how it stands."""

    step: Annotated[int, Meta(ge=1)]
    passages: Annotated[list[PassageIn], Meta(max_length=MOST_PASSAGES)] | None = None
    context: str | None = None


class Search(msgspec.Struct):
    query: str
    collections: list[str]
    limit: int


class AgentCall(msgspec.Struct):
    to: int
    context: str


class SessionBody(msgspec.Struct, kw_only=True):
    """`step` is the number of the answer that is awaited, or will be next. `search`, `call`,
    `message` and `error` go with the states `search`, `call_agent`, `resolved` and `failed`.
    `conversation_id` is the conversation that the session answers, if it was begun from one."""

    id: str
    agent_id: int
    conversation_id: str | None
    state: SessionState
    status: str
    step: int
    search: Search | None
    call: AgentCall | None
    message: str | None
    error: Failure | None
    created_at: datetime
    updated_at: datetime


class SessionList(msgspec.Struct):
    data: list[SessionBody]
    next_cursor: str | None


class WrongStepBody(msgspec.Struct):
    """`session` is how it stands."""

    error: ErrorObject
    session: SessionBody


def given(answer: SessionAnswer) -> Given:
    """Raises InvalidRequest for what can't be stored."""
    texts = [answer.context or ""]
    for passage in answer.passages or ():
        texts += passage.text, passage.source or ""
    if any("\0" in text for text in texts):
        raise InvalidRequest("Text must not hold NUL characters.")
    return Given(answer.step, answer.passages, answer.context)


def session_body(session: Session) -> SessionBody:
    conversation = session.conversation_id
    return SessionBody(
        id=ids.show(ids.SESSION, session.id),
        agent_id=session.agent_id,
        conversation_id=None if conversation is None else ids.show(ids.CONVERSATION, conversation),
        state=session.state,
        status=STATUSES[session.state],
        step=session.step,
        search=_search(session),
        call=_call(session),
        message=session.message,
        error=_failure(session.error),
        created_at=session.created_at,
        updated_at=session.updated_at,
    )


def _search(session: Session) -> Search | None:
    if session.question is None or session.question.asked != LIBRARY:
        return None
    return Search(session.question.text, list(session.collections), PASSAGES)


def _call(session: Session) -> AgentCall | None:
    if session.question is None or session.question.asked == LIBRARY:
        return None
    return AgentCall(session.question.asked, session.question.text)


def _failure(error: Mapping[str, Json] | None) -> Failure | None:
    return None if error is None else msgspec.convert(error, Failure)
