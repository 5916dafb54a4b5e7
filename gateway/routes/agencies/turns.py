"""Turns: how an answer came about, step by step, and how to stop one that is under way."""

from __future__ import annotations

from litestar import Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from gateway import ids
from gateway.agency.engine.engine import Engine
from gateway.agency.records.proceedings import Proceedings
from gateway.auth import Principal, Scope
from gateway.errors import Conflict, Forbidden
from gateway.ids import TurnId
from gateway.postgres.database import Database
from gateway.routes.agencies.turn_wire import Turn, TurnList, turn_answer, turn_entry
from gateway.routes.http.guards import needs
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD, MISSING, refusal

TheProceedings = NamedDependency[Proceedings]
ThePrincipal = NamedDependency[Principal]
UNFIT = {403: refusal("`right_missing`: neither the conversation nor the agency is the caller's.")}
ENDED = {409: refusal("`turn_ended`: there is nothing left to cancel.")}


@get("/turns/{turn_id:str}", summary="Read a turn with its steps", responses=MISSING)
async def read_turn(
    turn_id: FromPath[str], proceedings: TheProceedings, principal: ThePrincipal
) -> Turn:
    """`steps` and `messages` are for the owner of the agency; to others they are null."""
    return await _read(TurnId(ids.read(ids.TURN, turn_id)), proceedings, principal)


@get(
    "/conversations/{conversation_id:str}/turns",
    summary="List the turns of a conversation, oldest first",
    responses=BAD | MISSING,
)
async def list_turns(
    conversation_id: FromPath[str],
    proceedings: TheProceedings,
    principal: ThePrincipal,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> TurnList:
    conversation = ids.read(ids.CONVERSATION, conversation_id)
    page = await proceedings.turns(conversation, principal, limit=limit, cursor=cursor)
    return TurnList([turn_entry(one) for one in page.items], page.next_cursor)


@post(
    "/turns/{turn_id:str}/cancel",
    status_code=200,
    summary="Cancel a turn that is under way",
    responses=MISSING | UNFIT | ENDED,
)
async def cancel_turn(
    turn_id: FromPath[str],
    proceedings: TheProceedings,
    principal: ThePrincipal,
    engine: NamedDependency[Engine],
) -> Turn:
    """Closes the model calls that run, and keeps what was said."""
    turn = TurnId(ids.read(ids.TURN, turn_id))
    if not (await proceedings.turn(turn, principal)).may_cancel:
        raise Forbidden(
            "Only the owner of the conversation or of the agency may cancel its turns.",
            code="right_missing",
        )
    if not await engine.cancel(turn):
        raise Conflict("The turn has ended already.", code="turn_ended")
    return await _read(turn, proceedings, principal)


async def _read(turn_id: TurnId, proceedings: Proceedings, principal: Principal) -> Turn:
    turn = await proceedings.turn(turn_id, principal)
    return turn_answer(turn, await proceedings.inside(turn))


async def _proceedings(database: NamedDependency[Database]) -> Proceedings:
    return Proceedings(database)


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api",
        route_handlers=[read_turn, list_turns, cancel_turn],
        dependencies={"proceedings": Provide(_proceedings)},
        guards=[needs(Scope.CHAT)],
        tags=["Turns"],
    )
]
