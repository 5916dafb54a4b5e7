"""What a user may do in a conversation. Bots hold no rights: they answer, and that is all."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.errors import Forbidden


class Right(StrEnum):
    ADD_MESSAGE = "add_message"
    EDIT_OTHERS_MESSAGES = "edit_others_messages"
    DELETE_OTHERS_MESSAGES = "delete_others_messages"
    DELETE_CONVERSATION = "delete_conversation"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user is in a conversation. Who was invited and has not joined is not `joined`."""

    user: str
    owns: bool = False
    joined: bool = False
    rights: frozenset[Right] = field(default_factory=frozenset)


def sees(standing: Standing) -> bool:
    """Whether the conversation is there for this user."""
    return standing.owns or standing.joined


def may(standing: Standing, right: Right) -> bool:
    return standing.owns or (standing.joined and right in standing.rights)


def may_lead(standing: Standing) -> bool:
    """Invite, remove, rename, drive, grant, hand over."""
    return standing.owns


def demand(*, allowed: bool, what: str) -> None:
    """Raises Forbidden. Who does not even see the conversation must have been told 404 before."""
    if not allowed:
        raise Forbidden(f"You may not {what} in this conversation.", code="right_missing")
