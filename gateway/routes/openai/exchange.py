"""What the doors of OpenAI's clients have in common: how a request becomes a turn, and its reply an
answer, whole or streamed. A door adds its wire.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

from litestar import Request, Response
from litestar.datastructures import State
from litestar.types import ASGIApp, Receive, Send
from litestar.types import Scope as AsgiScope
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError

from gateway import ids
from gateway.agency.engine.engine import Engine, Stale
from gateway.agency.teams.catalog import Catalog
from gateway.agency.turn.reply import Outcome, Reply
from gateway.agency.turn.request import ChatRequest
from gateway.auth import Callers, Principal, Scope
from gateway.conversation.idempotency import Claim, body_hash
from gateway.errors import Conflict, GatewayError, InvalidRequest
from gateway.routes.http.connection import ClientGone, Sent, connected
from gateway.routes.http.errors import CLIENT_GONE, describe, handle, render_openai
from gateway.settings import Settings
from gateway.streams.sse import UNKEPT, Pace

log = logging.getLogger(__name__)

Asking: TypeAlias = Request[Principal, str, State]

TRIES = 8
"""How often a request is looked at again because something it rested on had changed meanwhile."""
MAX_KEY = 255
"""Characters of an idempotency key, as at Stripe."""


class Wire(Protocol):
    """How a door tells of one reply."""

    def headers(self, reply: Reply) -> dict[str, str]: ...

    def whole(self, reply: Reply, outcome: Outcome) -> bytes:
        """The answer as one JSON body."""

    def events(self, reply: Reply) -> AsyncIterator[bytes]:
        """The answer as events, the last of which may be an error."""


# ---- a request becomes a turn --------------------------------------------------------------------


def claim_of(request: Asking, endpoint: str, *what: object) -> Claim | None:
    """An `Idempotency-Key` stands for `what` is asked, in one named conversation. Raises
    InvalidRequest."""
    key = request.headers.get("idempotency-key", "")
    if not key:
        return None
    if len(key) > MAX_KEY:
        raise InvalidRequest(f"An Idempotency-Key holds at most {MAX_KEY} characters.")
    named = request.headers.get("x-conversation-id", "")
    return Claim(request.user.user, endpoint, key, body_hash((*what, named)))


async def accepted(
    request: Asking, asked: ChatRequest, agency_id: int, claim: Claim | None
) -> Reply:
    """The reply of the turn that a request begins, or has begun before. What is remembered of the
    key and the agency is believed; if it has changed, it is looked at again."""
    engine: Engine = request.app.state.engine
    catalog: Catalog = request.app.state.catalog
    named = request.headers.get("x-conversation-id")
    conversation_id = ids.read(ids.CONVERSATION, named) if named else None
    if claim is None:
        principal, agency = request.user, await catalog.recall(agency_id, request.user)
    else:  # what is replayed rests on nothing that would be looked at again
        principal = await _afresh(request)
        agency = await catalog.read(agency_id, principal)
    for _ in range(TRIES):
        try:
            return await engine.chat(
                asked, agency, principal, conversation_id=conversation_id, claim=claim
            )
        except Stale:
            principal = await _afresh(request)
            agency = await catalog.read(agency_id, principal)
    raise Conflict("The conversation keeps changing; try again.")


async def _afresh(request: Asking) -> Principal:
    callers: Callers = request.app.state.callers
    principal = await callers.identify(request.auth)
    principal.require(Scope.CHAT)
    return principal


# ---- a reply becomes an answer -------------------------------------------------------------------


async def answer(request: Asking, reply: Reply, wire: Wire, *, streamed: bool) -> ASGIApp:
    """To be called as soon as the reply is there: what is streamed must be asked for before the
    turn's task begins."""
    if streamed:
        reply.streamed = True
        return _Streamed(request, reply, wire)
    engine: Engine = request.app.state.engine
    async with engine.listening(reply):
        try:
            async with connected(request.receive):
                outcome = await reply.outcome()
        except GatewayError as error:
            return failed(request, error, wire.headers(reply))
        except ClientGone:
            return nothing(request)
    return Sent(wire.whole(reply, outcome), wire.headers(reply))


@dataclass(slots=True)
class _Streamed:
    """The answer as a stream of events, as an ASGI app: from its first moment to its last somebody
    listens to the reply, or the turn is suspended."""

    request: Asking
    reply: Reply
    wire: Wire

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        engine: Engine = self.request.app.state.engine
        async with engine.listening(self.reply):
            try:
                response = await self._begin(receive)
            except ClientGone:
                response = nothing(self.request)
            await sent(response, scope, receive, send)

    async def _begin(self, receive: Receive) -> ASGIApp:
        """Wait for the first words: a failure before them is an answer of its own. A stream that is
        silent for long is begun without; then comments keep the connection open."""
        settings: Settings = self.request.app.state.settings
        async with connected(receive):
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.ping):
                    await self.reply.beginning()
        headers = self.wire.headers(self.reply)
        if self.reply.failed_early is not None:
            return failed(self.request, self.reply.failed_early, headers)
        return stream(self.wire.events(self.reply), headers, settings)


def stream(events: AsyncIterator[bytes], headers: dict[str, str], settings: Settings) -> ASGIApp:
    pace = Pace.of(settings)
    response = EventSourceResponse(
        events, headers=UNKEPT | headers, sep="\n", ping=pace.ping, send_timeout=pace.send
    )
    return cast("ASGIApp", response)


async def sent(response: ASGIApp, scope: AsgiScope, receive: Receive, send: Send) -> None:
    """Answer, as long as the client reads."""
    try:
        await response(scope, receive, send)
    except SendTimeoutError:
        log.info("a reader stopped reading and was cut off")


def error_event(error: GatewayError) -> bytes:
    """The event by which a stream that has begun tells of a failure."""
    return b"data: " + render_openai(describe(error)) + b"\n\n"


def failed(request: Asking, error: Exception, headers: dict[str, str]) -> ASGIApp:
    response = handle(request, error)
    response.headers.update(headers)
    return response.to_asgi_response(None, request)


def nothing(request: Asking) -> ASGIApp:
    """For a client that has gone: it reads no answer."""
    return Response(b"", status_code=CLIENT_GONE).to_asgi_response(None, request)
