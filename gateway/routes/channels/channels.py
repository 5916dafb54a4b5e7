"""Channels: what happens in a conversation, to a document, or in one's own lists, told while it
happens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Generic, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Send
from litestar.types import Scope as AsgiScope

from gateway import ids
from gateway.agency.personal.news import News
from gateway.auth import Principal, Scope
from gateway.errors import Forbidden, GatewayError, InvalidRequest, NotFound
from gateway.retrieval.documents.watch import Onlooker, Watch
from gateway.routes.channels import personal, progress
from gateway.routes.http.errors import handle
from gateway.routes.http.guards import TOKENED, token_of
from gateway.routes.shapes.refusals import MISSING
from gateway.settings import Settings
from gateway.streams.feed import Feed, Position, Unusable, Wish, no_channel
from gateway.streams.source import Reader
from gateway.streams.sse import Audience, Pace, changes, respond
from gateway.streams.tokens import StreamTokens

MOST_DIGITS = 18
"""Of a version: a bigint holds them all."""
SCOPES = frozenset({"chat", "conversations", "act_as", "admin"})
"""Any of them may read conversations."""

Follower = TypeVar("Follower", bound=Audience)
Asking: TypeAlias = Request[Principal, str, State]
StreamToken = Annotated[
    str | None, QueryParameter(name="token", description="In place of a key: a stream token.")
]
LastEventId = Annotated[
    str | None,
    QueryParameter(
        name="last_event_id", description="Where to go on, if there is no `Last-Event-ID` header."
    ),
]
View = Annotated[
    str | None,
    QueryParameter(description="`full`: each change sends the whole conversation."),
]


class TokenRequest(msgspec.Struct, frozen=True):
    channel: str


class TokenAnswer(msgspec.Struct, frozen=True):
    """`url` is the channel's path, with the token."""

    channel: str
    token: str
    url: str
    expires_at: datetime


@get(
    "/streams/{channel:str}",
    opt={TOKENED: True},
    summary="Follow a conversation, a reply or a document as Server-Sent Events",
    responses={
        200: ResponseSpec(
            str, media_type="text/event-stream", description="Events", generate_examples=False
        ),
        204: ResponseSpec(None, description="It has ended, and its reader knows it all."),
    }
    | MISSING,
)
async def follow_channel(
    request: Asking,
    channel: FromPath[str],
    feed: NamedDependency[Feed],
    watch: NamedDependency[Watch],
    news: NamedDependency[News],
    tokens: NamedDependency[StreamTokens],
    settings: NamedDependency[Settings],
    token: StreamToken = None,
    last_event_id: LastEventId = None,
    view: View = None,
) -> ASGIApp:
    """`channel` is a `stream_channel_id`. `conv_…` is a conversation. `conv_….int_…` is a single
    reply and ends with it; 204 says that it has ended already. `doc_…` is a document: each event
    holds the whole document, and the stream ends when it is `ready`, `failed` or deleted. `me` is
    your own: your lists as they change, without positions. Without a
    position the first event is `snapshot`. The `id` of an event is the conversation's version."""
    if view not in (None, "full"):
        raise InvalidRequest("'view' must be 'full', or left out.", param="view")
    key_id = await _key_id(request, channel, token, tokens)
    position = _position(_last_event_id(request) or last_event_id)
    pace = Pace.of(settings)
    if channel == personal.CHANNEL:
        return _Stream(request, news.follow(key_id), personal.told, pace)
    if channel.startswith(progress.PREFIX):
        onlooker = Onlooker(progress.read_channel(channel), key_id)
        return _Stream(request, watch.follow(onlooker, position), progress.progress, pace)
    conversation_id, only = read_channel(channel)
    wish = Wish(
        Reader(conversation_id, key_id), position, only, full=view == "full" and only is None
    )
    return _Stream(request, feed.follow(wish), partial(changes, feed), pace)


@post(
    "/api/streams/tokens",
    status_code=201,
    summary="Create a token with which a browser's EventSource follows a channel",
    responses=MISSING,
)
async def create_token(
    data: JSONBody[TokenRequest],
    feed: NamedDependency[Feed],
    watch: NamedDependency[Watch],
    tokens: NamedDependency[StreamTokens],
    principal: NamedDependency[Principal],
) -> TokenAnswer:
    """The token is valid for this channel, this caller and five minutes. A stream that is open
    stays open."""
    _require(principal, data.channel)
    if data.channel == personal.CHANNEL:
        pass  # everybody has one
    elif data.channel.startswith(progress.PREFIX):
        await watch.find(Onlooker(progress.read_channel(data.channel), principal.key_id))
    else:
        conversation_id, _ = read_channel(data.channel)
        await feed.access(Reader(conversation_id, principal.key_id))
    made = await tokens.issue(data.channel, principal.key_id)
    expires = datetime.fromtimestamp(made.expires, UTC)
    url = f"/streams/{data.channel}?token={made.text}"
    return TokenAnswer(data.channel, made.text, url, expires)


def read_channel(channel: str) -> tuple[UUID, UUID | None]:
    """The conversation, and for the channel of a reply its interaction. Raises NotFound."""
    conversation, dot, interaction = channel.partition(".")
    try:
        found = ids.read(ids.CONVERSATION, conversation)
        return found, ids.read(ids.INTERACTION, interaction) if dot else None
    except NotFound:
        raise no_channel() from None


def _require(principal: Principal, channel: str) -> None:
    if channel.startswith(progress.PREFIX):
        principal.require(Scope.RETRIEVAL)
    elif not principal.scopes & SCOPES:
        raise Forbidden("This key has none of the scopes that may read conversations.")


async def _key_id(request: Asking, channel: str, token: str | None, tokens: StreamTokens) -> str:
    if token is not None and token_of(request.scope["headers"]) is None:
        return await tokens.check(token, channel)
    _require(request.user, channel)
    return request.user.key_id


def _last_event_id(request: Asking) -> str | None:
    """Without `request.headers`, which would stay in memory for as long as the stream."""
    for name, value in request.scope["headers"]:
        if name == b"last-event-id":
            return value.decode("latin-1")
    return None


def _position(text: str | None) -> Position:
    if text is None or not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS:
        return int(text)
    return Unusable()


@dataclass(slots=True)
class _Stream(Generic[Follower]):
    """The stream as an ASGI app: its reader is followed from its first moment to its last."""

    request: Asking
    following: AbstractAsyncContextManager[Follower | None]
    tell: Callable[[Follower], AsyncGenerator[bytes, None]]
    pace: Pace

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        begun = False
        try:
            async with self.following as follower:
                begun = True
                if follower is None:
                    await self._answer(Response(b"", status_code=204), scope, receive, send)
                else:
                    await respond(follower, self.tell(follower), self.pace, receive, send)
        except GatewayError as error:
            if begun:
                raise
            await self._answer(handle(self.request, error), scope, receive, send)

    async def _answer(
        self, response: Response[bytes], scope: AsgiScope, receive: Receive, send: Send
    ) -> None:
        await response.to_asgi_response(None, self.request)(scope, receive, send)


ROUTES: list[ControllerRouterHandler] = [
    Router(path="/", route_handlers=[follow_channel, create_token], tags=["Streams"])
]
