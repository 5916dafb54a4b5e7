"""What the endpoints of the RPC door have in common: how a body is read, for whom a caller acts,
and how ids are told apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.dto import AbstractDTO
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    Schema,
)
from litestar.typing import FieldDefinition

from gateway.agency.engine.engine import Engine
from gateway.agency.revision.removal import Removal
from gateway.agency.teams.catalog import Catalog
from gateway.auth import Principal, Scope
from gateway.conversation.assets.skill_sets import SkillSets
from gateway.conversation.idempotency import Idempotency
from gateway.conversation.store import Conversations
from gateway.errors import Forbidden
from gateway.postgres.database import Database
from gateway.routes.http.errors import JSON
from gateway.routes.rpc_2025_02_12.contract import ConversationOwner, RpcError
from gateway.routes.shapes import reasons
from gateway.streams.announcer import Announcer

PATH = "/rpc/2025-02-12"
NEXT_CURSOR = "x-next-cursor"


class _Schemas(Protocol):
    """Litestar's maker of schemas, which it does not export."""

    def for_field_definition(self, field_definition: FieldDefinition) -> Schema | Reference: ...


class EveryReason(AbstractDTO[msgspec.Struct]):
    """Reads a body by our own rules: Litestar's tell of the first violation alone."""

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: object = None
    ) -> None:
        """Nothing is made beforehand."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: _Schemas
    ) -> Reference | Schema:
        return schema_creator.for_field_definition(field_definition)

    def decode_bytes(self, value: bytes) -> msgspec.Struct:
        field = self.asgi_connection.route_handler.parsed_data_field
        if field is None:
            raise LookupError("a body is read for a handler that asks for none")
        wanted: type[msgspec.Struct] = field.annotation
        return reasons.read(value, wanted)


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    told = {
        400: "All that is wrong with the request.",
        403: "`owner_mismatch`: the owner is another than the caller. `right_missing`: the caller "
        "may read the conversation, but not do this in it.",
        404: "Something that the request names is not there, or not the caller's.",
        422: "The idempotency key was used before with another request.",
    }
    return {
        status: ResponseSpec(RpcError, description=told[status], generate_examples=False)
        for status in statuses
    }


def answers(shape: type[msgspec.Struct] | None) -> dict[int, ResponseSpec]:
    """For answers that are encoded by us."""
    return {200: ResponseSpec(shape, description="Done", generate_examples=False)}


@dataclass
class PagedOperation(Operation):
    """Documents the header of an answer that is encoded by us."""

    def __post_init__(self) -> None:
        told = "The next page's `cursor`; missing on the last page."
        header = OpenAPIHeader(schema=Schema(type=OpenAPIType.STRING), description=told)
        response = None if self.responses is None else self.responses["200"]
        if isinstance(response, OpenAPIResponse):
            response.headers = {NEXT_CURSOR: header}


def on_behalf_of(owner: ConversationOwner, principal: Principal) -> Principal:
    """The caller, as the owner that the body names, and as nobody else. Raises Forbidden."""
    if owner.identifier != principal.user and not principal.may(Scope.ACT_AS):
        raise Forbidden(
            f"The owner must be {principal.user}: this key may not act as others.",
            code="owner_mismatch",
        )
    scopes = principal.scopes - {Scope.ACT_AS}
    return replace(principal, user=owner.identifier, scopes=scopes)


def whose(principal: Principal) -> str | None:
    """Whose rows are found where the body names no owner: the caller's, or with None anybody's."""
    return None if principal.may(Scope.ACT_AS) else principal.user


def answer(body: bytes) -> Response[bytes]:
    return Response(body, media_type=JSON)


def nothing() -> Response[bytes]:
    """The answer null."""
    return answer(b"null")


@dataclass(frozen=True, slots=True)
class RpcDesk:
    """Who asks, and all that these endpoints need, as one dependency: each costs a task."""

    principal: Principal
    engine: Engine
    catalog: Catalog
    conversations: Conversations
    removal: Removal
    skill_sets: SkillSets
    idempotency: Idempotency


TheRpcDesk = NamedDependency[RpcDesk]


async def provide_desk(request: Request[Principal, str, State]) -> RpcDesk:
    state = request.app.state
    database: Database = state.database
    announcer: Announcer = state.announcer
    engine: Engine = state.engine
    return RpcDesk(
        principal=request.user,
        engine=engine,
        catalog=state.catalog,
        conversations=Conversations(database, announcer),
        removal=Removal(database, announcer, engine.ledger.observer),
        skill_sets=SkillSets(database),
        idempotency=Idempotency(database),
    )
