"""`/api/conversations/{id}/messages`: what is said in a conversation, and changed afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from litestar import Request, Response, Router, delete, get, patch, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from gateway import ids
from gateway.agency.engine.engine import Engine
from gateway.agency.ledger.outcome import describe
from gateway.agency.revision.editing import Editing, Target
from gateway.agency.revision.removal import Removal
from gateway.auth import Principal, Scope
from gateway.conversation.idempotency import Act, Idempotency
from gateway.conversation.rooms.participants import Member, Participants
from gateway.conversation.rooms.rooms import Rooms
from gateway.errors import InvalidRequest, TurnCancelled
from gateway.ids import TurnId
from gateway.routes.conversations.wire import (
    AsBot,
    Created,
    Excluded,
    IdempotencyKey,
    IfMatch,
    MessageEdition,
    MessageHistory,
    MessageList,
    MessagePatch,
    NewMessage,
    Versioned,
    in_place,
    place_in,
    said,
    versions,
)
from gateway.routes.http.guards import needs
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD, MISSING, refusal
from gateway.streams.events import Interaction

ONE = "/{conversation_id:str}/messages/{message_id:str}"
MESSAGE = {200: ResponseSpec(Interaction, generate_examples=False)}
REUSED = {422: refusal("The idempotency key was used before with another request.")}
KNOWN = MISSING | {403: refusal("`right_missing`: you are in it, but may not do this.")}
CHANGED = {412: refusal("`version_mismatch`: `message`, beside the error, is as it is now.")}
SPEAKING = {409: refusal("`not_complete`: the reply is still being given.")}
After = Annotated[str | None, QueryParameter(description="Only messages that follow this one.")]
Around = Annotated[str | None, QueryParameter(description="This message, in the midst of others.")]


@dataclass(frozen=True, slots=True)
class MessageDesk:
    """Who asks, and all that these routes need, as one dependency: each costs a task."""

    principal: Principal
    rooms: Rooms
    participants: Participants
    editing: Editing
    idempotency: Idempotency
    engine: Engine

    def target(
        self,
        conversation_id: str,
        message_id: str,
        place: Member | None = None,
        if_match: str | None = None,
    ) -> Target:
        return Target(
            ids.read(ids.CONVERSATION, conversation_id),
            ids.read(ids.INTERACTION, message_id),
            self.principal,
            place,
            versions(if_match),
        )

    async def once(self, what: str, key: str | None, body: object, act: Act) -> bytes:
        return await self.idempotency.keyed(self.principal.user, what, key, body, act)


TheMessageDesk = NamedDependency[MessageDesk]


@post(
    "/{conversation_id:str}/messages",
    summary="Say something in a conversation",
    responses={201: ResponseSpec(Interaction, generate_examples=False)} | BAD | KNOWN | REUSED,
)
async def add_message(
    conversation_id: FromPath[str],
    data: JSONBody[NewMessage],
    desk: TheMessageDesk,
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """The call returns at once. Those bots then reply that the message addresses (`@programmer`,
    `#143`), or else all of them, one after the other in their order, and the channel tells it. With
    `as` you speak in the place of a bot of yours, and only those reply whom you address."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    message = said(conversation, data)

    async def say() -> bytes:
        made = await desk.engine.say(message, desk.principal)
        return msgspec.json.encode(await desk.rooms.message(made))

    # As it was hashed before one could speak for a bot: while processes are replaced one by one, a
    # retry may meet another version than its first try.
    asked: dict[str, object] = {
        "conversation_id": conversation,
        "content": message.content,
        "file_ids": message.file_ids,
    }
    if message.place is not None:
        asked["place"] = message.place
    return Created(await desk.once("add_message", idempotency_key, asked, say))


@get(
    "/{conversation_id:str}/messages",
    summary="List the messages of a conversation, newest first",
    responses=BAD | MISSING,
)
async def list_messages(
    conversation_id: FromPath[str],
    desk: TheMessageDesk,
    limit: Limit = 20,
    cursor: Cursor = None,
    after: After = None,
    around: Around = None,
) -> MessageList:
    """The newest ones, unless `cursor`, `after` or `around` says where to begin."""
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    if [cursor, after, around].count(None) < 2:
        raise InvalidRequest("Only one of `cursor`, `after` and `around` can be.", param="cursor")
    await desk.participants.standing(conversation, desk.principal)
    if after is not None:
        one = ids.read(ids.INTERACTION, after)
        found = await desk.rooms.messages_after(conversation, limit, one)
    elif around is not None:
        one = ids.read(ids.INTERACTION, around)
        found = await desk.rooms.messages_around(conversation, limit, one)
    else:
        found = await desk.rooms.messages(conversation, limit, cursor)
    return MessageList(list(found.items), found.older, found.newer)


@get(ONE, summary="Read a message", responses=MESSAGE | MISSING)
async def read_message(
    conversation_id: FromPath[str], message_id: FromPath[str], desk: TheMessageDesk
) -> Response[bytes]:
    return Versioned(await desk.editing.read(desk.target(conversation_id, message_id)))


@patch(ONE, summary="Edit a message", responses=MESSAGE | BAD | KNOWN | SPEAKING | CHANGED | REUSED)
async def edit_message(
    conversation_id: FromPath[str],
    message_id: FromPath[str],
    data: JSONBody[MessagePatch],
    desk: TheMessageDesk,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Your own, or any with the right `edit_others_messages`. Agents hear the new words from then
    on; replies to the old ones stay and are `outdated`."""
    target = desk.target(conversation_id, message_id, in_place(data.as_), if_match)

    async def edit() -> bytes:
        return msgspec.json.encode(await desk.editing.edit(target, data.content))

    asked = conversation_id, message_id, data, if_match
    edited = await desk.once("edit_message", idempotency_key, asked, edit)
    return Versioned(msgspec.json.decode(edited, type=Interaction))


@delete(ONE, summary="Delete a message", responses=BAD | KNOWN | CHANGED | REUSED)
async def delete_message(
    conversation_id: FromPath[str],
    message_id: FromPath[str],
    desk: TheMessageDesk,
    as_: AsBot = None,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Your own, or any with the right `delete_others_messages`. Replies to it that are being given
    are cancelled."""
    target = desk.target(conversation_id, message_id, place_in(as_), if_match)
    why = describe(TurnCancelled("The message was deleted."))
    cancelled: list[TurnId] = []

    async def delete_() -> bytes:
        cancelled.extend(await desk.editing.delete(target, why))
        return b""

    asked = conversation_id, message_id, as_, if_match
    await desk.once("delete_message", idempotency_key, asked, delete_)
    await desk.engine.stop(cancelled)


@post(f"{ONE}/restore", status_code=200, summary="Restore a message", responses=MESSAGE | KNOWN)
async def restore_message(
    conversation_id: FromPath[str],
    message_id: FromPath[str],
    desk: TheMessageDesk,
    as_: AsBot = None,
) -> Response[bytes]:
    """What you deleted yourself, or any with the right `delete_others_messages`. Replies that were
    cancelled by its deletion stay so."""
    target = desk.target(conversation_id, message_id, place_in(as_))
    return Versioned(await desk.editing.restore(target))


@put(f"{ONE}/excluded", summary="Keep a message from the agents", responses=MESSAGE | BAD | KNOWN)
async def exclude_message(
    conversation_id: FromPath[str],
    message_id: FromPath[str],
    data: JSONBody[Excluded],
    desk: TheMessageDesk,
) -> Response[bytes]:
    """With `excluded: false` they hear it again. Only the owner of the conversation may."""
    target = desk.target(conversation_id, message_id)
    return Versioned(await desk.editing.exclude(target, excluded=data.excluded))


@get(f"{ONE}/history", summary="Read what a message said before", responses=MISSING)
async def message_history(
    conversation_id: FromPath[str], message_id: FromPath[str], desk: TheMessageDesk
) -> MessageHistory:
    """Oldest first; the last is what it says now."""
    editions = await desk.editing.history(desk.target(conversation_id, message_id))
    return MessageHistory(
        [MessageEdition(one.version, one.owner, one.content, one.written_at) for one in editions]
    )


async def provide_message_desk(request: Request[Principal, str, State]) -> MessageDesk:
    state = request.app.state
    database, announcer, engine = state.database, state.announcer, state.engine
    removal = Removal(database, announcer, engine.ledger.observer)
    return MessageDesk(
        principal=request.user,
        rooms=Rooms(database, announcer),
        participants=Participants(database, announcer),
        editing=Editing(database, announcer, removal),
        idempotency=Idempotency(database),
        engine=engine,
    )


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/conversations",
        route_handlers=[
            add_message,
            list_messages,
            read_message,
            edit_message,
            delete_message,
            restore_message,
            exclude_message,
            message_history,
        ],
        dependencies={"desk": Provide(provide_message_desk)},
        guards=[needs(Scope.CONVERSATIONS)],
        tags=["Conversations"],
    )
]
