"""`/api/conversations`: conversations with people and bots in them. To others they are 404."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from litestar import Response, Router, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import UNSET

from gateway import ids
from gateway.agency.engine.engine import Engine
from gateway.agency.intake.responder import admit
from gateway.agency.ledger.outcome import describe
from gateway.agency.revision.removal import Removal
from gateway.agency.teams.catalog import Catalog
from gateway.auth import Principal, Scope
from gateway.conversation.idempotency import Idempotency
from gateway.conversation.lists.lists import Activity, Listings, Order, Place, Wanted, Whose
from gateway.conversation.rooms.membership import Membership
from gateway.conversation.rooms.participants import Participants
from gateway.conversation.rooms.rights import demand_lead
from gateway.conversation.rooms.rooms import Rooms
from gateway.errors import TurnCancelled
from gateway.postgres.database import Database
from gateway.routes.conversations.wire import (
    ConversationList,
    ConversationPatch,
    Created,
    IdempotencyKey,
    NewConversation,
    NewStatus,
    choices,
    in_place,
    members,
    named,
)
from gateway.routes.http.guards import needs
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD, MISSING, refusal
from gateway.streams.announcer import Announcer
from gateway.streams.events import Conversation, Participant, WholeConversation

ThePrincipal = NamedDependency[Principal]
Words = Annotated[
    str | None,
    QueryParameter(
        name="q",
        max_length=200,
        description="Part of a title, or words of a message: all of them, the last one may be"
        ' begun; `"a phrase"`, `-without`.',
    ),
]
Places = Annotated[
    str,
    QueryParameter(name="in", max_length=64, description="Where `q` is looked for, by commas."),
]
Who = Annotated[
    str | None,
    QueryParameter(
        max_length=300, description="Who is in it: a kind and an identifier, as `user/ann`."
    ),
]
States = Annotated[
    str | None,
    QueryParameter(
        name="state",
        max_length=64,
        description="Where a turn is `running`, `waiting` for somebody, or `failed`; by commas.",
    ),
]
AgencyId = Annotated[int | None, QueryParameter(ge=1, lt=10**18)]
MADE = {201: ResponseSpec(WholeConversation, generate_examples=False)}
REUSED = {422: refusal("The idempotency key was used before with another request.")}
KNOWN = MISSING | {403: refusal("`right_missing`: you are in it, but may not do this.")}


@dataclass(frozen=True, slots=True)
class RoomDesk:
    """All that these routes need, as one dependency: each costs a task."""

    rooms: Rooms
    listings: Listings
    participants: Participants
    membership: Membership
    catalog: Catalog
    removal: Removal
    idempotency: Idempotency
    engine: Engine


TheRoomDesk = NamedDependency[RoomDesk]


@post("/", summary="Create a conversation", responses=MADE | BAD | MISSING | REUSED)
async def create_conversation(
    data: JSONBody[NewConversation],
    desk: TheRoomDesk,
    principal: ThePrincipal,
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """You own it. Agents, agencies and models join at once and answer what is said; users are
    invited."""
    others = members(data)
    await admit(others, desk.catalog, principal)

    async def create() -> bytes:
        made = await desk.rooms.create(principal.user, data.title, data.drive, others)
        return msgspec.json.encode(await desk.rooms.whole(made))

    keyed = desk.idempotency.keyed
    return Created(await keyed(principal.user, "create_room", idempotency_key, data, create))


@get("/", summary="List conversations, newest first", responses=BAD)
async def list_conversations(
    desk: TheRoomDesk,
    principal: ThePrincipal,
    q: Words = None,
    in_: Places = "title,text",
    whose: FromQuery[Whose | None] = None,
    agency_id: AgencyId = None,
    participant: Who = None,
    activity: States = None,
    order: FromQuery[Order] = Order.CREATED,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> ConversationList:
    """Those that you own (`whose=mine`) or have joined (`shared`), or both; with `all` those, too,
    that an agency of yours answers in, and for admins every one. Whatever door they were begun
    at. What is looked for in what was said is found once a message is complete: `match`."""
    places = choices(in_, Place, "in")
    wanted = Wanted(
        words=q,
        in_titles=Place.TITLE in places,
        in_text=Place.TEXT in places,
        whose=whose,
        order=order,
        agency_id=agency_id,
        participant=None if participant is None else named(participant),
        activities=frozenset() if activity is None else choices(activity, Activity, "state"),
    )
    page = await desk.listings.page(principal, wanted, limit, cursor)
    return ConversationList(list(page.items), page.next_cursor)


@get("/{conversation_id:str}", summary="Read a conversation", responses=MISSING)
async def read_conversation(
    conversation_id: FromPath[str], desk: TheRoomDesk, principal: ThePrincipal
) -> WholeConversation:
    """Returns its newest 200 messages, oldest first, as a channel's `snapshot` does."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    await desk.participants.standing(conversation, principal)
    return await desk.rooms.whole(conversation)


@patch(
    "/{conversation_id:str}",
    summary="Rename a conversation, hand it over, or set who drives it",
    responses=BAD | KNOWN | {409: refusal("`not_joined`: the next owner must have joined.")},
)
async def patch_conversation(
    conversation_id: FromPath[str],
    data: JSONBody[ConversationPatch],
    desk: TheRoomDesk,
    principal: ThePrincipal,
) -> Conversation:
    """Only its owner may, or a key that may act as the owner. A `title` of null removes the title.
    The `owner` of before stays in the conversation, with the right to add messages.
    With `drive: manual` whatever a bot asks others or the library waits for somebody to answer it;
    `auto` has the bots continue at once."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    standing = await desk.participants.standing(conversation, principal)
    demand_lead(standing)
    async with desk.membership.transaction():  # all of it or nothing
        if data.title is not UNSET:
            await desk.rooms.entitle(conversation, data.title)
        if data.drive is not UNSET:
            await desk.engine.set_drive(conversation, data.drive)
        if data.owner is not UNSET:
            await desk.membership.hand_over(conversation, principal, data.owner)
    return await desk.rooms.one(conversation)


@delete("/{conversation_id:str}", summary="Delete a conversation", responses=KNOWN)
async def delete_conversation(
    conversation_id: FromPath[str], desk: TheRoomDesk, principal: ThePrincipal
) -> None:
    """Deletes all that was said, too. Replies that are being given are cancelled."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    why = describe(TurnCancelled("The conversation was deleted."))
    await desk.engine.stop(await desk.removal.delete([conversation], principal, why))


@post(
    "/{conversation_id:str}/restore",
    status_code=200,
    summary="Restore a conversation",
    responses=KNOWN,
)
async def restore_conversation(
    conversation_id: FromPath[str], desk: TheRoomDesk, principal: ThePrincipal
) -> Conversation:
    """Who may delete a conversation brings it back, with all that was in it then. Replies that
    were being given stay cancelled."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    await desk.removal.restore(conversation, principal)
    return await desk.rooms.one(conversation)


@put("/{conversation_id:str}/status", summary="Set your status", responses=BAD | MISSING)
async def put_status(
    conversation_id: FromPath[str],
    data: JSONBody[NewStatus],
    desk: TheRoomDesk,
    principal: ThePrincipal,
) -> Participant:
    """The channel tells it. A status that you do not send again within a minute ends, `writing`
    within ten seconds; `offline` lasts until you set another, and `idle` while you follow the
    channel. With `as` it is the status of a bot of yours."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    place = in_place(data.as_)
    return await desk.participants.set_status(conversation, principal, data.status, place)


async def _desk(
    database: NamedDependency[Database],
    announcer: NamedDependency[Announcer],
    catalog: NamedDependency[Catalog],
    engine: NamedDependency[Engine],
) -> RoomDesk:
    return RoomDesk(
        Rooms(database, announcer),
        Listings(database),
        Participants(database, announcer),
        Membership(database, announcer),
        catalog,
        Removal(database, announcer, engine.ledger.observer),
        Idempotency(database),
        engine,
    )


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/conversations",
        route_handlers=[
            create_conversation,
            list_conversations,
            read_conversation,
            patch_conversation,
            delete_conversation,
            restore_conversation,
            put_status,
        ],
        dependencies={"desk": Provide(_desk)},
        guards=[needs(Scope.CONVERSATIONS)],
        tags=["Conversations"],
    )
]
