"""The OpenAI door: chat completions, streaming and not."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.params import FromPath, JSONBody
from litestar.types import ASGIApp, Receive, Send
from litestar.types import Scope as AsgiScope
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError

from gateway import ids
from gateway.agency.engine.engine import Engine, Stale
from gateway.agency.plain.offer import AGENCY
from gateway.agency.teams.catalog import Catalog
from gateway.agency.turn.reply import Reply
from gateway.agency.turn.request import ChatRequest
from gateway.auth import Callers, Principal, Scope
from gateway.conversation.idempotency import Claim, body_hash
from gateway.errors import Conflict, GatewayError, InvalidRequest, NotFound
from gateway.routes.http.connection import ClientGone, Sent, connected
from gateway.routes.http.errors import CLIENT_GONE, describe, handle, render_openai
from gateway.routes.http.guards import RECALLED, Guarded
from gateway.routes.openai.chat import plain
from gateway.routes.openai.chat.answer import (
    ANSWERS,
    FINGERPRINT,
    REHEARSAL_FINGERPRINT,
    Chunks,
    StreamedOperation,
    completion,
)
from gateway.routes.openai.chat.body import ChatOperation, model_of, read_chat
from gateway.routes.openai.chat.request import ChatCompletionRequest, ignored, read_request
from gateway.settings import Settings

log = logging.getLogger(__name__)

TRIES = 8
"""How often a request is looked at again because something it rested on had changed meanwhile."""
_CANONICAL = re.compile(r"0|[1-9][0-9]{0,17}")
MAX_KEY = 255
"""Characters of an idempotency key, as at Stripe."""

Asking = Request[Principal, str, State]


@dataclass(slots=True)
class Exchange:
    """One chat completion: the request, and what its answer needs to know of it."""

    request: Asking
    body: ChatCompletionRequest
    asked: ChatRequest
    agency_id: int
    engine: Engine
    settings: Settings
    started: float = field(default_factory=perf_counter)

    @property
    def claim(self) -> Claim | None:
        """An `Idempotency-Key` stands for one body, one agency and one named conversation."""
        key = self.request.headers.get("idempotency-key", "")
        if not key:
            return None
        if len(key) > MAX_KEY:
            raise InvalidRequest(f"An Idempotency-Key has at most {MAX_KEY} characters.")
        named = self.request.headers.get("x-conversation-id", "")
        what = body_hash((self.body, self.asked.responder, named))
        return Claim(self.request.user.user, "chat.completions", key, what)

    @property
    def fingerprint(self) -> str:
        return REHEARSAL_FINGERPRINT if self.settings.rehearses else FINGERPRINT

    def headers(self, reply: Reply) -> dict[str, str]:
        """`x-gateway-overhead-ms` is the time spent outside of model calls, so far. Those of a
        turn that was running before its client came back are not in our time."""
        overhead = max(0.0, perf_counter() - self.started - reply.model_seconds)
        headers = {
            "x-conversation-id": ids.show(ids.CONVERSATION, reply.conversation_id),
            "x-gateway-overhead-ms": f"{overhead * 1000:.2f}",
        }
        if names := ignored(self.body):
            headers["x-gateway-ignored"] = ", ".join(names)
        return headers


@Guarded(
    [
        "/api/agency/{agency_id:int}/chat/completions",
        "/api/agency/{agency_id:int}/v1/chat/completions",
    ],
    http_method="POST",
    status_code=200,
    opt={RECALLED: True},
    responses=ANSWERS,
    operation_class=StreamedOperation,
    summary="Create a chat completion by an agency",
    tags=["Chat"],
)
async def create_agency_completion(
    request: Asking,
    agency_id: FromPath[int],
    data: JSONBody[ChatCompletionRequest],
) -> ASGIApp:
    """The manager answers; the team works behind it. `model` may be anything and is echoed."""
    return await _answer(await _exchange(request, data, agency_id))


@Guarded(
    "/v1/chat/completions",
    http_method="POST",
    status_code=200,
    opt={RECALLED: True},
    responses=ANSWERS,
    operation_class=ChatOperation,
    summary="Create a chat completion by the agency or the plain model that `model` names",
    tags=["Chat"],
)
async def create_completion(
    request: Asking,
) -> ASGIApp:
    """`model` is `agency/<id>`, or a plain model of the upstream's, whose answer comes as it is."""
    raw = await request.body()
    model = model_of(raw)
    if not model.startswith(AGENCY):
        return await plain.answer(request, raw)
    data = read_chat(raw)
    return await _answer(await _exchange(request, data, agency_of(data.model)))


def agency_of(model: str) -> int:
    """The agency that a model's name stands for. Raises NotFound."""
    kind, _, number = model.partition("/")
    if kind != "agency" or not _CANONICAL.fullmatch(number):
        raise NotFound(
            f"There is no model {model[:64]!r} here. An agency's is agency/<id>.",
            param="model",
            code="model_not_found",
        )
    return int(number)


async def _exchange(request: Asking, data: ChatCompletionRequest, agency_id: int) -> Exchange:
    request.user.require(Scope.CHAT)
    asked = read_request(
        data,
        await request.body(),
        responder=f"agency/{agency_id}",
        user=request.user.user,
        key=request.headers.get("idempotency-key", ""),
        retry=bool(_number(request, "x-stainless-retry-count")),
        read_timeout=_number(request, "x-stainless-read-timeout"),
    )
    # Asked for by name, each of these would cost a request 20 µs: see `app.INJECTED`.
    state = request.app.state
    engine: Engine = state.engine
    settings: Settings = state.settings
    if (wanted := asked.ask.wanted) and (why := await engine.checks.unusable(wanted)):
        raise InvalidRequest(f"The schema can't be used: {why}", param="response_format")
    return Exchange(request, data, asked, agency_id, engine, settings)


async def _answer(exchange: Exchange) -> ASGIApp:
    reply = await _accepted(exchange)
    if exchange.body.stream:
        # The turn's task has not begun: nothing was awaited since it was made.
        reply.streamed = True
        return _Streamed(exchange, reply)
    return await _whole(exchange, reply)


async def _accepted(exchange: Exchange) -> Reply:
    """Believe what is remembered of the key and the agency; if it has changed, look again."""
    request = exchange.request
    catalog: Catalog = request.app.state.catalog
    named = request.headers.get("x-conversation-id")
    conversation_id = ids.read(ids.CONVERSATION, named) if named else None
    claim = exchange.claim
    if claim is None:
        principal, agency = request.user, await catalog.recall(exchange.agency_id, request.user)
    else:  # what is replayed rests on nothing that would be looked at again
        principal = await _afresh(request)
        agency = await catalog.read(exchange.agency_id, principal)
    for _ in range(TRIES):
        try:
            return await exchange.engine.chat(
                exchange.asked,
                agency,
                principal,
                conversation_id=conversation_id,
                claim=claim,
            )
        except Stale:
            principal = await _afresh(request)
            agency = await catalog.read(exchange.agency_id, principal)
    raise Conflict("The conversation keeps changing; try again.")


async def _afresh(request: Asking) -> Principal:
    callers: Callers = request.app.state.callers
    principal = await callers.identify(request.auth)
    principal.require(Scope.CHAT)
    return principal


async def _whole(exchange: Exchange, reply: Reply) -> ASGIApp:
    async with exchange.engine.listening(reply):
        try:
            async with connected(exchange.request.receive):
                outcome = await reply.outcome()
        except GatewayError as error:
            return _failed(exchange, reply, error)
        except ClientGone:
            return _nothing(exchange)
    answer = completion(
        reply,
        outcome,
        model=exchange.body.model,
        fingerprint=exchange.fingerprint,
        metadata=exchange.asked.metadata,
    )
    return Sent(msgspec.json.encode(answer), exchange.headers(reply))


def _nothing(exchange: Exchange) -> ASGIApp:
    return _asgi(exchange, Response(b"", status_code=CLIENT_GONE))


def _failed(exchange: Exchange, reply: Reply, error: GatewayError) -> ASGIApp:
    response = handle(exchange.request, error)
    response.headers.update(exchange.headers(reply))
    return _asgi(exchange, response)


def _asgi(exchange: Exchange, response: Response[bytes]) -> ASGIApp:
    return response.to_asgi_response(None, exchange.request)


@dataclass(slots=True)
class _Streamed:
    """The answer as a stream of chunks, as an ASGI app: from its first moment to its last somebody
    listens to the reply, or the turn is suspended."""

    exchange: Exchange
    reply: Reply

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        async with self.exchange.engine.listening(self.reply):
            try:
                response = await self._begin(receive)
            except ClientGone:
                response = _nothing(self.exchange)
            try:
                await response(scope, receive, send)
            except SendTimeoutError:
                log.info("a reader stopped reading and was cut off")

    async def _begin(self, receive: Receive) -> ASGIApp:
        """Wait for the first words: a failure before them is an answer of its own. A stream that is
        silent for long is begun without; then comments keep the connection open."""
        settings = self.exchange.settings
        async with connected(receive):
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.ping):
                    await self.reply.beginning()
        if self.reply.failed_early is not None:
            return _failed(self.exchange, self.reply, self.reply.failed_early)
        stream = EventSourceResponse(
            self._events(),
            headers=self.exchange.headers(self.reply),
            sep="\n",
            ping=settings.ping,
            send_timeout=settings.send_timeout,
        )
        return cast("ASGIApp", stream)

    async def _events(self) -> AsyncIterator[bytes]:
        options = self.exchange.body.stream_options
        chunks = Chunks(
            self.reply,
            model=self.exchange.body.model,
            fingerprint=self.exchange.fingerprint,
            with_usage=bool(options and options.include_usage),
        )
        opening = chunks.role()
        if not self.reply.begun:
            yield opening
            opening = b""
        try:
            async for pieces in self.reply.follow():
                yield opening + chunks.text(pieces)
                opening = b""
            yield opening + chunks.end(await self.reply.outcome())
        except GatewayError as error:
            yield opening + b"data: " + render_openai(describe(error)) + b"\n\n"


def _number(request: Asking, header: str) -> float | None:
    """A number above 0 that an OpenAI SDK tells of itself; anything else is as good as absent."""
    try:
        number = float(request.headers[header])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


ROUTES = [create_agency_completion, create_completion]
