"""`/api/webhooks`: who is told by a request what happens, and what was sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from litestar import Router, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct
from msgspec.structs import asdict

from gateway import ids
from gateway.agency.teams.catalog import Catalog
from gateway.auth import Principal, Scope
from gateway.conversation.rooms.participants import Participants
from gateway.conversation.webhooks.webhooks import MOST, Event, Hook, Sent, Webhooks
from gateway.postgres.database import Database
from gateway.routes.http.guards import needs
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD, MISSING, refusal
from gateway.streams.announcer import Announcer

FULL = {409: refusal(f"`full`: a user has at most {MOST} webhooks.")}
DELIVERIES = "/{webhook_id:str}/deliveries"


class NewWebhook(Struct, forbid_unknown_fields=True):
    """Without a conversation or an agency it is told of all that you may read."""

    url: Annotated[str, Meta(max_length=2000, examples=["https://example.com/hook"])]
    events: Annotated[list[Event], Meta(min_length=1, max_length=20)]
    conversation_id: str | None = None
    agency_id: Annotated[int, Meta(ge=1, lt=10**18)] | None = None


class OneWebhook(Struct):
    """One that is `disabled_at` was answered 410, and is told nothing more."""

    id: str
    url: str
    events: list[Event]
    conversation_id: str | None
    agency_id: int | None
    created_at: datetime
    disabled_at: datetime | None


class CreatedWebhook(OneWebhook):
    """`secret` is shown this once. It checks signatures, as Standard Webhooks has them."""

    secret: str


class WebhookList(Struct):
    data: list[OneWebhook]
    next_cursor: str | None


class Answer(Struct):
    """What the receiver answered last: a status and how the body begins. Without a status `error`
    says why there is none: `timeout`, `no_connection`, `address_refused`."""

    at: datetime
    status: int | None
    body: str | None
    error: str | None


class Delivery(Struct):
    id: str
    event: Event
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    answer: Answer | None


class DeliveryList(Struct):
    data: list[Delivery]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class WebhookDesk:
    """All that these routes need, as one dependency: each costs a task."""

    principal: Principal
    webhooks: Webhooks
    catalog: Catalog


TheWebhookDesk = NamedDependency[WebhookDesk]


@post("/", summary="Be told by requests what happens", responses=BAD | MISSING | FULL)
async def create_webhook(data: JSONBody[NewWebhook], desk: TheWebhookDesk) -> CreatedWebhook:
    """It stands for your key: once that is revoked, or you may no longer read a conversation,
    nothing is sent. Attempts that fail are repeated for 24 hours."""
    conversation: UUID | None = None
    if data.conversation_id is not None:
        conversation = ids.read(ids.CONVERSATION, data.conversation_id)
    if data.agency_id is not None:
        await desk.catalog.read(data.agency_id, desk.principal)
    made, secret = await desk.webhooks.create(
        desk.principal, data.url, data.events, conversation, data.agency_id
    )
    return CreatedWebhook(**asdict(_shown(made)), secret=secret)


@get("/", summary="List your webhooks, newest first", responses=BAD)
async def list_webhooks(
    desk: TheWebhookDesk, limit: Limit = 20, cursor: Cursor = None
) -> WebhookList:
    page = await desk.webhooks.page(desk.principal.user, limit, cursor)
    return WebhookList([_shown(one) for one in page.items], page.next_cursor)


@delete("/{webhook_id:str}", summary="Remove a webhook", responses=MISSING)
async def delete_webhook(webhook_id: FromPath[str], desk: TheWebhookDesk) -> None:
    """What was sent to it is forgotten, too."""
    await desk.webhooks.delete(ids.read(ids.WEBHOOK, webhook_id), desk.principal.user)


@get(DELIVERIES, summary="List what was sent to a webhook, newest first", responses=BAD | MISSING)
async def list_deliveries(
    webhook_id: FromPath[str], desk: TheWebhookDesk, limit: Limit = 20, cursor: Cursor = None
) -> DeliveryList:
    """Those of the last 30 days."""
    webhook = ids.read(ids.WEBHOOK, webhook_id)
    page = await desk.webhooks.deliveries(webhook, desk.principal.user, limit, cursor)
    return DeliveryList([_delivery(one) for one in page.items], page.next_cursor)


@post(
    f"{DELIVERIES}/{{delivery_id:str}}/redeliver",
    status_code=202,
    summary="Send something again",
    responses=MISSING,
)
async def redeliver(
    webhook_id: FromPath[str], delivery_id: FromPath[str], desk: TheWebhookDesk
) -> Delivery:
    """The same bytes under the same id, at once, and again for 24 hours."""
    webhook, delivery = ids.read(ids.WEBHOOK, webhook_id), ids.read(ids.DELIVERY, delivery_id)
    return _delivery(await desk.webhooks.redeliver(webhook, desk.principal.user, delivery))


def _shown(hook: Hook) -> OneWebhook:
    conversation = hook.conversation_id
    return OneWebhook(
        ids.show(ids.WEBHOOK, hook.id),
        hook.url,
        list(hook.events),
        None if conversation is None else ids.show(ids.CONVERSATION, conversation),
        hook.agency_id,
        hook.created_at,
        hook.disabled_at,
    )


def _delivery(sent: Sent) -> Delivery:
    answer = None
    if sent.answered_at is not None:
        answer = Answer(sent.answered_at, sent.status, sent.answer, sent.error)
    return Delivery(
        ids.show(ids.DELIVERY, sent.id),
        sent.event,
        "delivered" if sent.delivered_at else "failed" if sent.failed_at else "pending",
        sent.attempts,
        sent.created_at,
        sent.due_at,
        answer,
    )


async def _desk(
    database: NamedDependency[Database],
    announcer: NamedDependency[Announcer],
    catalog: NamedDependency[Catalog],
    principal: NamedDependency[Principal],
) -> WebhookDesk:
    webhooks = Webhooks(database, Participants(database, announcer))
    return WebhookDesk(principal, webhooks, catalog)


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/webhooks",
        route_handlers=[
            create_webhook,
            list_webhooks,
            delete_webhook,
            list_deliveries,
            redeliver,
        ],
        dependencies={"desk": Provide(_desk)},
        guards=[needs(Scope.CONVERSATIONS)],
        tags=["Webhooks"],
    )
]
