"""`/api/conversations/{id}/forks` and `…/branches`: talk that goes on in another way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import UNSET

from gateway import ids
from gateway.agency.engine.engine import Engine
from gateway.agency.revision.branches import Branch, Branches
from gateway.agency.turn.request import RoomMessage
from gateway.auth import Principal, Scope
from gateway.conversation.idempotency import Idempotency
from gateway.conversation.rooms.rooms import Rooms
from gateway.errors import InvalidRequest
from gateway.routes.conversations.wire import (
    BranchNode,
    BranchTree,
    Created,
    IdempotencyKey,
    NewFork,
)
from gateway.routes.http.guards import needs
from gateway.routes.shapes.refusals import BAD, MISSING, refusal
from gateway.streams.events import WholeConversation

MADE = {201: ResponseSpec(WholeConversation, generate_examples=False)}
REUSED = {422: refusal("The idempotency key was used before with another request.")}
SPEAKING = {409: refusal("`not_complete`: the reply is still being given.")}


@dataclass(frozen=True, slots=True)
class Forking:
    """Who asks, and all that these routes need, as one dependency: each costs a task."""

    principal: Principal
    branches: Branches
    rooms: Rooms
    idempotency: Idempotency
    engine: Engine

    async def fork(self, conversation: UUID, wanted: NewFork) -> UUID:
        """The branch, in which whoever is asked has been asked. Within a transaction."""
        at, principal = ids.read(ids.INTERACTION, wanted.at), self.principal
        leaving = await self.branches.leaving(conversation, at, principal)
        if wanted.content is not UNSET:
            files = leaving.files_of(principal.user)
            if not (wanted.content or files):
                raise InvalidRequest("A message needs content or files.", param="content")
            copy = await self.branches.before(leaving, principal)
            await self.engine.say(RoomMessage(copy, wanted.content, files), principal)
            return copy
        if wanted.regenerate:
            copy = await self.branches.again(leaving, principal)
            self.engine.begin_next(copy)
            return copy
        return await self.branches.after(leaving, principal)


TheForking = NamedDependency[Forking]


@post(
    "/{conversation_id:str}/forks",
    summary="Branch a conversation",
    responses=MADE | BAD | MISSING | SPEAKING | REUSED,
)
async def fork_conversation(
    conversation_id: FromPath[str],
    data: JSONBody[NewFork],
    forking: TheForking,
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Returns a conversation of yours that has all that was said up to `at`. Its bots come along,
    other people do not."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    if data.regenerate and data.content is not UNSET:
        raise InvalidRequest("Only one of `content` and `regenerate` can be.", param="content")

    async def make() -> bytes:
        copy = await forking.fork(conversation, data)
        return msgspec.json.encode(await forking.rooms.whole(copy))

    user, asked = forking.principal.user, (conversation, data)
    return Created(await forking.idempotency.keyed(user, "fork", idempotency_key, asked, make))


@get(
    "/{conversation_id:str}/branches",
    summary="List the branches of a conversation",
    responses=MISSING,
)
async def list_branches(conversation_id: FromPath[str], forking: TheForking) -> BranchTree:
    """All that have the same root and that you may read, oldest first, those made at a chat door
    included. A parent that is gone, or not yours to read, is named by its id alone."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    return tree(await forking.branches.tree(conversation, forking.principal))


def tree(found: Sequence[Branch]) -> BranchTree:
    return BranchTree(
        ids.show(ids.CONVERSATION, found[0].root_id),
        [
            BranchNode(
                conversation_id=ids.show(ids.CONVERSATION, one.id),
                parent_id=_shown(ids.CONVERSATION, one.parent_id),
                at_interaction_id=_shown(ids.INTERACTION, one.at_interaction_id),
                title=one.title,
                turns=one.turns,
                excerpt=one.excerpt,
                door=one.door,
                created_at=one.created_at,
            )
            for one in found
        ],
    )


def _shown(prefix: str, one: UUID | None) -> str | None:
    return None if one is None else ids.show(prefix, one)


async def provide_forking(request: Request[Principal, str, State]) -> Forking:
    state = request.app.state
    database, announcer = state.database, state.announcer
    return Forking(
        principal=request.user,
        branches=Branches(database, announcer, state.catalog),
        rooms=Rooms(database, announcer),
        idempotency=Idempotency(database),
        engine=state.engine,
    )


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/conversations",
        route_handlers=[fork_conversation, list_branches],
        dependencies={"forking": Provide(provide_forking)},
        guards=[needs(Scope.CONVERSATIONS)],
        tags=["Conversations"],
    )
]
