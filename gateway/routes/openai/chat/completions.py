"""The OpenAI door: chat completions, streaming and not."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import perf_counter

import msgspec
from litestar.params import FromPath, JSONBody
from litestar.types import ASGIApp

from gateway import ids
from gateway.agency.engine.engine import Engine
from gateway.agency.plain.offer import AGENCY
from gateway.agency.turn.reply import Outcome, Reply
from gateway.auth import Scope
from gateway.errors import GatewayError, InvalidRequest, NotFound
from gateway.routes.http.guards import RECALLED, Guarded
from gateway.routes.openai import exchange
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
from gateway.routes.openai.exchange import Asking
from gateway.settings import Settings

_CANONICAL = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(slots=True)
class CompletionWire:
    """How chat completions tell of a reply. `fingerprint` says who answers."""

    body: ChatCompletionRequest
    metadata: dict[str, str]
    fingerprint: str
    started: float

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

    def whole(self, reply: Reply, outcome: Outcome) -> bytes:
        answer = completion(
            reply,
            outcome,
            model=self.body.model,
            fingerprint=self.fingerprint,
            metadata=self.metadata,
        )
        return msgspec.json.encode(answer)

    async def events(self, reply: Reply) -> AsyncIterator[bytes]:
        options = self.body.stream_options
        chunks = Chunks(
            reply,
            model=self.body.model,
            fingerprint=self.fingerprint,
            with_usage=bool(options and options.include_usage),
        )
        opening = chunks.role()
        if not reply.begun:
            yield opening
            opening = b""
        try:
            async for pieces in reply.follow():
                yield opening + chunks.said(pieces)
                opening = b""
            yield opening + chunks.end(await reply.outcome())
        except GatewayError as error:
            yield opening + exchange.error_event(error)


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
    return await _answer(request, data, agency_id)


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
    return await _answer(request, data, agency_of(data.model))


def agency_of(model: str) -> int:
    """The agency that a model's name stands for. Raises NotFound."""
    kind, _, number = model.partition("/")
    if kind != "agency" or not _CANONICAL.fullmatch(number):
        raise NotFound(
            f"There is no model {model[:64]!r} here. An agency is named agency/<id>.",
            param="model",
            code="model_not_found",
        )
    return int(number)


async def _answer(request: Asking, data: ChatCompletionRequest, agency_id: int) -> ASGIApp:
    started = perf_counter()
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
    engine: Engine = request.app.state.engine
    settings: Settings = request.app.state.settings
    if (wanted := asked.ask.wanted) and (why := await engine.checks.unusable(wanted)):
        raise InvalidRequest(f"The schema can't be used: {why}", param="response_format")
    claim = exchange.claim_of(request, "chat.completions", data, asked.responder)
    reply = await exchange.accepted(request, asked, agency_id, claim)
    fingerprint = REHEARSAL_FINGERPRINT if settings.rehearses else FINGERPRINT
    wire = CompletionWire(data, asked.metadata, fingerprint, started)
    return await exchange.answer(request, reply, wire, streamed=bool(data.stream))


def _number(request: Asking, header: str) -> float | None:
    """A number above 0 that an OpenAI SDK tells of itself; anything else is as good as absent."""
    try:
        number = float(request.headers[header])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


ROUTES = [create_agency_completion, create_completion]
