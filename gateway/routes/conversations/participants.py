"""Routes by which people and bots come into a conversation and go, and are given rights:
`/api/conversations/{id}/participants`, `…/join`, `…/leave`, and `/api/invitations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, delete, get, patch, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from gateway import ids
from gateway.agency.engine.engine import Engine
from gateway.agency.intake.responder import admit, responder_of
from gateway.agency.teams.catalog import Catalog
from gateway.auth import Principal, Scope
from gateway.conversation.idempotency import Idempotency
from gateway.conversation.rooms.membership import Membership
from gateway.conversation.rooms.participants import Member, ParticipantKind
from gateway.conversation.rooms.rights import Right
from gateway.errors import InvalidRequest
from gateway.ids import TurnId
from gateway.routes.conversations.wire import (
    AsBot,
    Created,
    IdempotencyKey,
    InvitationList,
    NewParticipant,
    ParticipantPatch,
    invitation,
    member,
    place_in,
)
from gateway.routes.http.guards import needs
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD, MISSING, refusal
from gateway.streams.events import Participant

LED = MISSING | {403: refusal("`right_missing`: only the owner of the conversation may do this.")}
REUSED = {422: refusal("The idempotency key was used before with another request.")}
THERE = {409: refusal("`already_there`, or `full`.")}
STAYS = {409: refusal("`owner_stays`: the owner hands the conversation over first.")}
OWNERS = {409: refusal("`owner_rights`: the owner has every right.")}
NAMES = "A user name, the number of an agent or agency, or the name of a model."


@dataclass(frozen=True, slots=True)
class Lobby:
    """Who asks, and all that these routes need, as one dependency: each costs a task."""

    principal: Principal
    membership: Membership
    catalog: Catalog
    idempotency: Idempotency
    engine: Engine

    async def end_turns(self, conversation: UUID, gone: Member, why: str) -> list[TurnId]:
        """Cancel what a bot answers, in the transaction that it goes in. The caller stops the turns
        that are returned, once that is committed."""
        responder = responder_of(gone)
        turns = await self.membership.turns(conversation, responder) if responder else []
        return [turn_id for turn_id in turns if await self.engine.end(turn_id, why)]


TheLobby = NamedDependency[Lobby]


@post(
    "/{conversation_id:str}/participants",
    summary="Invite a user to a conversation, or add a bot",
    responses={201: ResponseSpec(Participant, generate_examples=False)}
    | BAD
    | LED
    | THERE
    | REUSED,
)
async def add_participant(
    conversation_id: FromPath[str],
    data: JSONBody[NewParticipant],
    lobby: TheLobby,
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """A user is invited, and joins with `POST …/join`; an agent, an agency or a model joins at
    once. Who has left can be invited again."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    new = member(data)
    await admit([new], lobby.catalog, lobby.principal)

    async def add() -> bytes:
        made = await lobby.membership.invite(conversation, lobby.principal, new)
        return msgspec.json.encode(made)

    user, asked = lobby.principal.user, (conversation, data)
    made = await lobby.idempotency.keyed(user, "add_participant", idempotency_key, asked, add)
    return Created(made)


@patch(
    "/{conversation_id:str}/participants",
    summary="Say who answers in a bot's place",
    responses=BAD | LED,
)
async def patch_participant(
    conversation_id: FromPath[str], data: JSONBody[ParticipantPatch], lobby: TheLobby
) -> Participant:
    """With `drive: manual` an agent or agency is served from outside: whatever it is to answer from
    then on waits in the inbox for somebody who answers in its place, and the others do not wait for
    that. With `auto` it answers by itself, what waits included."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    bot = Member(data.kind, data.identifier)
    responder = responder_of(bot)
    if responder is None or data.kind is ParticipantKind.MODEL:
        raise InvalidRequest("Only an agent or an agency is served from outside.", param="kind")
    async with lobby.membership.transaction():
        shown = await lobby.membership.set_drive(conversation, lobby.principal, bot, data.drive)
        if data.drive == "auto":
            await lobby.engine.free(conversation, responder)
    return shown


@delete(
    "/{conversation_id:str}/participants",
    summary="Remove a participant, or withdraw an invitation",
    responses=BAD | LED | STAYS,
)
async def remove_participant(
    conversation_id: FromPath[str],
    kind: FromQuery[ParticipantKind],
    identifier: Annotated[str, QueryParameter(max_length=256, description=NAMES)],
    lobby: TheLobby,
) -> None:
    """What they said stays. Replies that a bot is giving are cancelled."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    gone = Member(kind, identifier)
    async with lobby.membership.transaction():
        await lobby.membership.remove(conversation, lobby.principal, gone)
        ended = await lobby.end_turns(conversation, gone, "The participant was removed.")
    await lobby.engine.stop(ended)


@post("/{conversation_id:str}/join", status_code=200, summary="Follow an invitation")
async def join_conversation(conversation_id: FromPath[str], lobby: TheLobby) -> Participant:
    """Does nothing if you have joined already. Without an invitation the conversation is 404."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    return await lobby.membership.join(conversation, lobby.principal)


@post(
    "/{conversation_id:str}/leave",
    status_code=204,
    summary="Leave a conversation, or turn an invitation down",
    responses=BAD | MISSING | STAYS,
)
async def leave_conversation(
    conversation_id: FromPath[str], lobby: TheLobby, as_: AsBot = None
) -> None:
    """What you said stays, and the conversation is 404 for you from then on. With `as` a bot of
    yours leaves."""
    conversation, bot = ids.read(ids.CONVERSATION, conversation_id), place_in(as_)
    async with lobby.membership.transaction():
        await lobby.membership.leave(conversation, lobby.principal, bot)
        why = "The participant has left."
        ended = [] if bot is None else await lobby.end_turns(conversation, bot, why)
    await lobby.engine.stop(ended)


@put(
    "/{conversation_id:str}/participants/user/{identifier:str}/rights/{right:str}",
    summary="Give a user a right",
    responses=BAD | LED,
)
async def grant_right(
    conversation_id: FromPath[str],
    identifier: FromPath[str],
    right: FromPath[Right],
    lobby: TheLobby,
) -> Participant:
    """It holds from the user's next request on."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    return await lobby.membership.grant(conversation, lobby.principal, identifier, right)


@delete(
    "/{conversation_id:str}/participants/user/{identifier:str}/rights/{right:str}",
    status_code=200,
    summary="Take a right back",
    responses=BAD | LED | OWNERS,
)
async def revoke_right(
    conversation_id: FromPath[str],
    identifier: FromPath[str],
    right: FromPath[Right],
    lobby: TheLobby,
) -> Participant:
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    return await lobby.membership.revoke(conversation, lobby.principal, identifier, right)


@get("/", summary="List your invitations", responses=BAD)
async def list_invitations(
    lobby: TheLobby, limit: Limit = 20, cursor: Cursor = None
) -> InvitationList:
    """Conversations that you may join, the newest first, and who invited you."""
    page = await lobby.membership.invitations(lobby.principal.user, limit, cursor)
    return InvitationList([invitation(one) for one in page.items], page.next_cursor)


async def provide_lobby(request: Request[Principal, str, State]) -> Lobby:
    state = request.app.state
    return Lobby(
        principal=request.user,
        membership=Membership(state.database, state.announcer),
        catalog=state.catalog,
        idempotency=Idempotency(state.database),
        engine=state.engine,
    )


def _router(path: str, *handlers: ControllerRouterHandler) -> Router:
    return Router(
        path=path,
        route_handlers=handlers,
        dependencies={"lobby": Provide(provide_lobby)},
        guards=[needs(Scope.CONVERSATIONS)],
        tags=["Conversations"],
    )


ROUTES: list[ControllerRouterHandler] = [
    _router(
        "/api/conversations",
        add_participant,
        patch_participant,
        remove_participant,
        join_conversation,
        leave_conversation,
        grant_right,
        revoke_right,
    ),
    _router("/api/invitations", list_invitations),
]
