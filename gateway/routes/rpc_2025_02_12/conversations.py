"""`POST /rpc/2025-02-12/<endpoint>`: svc_conversation, whose shapes stand in `rpc_2025_02_12`."""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec
from litestar import Response, Router, post
from litestar.di import Provide
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from gateway import ids
from gateway.agency.intake.queue import NoResponder
from gateway.agency.ledger.outcome import describe
from gateway.agency.teams.catalog import Catalog
from gateway.agency.turn.request import AGENCY, Posted, agency_id
from gateway.auth import Principal, Scope
from gateway.conversation.idempotency import Claim, body_hash
from gateway.errors import NotFound, TurnCancelled
from gateway.routes.http.guards import RECALLED, Guarded, needs
from gateway.routes.rpc_2025_02_12 import answers as rpc_answers
from gateway.routes.rpc_2025_02_12 import skill_sets
from gateway.routes.rpc_2025_02_12.calls import (
    NEXT_CURSOR,
    PATH,
    EveryReason,
    PagedOperation,
    TheRpcDesk,
    answer,
    answers,
    nothing,
    on_behalf_of,
    provide_desk,
    refusals,
)
from gateway.routes.rpc_2025_02_12.contract import (
    ConversationsWithInteractions,
    ConversationWithInteractions,
    CreateConversation,
    CreateConversationMessage,
    CreatedConversation,
    CreatedConversationMessage,
    DeleteConversations,
    DeleteInteractions,
    GetConversationWithInteractions,
    ListConversationsWithInteractions,
    UpdateInteractionExcludedState,
)
from gateway.routes.shapes.reasons import INVALID, MISSING, Reason, Violations

BREATH = 25
"""Conversations of a list that are put in shape before others have their turn."""


@post(
    "/create_conversation",
    status_code=200,
    summary="Create a conversation",
    responses=answers(CreatedConversation) | refusals(400, 403, 404, 422),
)
async def create_conversation(
    data: JSONBody[CreateConversation],
    desk: TheRpcDesk,
) -> Response[bytes]:
    """It has no title yet, and is given one after its first reply."""
    caller, options = on_behalf_of(data.owner, desk.principal), data.ai_relay_options
    await _check_responder(options.model_id, caller, desk.catalog)

    async def create() -> bytes:
        made = await desk.conversations.create(caller.user, options.provider_id, options.model_id)
        return msgspec.json.encode(rpc_answers.created(made))

    claim = Claim(caller.user, "create_conversation", data.idempotency_key, body_hash(data))
    return answer(await desk.idempotency.once(claim, create))


@Guarded(
    "/create_conversation_message",
    http_method="POST",
    status_code=200,
    summary="Say something in a conversation, and have it answered",
    opt={RECALLED: True},
    responses=answers(CreatedConversationMessage) | refusals(400, 403, 404, 422),
)
async def create_conversation_message(
    data: JSONBody[CreateConversationMessage],
    desk: TheRpcDesk,
) -> Response[bytes]:
    """With `use_streaming` the call returns at once, and the channel tells the reply. A message
    waits for those before it. The reply goes on if the caller goes away; a reply that failed has
    `errors`."""
    caller = on_behalf_of(data.owner, desk.principal)
    (conversation_id,) = ids.read_all(ids.CONVERSATION, [data.conversation_id])
    claim = Claim(caller.user, "create_conversation_message", data.idempotency_key, body_hash(data))
    try:
        posting, conversation = await desk.engine.post(
            _posted(data, conversation_id), caller, claim
        )
    except NoResponder:
        told = "ai_relay_options is missing: the conversation has no model of its own."
        raise Violations([Reason(MISSING, told)]) from None
    if posting.response is not None:
        return answer(posting.response)
    if not data.options.use_streaming:
        await desk.engine.finish(posting.turn_id)
    said, reply = await desk.conversations.interactions([posting.input_id, posting.reply_id])
    body = msgspec.json.encode(rpc_answers.message(conversation, posting, said, reply))
    return answer(await desk.idempotency.settle(claim, body))


@post(
    "/get_conversation_with_interactions",
    status_code=200,
    summary="Read a conversation",
    responses=refusals(400, 404),
)
async def get_conversation_with_interactions(
    data: JSONBody[GetConversationWithInteractions],
    desk: TheRpcDesk,
) -> ConversationWithInteractions:
    (conversation_id,) = ids.read_all(ids.CONVERSATION, [data.conversation_id])
    return rpc_answers.with_interactions(
        await desk.conversations.whole(conversation_id, desk.principal)
    )


@post(
    "/list_conversations_with_interactions",
    status_code=200,
    summary="List an owner's conversations, oldest first",
    responses=answers(ConversationsWithInteractions) | refusals(400, 403),
    operation_class=PagedOperation,
)
async def list_conversations_with_interactions(
    data: JSONBody[ListConversationsWithInteractions],
    desk: TheRpcDesk,
) -> Response[bytes]:
    """Returns them in the order of their making. A page that others follow has an
    `x-next-cursor`."""
    caller = on_behalf_of(data.owner, desk.principal)
    after = None if data.cursor is None else _cursor(data.cursor)
    page = await desk.conversations.page(caller.user, data.limit, after)
    listed = []
    for number, whole in enumerate(page.items):
        if not number % BREATH:
            await asyncio.sleep(0)
        listed.append(rpc_answers.listed(whole))
    response = answer(msgspec.json.encode(ConversationsWithInteractions(listed)))
    if page.next_cursor is not None:
        response.set_header(NEXT_CURSOR, page.next_cursor)
    return response


@post(
    "/delete_conversations",
    status_code=200,
    summary="Delete conversations, all or none",
    responses=answers(None) | refusals(400, 403, 404),
)
async def delete_conversations(
    data: JSONBody[DeleteConversations],
    desk: TheRpcDesk,
) -> Response[bytes]:
    """Deletes their interactions, too. Replies that are being given are cancelled."""
    wanted = ids.read_all(ids.CONVERSATION, data.conversation_ids)
    why = describe(TurnCancelled("The conversation was deleted."))
    await desk.engine.stop(await desk.removal.delete(wanted, desk.principal, why))
    return nothing()


@post(
    "/delete_interactions",
    status_code=200,
    summary="Delete interactions, all or none",
    responses=answers(None) | refusals(400, 403, 404),
)
async def delete_interactions(
    data: JSONBody[DeleteInteractions],
    desk: TheRpcDesk,
) -> Response[bytes]:
    """No agent is shown their words again. A reply that is being given is cancelled if its message,
    or the reply itself, is deleted."""
    given = data.interaction_ids
    wanted = ids.read_all(ids.INTERACTION, [given] if isinstance(given, str) else given)
    why = describe(TurnCancelled("Its message, or the reply itself, was deleted."))
    await desk.engine.stop(await desk.removal.delete_interactions(wanted, desk.principal, why))
    return nothing()


@post(
    "/update_interaction_excluded_state",
    status_code=200,
    summary="Keep an interaction from the agents, or show it again",
    responses=answers(None) | refusals(400, 403, 404),
)
async def update_interaction_excluded_state(
    data: JSONBody[UpdateInteractionExcludedState],
    desk: TheRpcDesk,
) -> Response[bytes]:
    """An excluded message takes its whole turn along, an excluded reply is left out alone."""
    (interaction_id,) = ids.read_all(ids.INTERACTION, [data.interaction_id])
    await desk.removal.exclude(interaction_id, desk.principal, excluded=data.excluded)
    return nothing()


async def _check_responder(model_id: str, caller: Principal, catalog: Catalog) -> None:
    """Raises NotFound for an agency that the caller may not use."""
    number = agency_id(model_id)
    if number is not None:
        await catalog.read(number, caller)
    elif model_id.startswith(AGENCY):
        raise NotFound(f"There is no agency {model_id[:64]!r}.", code="agency_not_found")


def _posted(data: CreateConversationMessage, conversation_id: UUID) -> Posted:
    options = data.ai_relay_options
    return Posted(
        conversation_id,
        None if options is None else options.model_id,
        data.message_content,
        provider=None if options is None else options.provider_id,
        file_ids=tuple(ids.read_all(ids.FILE, data.file_ids)),
        skill_set_ids=tuple(ids.read_all(ids.SKILL_SET, data.skill_set_ids)),
    )


def _cursor(text: str) -> UUID:
    try:
        return ids.read(ids.CONVERSATION, text)
    except NotFound:
        raise Violations([Reason(INVALID, "cursor is invalid.")]) from None


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path=PATH,
        route_handlers=[
            create_conversation,
            create_conversation_message,
            get_conversation_with_interactions,
            list_conversations_with_interactions,
            delete_conversations,
            delete_interactions,
            update_interaction_excluded_state,
            *skill_sets.HANDLERS,
        ],
        dto=EveryReason,
        return_dto=None,
        guards=[needs(Scope.CONVERSATIONS)],
        dependencies={"desk": Provide(provide_desk)},
        tags=["RPC 2025-02-12"],
    )
]
