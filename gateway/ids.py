"""Ids: UUIDv7 inside, `<prefix>_<32 hex digits>` outside."""

from __future__ import annotations

from typing import NewType
from uuid import UUID

import uuid_utils
from asyncpg.pgproto import pgproto

from gateway.errors import NotFound

ConversationId = NewType("ConversationId", UUID)
InteractionId = NewType("InteractionId", UUID)
MessageId = NewType("MessageId", UUID)
StepId = NewType("StepId", UUID)
TurnId = NewType("TurnId", UUID)
AgencyId = NewType("AgencyId", int)
AgentId = NewType("AgentId", int)

CONVERSATION = "conv"
INTERACTION = "int"
MESSAGE = "msg"
STEP = "step"
TURN = "turn"
FILE = "file"
DOCUMENT = "doc"
SKILL_SET = "skill"
SESSION = "sess"
"""A session is a turn under another name: the same digits follow."""
COMPLETION = "chatcmpl"
"""A completion of the OpenAI API is a turn under another name: the same digits follow."""


def new() -> UUID:
    """A new id; ids of one process rise with time. It is of the kind that rows hold, too: a UUID
    like any other, but made, hashed and shown in a fifth of the time."""
    made: UUID = pgproto.UUID(uuid_utils.uuid7().bytes)
    return made


def show(prefix: str, value: UUID) -> str:
    """`conv_018f…`; completions keep OpenAI's hyphen: `chatcmpl-018f…`."""
    return f"{prefix}{'-' if prefix == COMPLETION else '_'}{value.hex}"


def read(prefix: str, text: str) -> UUID:
    """The reverse of `show`. Raises NotFound: a malformed id names nothing."""
    start = f"{prefix}{'-' if prefix == COMPLETION else '_'}"
    digits = text.removeprefix(start)
    try:
        if len(digits) != 32 or digits == text:
            raise ValueError
        return UUID(hex=digits)
    except ValueError:
        raise NotFound(f"There is no {text[:64]!r}.", code=f"{NAMES[prefix]}_not_found") from None


NAMES = {
    CONVERSATION: "conversation",
    INTERACTION: "interaction",
    MESSAGE: "message",
    STEP: "step",
    TURN: "turn",
    FILE: "file",
    DOCUMENT: "document",
    SKILL_SET: "skill_set",
    SESSION: "session",
    COMPLETION: "completion",
}
