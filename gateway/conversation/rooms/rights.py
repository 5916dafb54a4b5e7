"""Who may do what with a conversation. Every door, channel and list asks here, or by the same rules
in `sql_access`.

| may | owner | acts as anybody | joined member | owner of an agency in it | admin |
|---|---|---|---|---|---|
| read | yes | yes | yes | yes | yes |
| add messages | yes | yes | with `add_message` | | |
| edit and delete others' messages | yes | yes | with the right to | | |
| delete it | yes | yes | with `delete_conversation` | | |
| lead: rename, drive, exclude messages, invite, grant | yes | yes | | | |

Who has joined edits and deletes their own messages without any right.

What agents say among themselves is for the owner of their agency, and for admins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from gateway import ids
from gateway.auth import Principal, Scope
from gateway.conversation.absence import absent
from gateway.errors import Forbidden
from gateway.postgres.database import Row


class Right(StrEnum):
    ADD_MESSAGE = "add_message"
    EDIT_OTHERS_MESSAGES = "edit_others_messages"
    DELETE_OTHERS_MESSAGES = "delete_others_messages"
    DELETE_CONVERSATION = "delete_conversation"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a caller is in a conversation. Who was invited and has not joined is not `joined`.
    `keeps` is set for the owner of an agency that answers in it, `acts` for a key that may act as
    anybody."""

    owns: bool = False
    joined: bool = False
    rights: frozenset[Right] = field(default_factory=frozenset)
    keeps: bool = False
    admin: bool = False
    acts: bool = False


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something in a conversation: the caller, or a bot in whose place the caller does."""

    kind: str
    identifier: str
    standing: Standing

    @property
    def name(self) -> tuple[str, str]:
        return self.kind, self.identifier


def may_read(standing: Standing) -> bool:
    """Returns True if the caller may read the conversation. Others are told that there is none."""
    return may_lead(standing) or standing.joined or standing.keeps or standing.admin


def may(standing: Standing, right: Right) -> bool:
    return may_lead(standing) or (standing.joined and right in standing.rights)


def may_lead(standing: Standing) -> bool:
    """Rename, drive, exclude or delete messages, invite, remove, grant, hand over."""
    return standing.owns or standing.acts


def reads_everything(principal: Principal) -> bool:
    return principal.may(Scope.ADMIN) or principal.may(Scope.ACT_AS)


def standing_of(row: Row, principal: Principal) -> Standing:
    """Reads the columns of `sql_access.standing`."""
    return Standing(
        owns=row["owns"],
        joined=row["joined"],
        rights=frozenset(map(Right, row["rights"])),
        keeps=row["keeps"],
        admin=principal.may(Scope.ADMIN),
        acts=principal.may(Scope.ACT_AS),
    )


def standing(row: Row | None, conversation_id: UUID, principal: Principal) -> Standing:
    """The same. Raises NotFound for who may not read it, and if there is no row."""
    if row is not None and may_read(found := standing_of(row, principal)):
        return found
    raise absent(ids.CONVERSATION, [conversation_id])


def demand(found: Standing, right: Right) -> None:
    """Raises Forbidden, which names the right that is missing."""
    if not may(found, right):
        raise Forbidden(
            f"You need the right {right.value!r} in this conversation.", code="right_missing"
        )


def demand_change(actor: Actor, owner: tuple[str, str], right: Right) -> None:
    """The same for a message of this owner. Who is in the conversation needs no right to change
    their own."""
    standing = actor.standing
    if actor.name == owner and (standing.owns or standing.joined):
        return
    demand(standing, right)


def demand_lead(found: Standing) -> None:
    """Raises Forbidden unless the caller leads the conversation."""
    if not may_lead(found):
        raise Forbidden("Only the owner of the conversation may do this.", code="right_missing")
