"""Ids: UUIDv7 inside, `<prefix>_<32 hex digits>` outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NewType
from uuid import UUID

import uuid_utils
from asyncpg.pgproto import pgproto

from gateway.errors import NotFound

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
WEBHOOK = "wh"
DELIVERY = "whd"
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
    WEBHOOK: "webhook",
    DELIVERY: "delivery",
    COMPLETION: "completion",
}


def read_all(prefix: str, texts: Iterable[str]) -> list[UUID]:
    """Reads ids, each once, in the order given. Raises NotFound, which names all that are
    malformed."""
    found: dict[UUID, None] = {}
    malformed = []
    for text in texts:
        try:
            found[read(prefix, text)] = None
        except NotFound:
            malformed.append(text)
    if malformed:
        named = ", ".join(repr(text) for text in malformed)
        raise NotFound(f"There is no {named}.", code=f"{NAMES[prefix]}_not_found")
    return list(found)


def show_all(prefix: str, found: Sequence[UUID] | None) -> list[str]:
    return [show(prefix, one) for one in found] if found else []
