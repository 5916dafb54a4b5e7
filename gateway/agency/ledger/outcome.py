"""How turns end, as it is kept with them, and turns that have ended told again."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.agency.ledger.rows import StoredTurn
from gateway.agency.model import Json, Text
from gateway.agency.turn.reply import Outcome, Reply
from gateway.conversation.turn_states import TurnState
from gateway.errors import GatewayError, TurnCancelled, TurnFailed, Unavailable


def describe(error: GatewayError) -> dict[str, Json]:
    """An error as it is kept with a turn: `{code, message, type, status, param?, transient?}`."""
    kept: dict[str, Json] = {
        "code": error.code,
        "message": error.message,
        "type": error.type,
        "status": error.status,
    }
    if error.param is not None:
        kept["param"] = error.param
    if error.retryable is not False:
        kept["transient"] = True
    return kept


def into(reply: Reply, stored: StoredTurn) -> bool:
    """Tell a reply how its turn has ended. False if the turn is open. Who has heard words of an
    attempt that was lost is not told those of another."""
    if stored.state == TurnState.COMPLETED and reply.spoken:
        reply.end(Unavailable("Another process has taken over this turn; try again."))
    elif stored.state == TurnState.COMPLETED:
        answer = Text(stored.answer)
        reply.publish(answer)
        reply.end(Outcome((answer,), stored.finish_reason or "stop", stored.usage))
    elif (error := failure(stored)) is not None:
        reply.end(error)
    return reply.ended


def failure(stored: StoredTurn) -> GatewayError | None:
    """Returns why a turn has no answer, or None if it has one or may get one."""
    kept = stored.error or {}
    match stored.state:
        case TurnState.CANCELLED:
            return TurnCancelled(str(kept.get("message") or "The turn was cancelled."))
        case TurnState.FAILED:
            return _failure(kept)
        case _:
            return None


def _failure(kept: Mapping[str, Json]) -> GatewayError:
    """The error that was answered when the turn failed."""
    code, status, kind = kept.get("code"), kept.get("status"), kept.get("type")
    message = str(kept.get("message") or "The turn failed.")
    param = kept.get("param")
    error = TurnFailed(
        message,
        code=code if isinstance(code, str) else None,
        param=param if isinstance(param, str) else None,
    )
    if kept.get("transient") is True:
        error.retryable = None
    if isinstance(status, int) and isinstance(kind, str):
        error.status, error.type = status, kind
    return error
