"""Takes a conversation out, piece by piece: as JSON with all that the caller may see, or as
Markdown to read."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from gateway import ids
from gateway.agency.transfer import document
from gateway.agency.transfer import sql_export as sql
from gateway.agency.transfer.document import ConversationPart, MessagePart
from gateway.auth import Principal, Scope
from gateway.conversation.absence import absent
from gateway.conversation.rooms.participants import Participants
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import FIRST

ROWS: Final = 200
"""Rows that are read at once."""

_parts: Final = {name: msgspec.json.Decoder(part) for name, part in document.PARTS.items()}
_conversation = msgspec.json.Decoder(ConversationPart)
_message = msgspec.json.Decoder(MessagePart)
_UNFIT = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Export:
    """A conversation that the caller may read, as it stood when this was asked for."""

    conversation_id: UUID
    principal: Principal
    last: int
    """The ordinal of its last message."""
    conversation: ConversationPart

    @property
    def name(self) -> str:
        """The name of a file with it, without an ending."""
        return _UNFIT.sub("_", self.conversation.title or "").strip("_.")[:80] or "conversation"


class Exports:
    def __init__(self, database: Database, participants: Participants) -> None:
        self._database = database
        self._participants = participants

    async def open(self, conversation_id: UUID, principal: Principal) -> Export:
        """Raises NotFound for who may not read it."""
        await self._participants.standing(conversation_id, principal)
        row = await self._database.fetchrow(sql.CONVERSATION, conversation_id)
        if row is None:
            raise absent(ids.CONVERSATION, [conversation_id])
        described = _conversation.decode(row["body"])
        return Export(conversation_id, principal, row["length"], described)

    async def json(self, of: Export) -> AsyncIterator[bytes]:
        """The document of `document`, a row on each line."""
        head = {
            "format": document.FORMAT,
            "format_version": document.FORMAT_VERSION,
            "exported_at": datetime.now(UTC),
            "conversation": of.conversation,
        }
        yield msgspec.json.encode(head)[:-1]
        for name, decoder in _parts.items():
            yield f',\n"{name}": ['.encode()
            begun = False
            async for rows in self._lists(name, of):
                pieces = [msgspec.json.encode(decoder.decode(row["body"])) for row in rows]
                yield (b",\n" if begun else b"\n") + b",\n".join(pieces)
                begun = True
            yield b"]"
        yield b"}\n"

    async def markdown(self, of: Export) -> AsyncIterator[bytes]:
        """Who said what, and when."""
        yield f"# {of.conversation.title or 'Conversation'}\n".encode()
        async for rows in self._pages(sql.MESSAGES, of):
            for row in rows:
                if (told := _told(_message.decode(row["body"]))) is not None:
                    yield told.encode()

    def _lists(self, name: str, of: Export) -> AsyncIterator[list[Row]]:
        match name:
            case "participants":
                return self._all(sql.PARTICIPANTS, of)
            case "files":
                return self._files(of)
            case "messages":
                return self._pages(sql.MESSAGES, of)
            case "turns":
                return self._pages(sql.TURNS, of, *_hearer(of))
            case "steps":
                return self._steps(of)
            case "contexts":
                return self._contexts(of)
            case _:
                raise LookupError(f"a part {name!r}")

    async def _all(self, statement: str, of: Export) -> AsyncIterator[list[Row]]:
        if rows := await self._database.fetch(statement, of.conversation_id):
            yield rows

    async def _pages(self, statement: str, of: Export, *more: object) -> AsyncIterator[list[Row]]:
        place = 0
        while rows := await self._database.fetch(
            statement, of.conversation_id, place, ROWS, of.last, *more
        ):
            yield rows
            place = rows[-1]["place"]

    async def _files(self, of: Export) -> AsyncIterator[list[Row]]:
        """One at a time: a file may be large."""
        place = FIRST
        while rows := await self._database.fetch(sql.FILES, of.conversation_id, place, 1):
            yield rows
            place = rows[-1]["place"]

    async def _steps(self, of: Export) -> AsyncIterator[list[Row]]:
        for first in range(0, of.last, ROWS):
            until = min(first + ROWS, of.last)
            between = of.conversation_id, first, until, of.last
            if rows := await self._database.fetch(sql.STEPS, *between, *_hearer(of)):
                yield rows

    async def _contexts(self, of: Export) -> AsyncIterator[list[Row]]:
        place = (-(2**62), 0, 0)
        bounds = *_hearer(of), ROWS, of.conversation.version
        while rows := await self._database.fetch(sql.CONTEXTS, of.conversation_id, *place, *bounds):
            yield rows
            place = (rows[-1]["agent_id"], rows[-1]["version"], rows[-1]["ordinal"])


def _hearer(of: Export) -> tuple[str, bool]:
    return of.principal.user, of.principal.may(Scope.ADMIN)


def _told(message: MessagePart) -> str | None:
    """None for a reply without a word."""
    if message.silent:
        return None
    who = message.owner.identifier
    if message.owner.type not in ("user", "bot"):
        who = f"{message.owner.type} {who}"
    notes = [f"{message.created_at:%Y-%m-%d %H:%M} UTC"]
    notes += ["edited"] if message.edited_at else []
    notes += ["not for the agents"] if message.marked_as_excluded_at else []
    notes += ["failed"] if message.errors else []
    return f"\n## {who} ({', '.join(notes)})\n\n{message.content}\n"
