"""Turns that have ended, told again."""

from __future__ import annotations

from gateway.agency.turns.ledger import StoredTurn
from gateway.agency.turns.reply import Outcome, Reply
from gateway.errors import GatewayError, TurnCancelled, TurnFailed


def ended(stored: StoredTurn) -> Reply | None:
    """The reply of a turn that has ended, or None if it is open."""
    if stored.state != "completed":
        error = failure(stored)
        return None if error is None else failed(stored, error)
    reply = Reply(stored.id, stored.conversation_id, int(stored.created_at))
    reply.publish(stored.answer)
    reply.end(Outcome(stored.answer, stored.finish_reason or "stop", stored.usage))
    return reply


def failure(stored: StoredTurn) -> GatewayError | None:
    """Why a turn has no answer, or None if it has one or may get one."""
    match stored.state:
        case "cancelled":
            return TurnCancelled("The turn was cancelled.")
        case "failed":
            why = (stored.error or {}).get("message")
            return TurnFailed(str(why or "The turn failed."))
        case _:
            return None


def failed(stored: StoredTurn, error: GatewayError) -> Reply:
    reply = Reply(stored.id, stored.conversation_id, int(stored.created_at))
    reply.end(error)
    return reply
