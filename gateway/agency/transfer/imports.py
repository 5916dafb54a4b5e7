"""Puts a conversation in again, from the document that an export is: equal, with new ids, and the
caller's.

What a document says is believed of the past alone. Bots come along whom the caller may use, nobody
else does; what agents have before them is taken only for agents of the caller's own agencies, so
that nobody can put words into those of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final
from uuid import UUID

import asyncpg
import msgspec

from gateway import ids
from gateway.agency.intake.responder import check, responder_of
from gateway.agency.teams.catalog import Catalog
from gateway.agency.transfer import sql_import as sql
from gateway.agency.transfer.document import (
    ContextPart,
    ConversationPart,
    FilePart,
    MessagePart,
    ParticipantPart,
    StepPart,
    TurnPart,
)
from gateway.agency.transfer.reading import DocumentFile, unreadable
from gateway.auth import Principal, Scope
from gateway.conversation.assets.files import Files, NewFile
from gateway.conversation.rooms.membership import MOST
from gateway.conversation.rooms.participants import Member, ParticipantKind, checked
from gateway.conversation.rooms.presence import OFFLINE_S
from gateway.errors import NotFound
from gateway.names import line
from gateway.postgres.database import Database

MOST_RESPONDERS: Final = 1000

_LINKS: Final = {
    "id": "",
    "input_interaction_id": ids.INTERACTION,
    "reply_interaction_id": ids.INTERACTION,
    "interaction_id": ids.INTERACTION,
    "system_message_id": ids.MESSAGE,
    "linked_message_id": ids.MESSAGE,
    "turn_id": ids.TURN,
    "step_id": ids.STEP,
}
"""The members of parts that are ids, and of what. An `id` is the part's own."""
_OWN: Final[dict[type[msgspec.Struct], str]] = {
    MessagePart: ids.INTERACTION,
    TurnPart: ids.TURN,
    StepPart: ids.STEP,
    ContextPart: ids.MESSAGE,
}


@dataclass(frozen=True, slots=True)
class _Place:
    """The conversation that is made, for whom, and whom the caller may use."""

    id: UUID
    principal: Principal
    responders: list[str]
    agents: list[int]


class Imports:
    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog
        self._files = Files(database)

    async def load(self, file: BinaryIO, principal: Principal) -> UUID:
        """Make a conversation of the document in a file: its id. Raises InvalidRequest."""
        found = await DocumentFile.open(file)
        head = found.head.conversation
        if head.title is not None:
            line(head.title, "title")
        bots = await self._bots(found, principal)
        place = _Place(
            ids.new(),
            principal,
            await self._responders(found, principal),
            await self._agents(principal),
        )
        try:
            async with self._database.transaction():
                await self._begin(place, head, bots)
                await self._messages(found, place)
                for name, part, statement, more in (
                    ("turns", TurnPart, sql.TURNS, _turns(place)),
                    ("steps", StepPart, sql.STEPS, (place.agents,)),
                    ("contexts", ContextPart, sql.CONTEXTS, (place.agents,)),
                ):
                    async for parts in found.batches(name, part):
                        await self._write(statement, parts, place, more)
                await self._database.execute(sql.LEVEL, place.id)
        except asyncpg.DataError:
            raise unreadable("it holds characters or numbers that can't be stored") from None
        except asyncpg.IntegrityConstraintViolationError:
            raise unreadable("two of its parts claim the same place") from None
        return place.id

    async def _begin(self, place: _Place, head: ConversationPart, bots: list[Member]) -> None:
        await self._database.execute(
            sql.CONVERSATION,
            place.id,
            place.principal.user,
            head.title,
            head.drive,
            head.provider_id,
            head.model_id,
            max(head.version, 1),
            head.created_at,
            head.updated_at,
            [one.kind for one in bots],
            [one.identifier for one in bots],
            OFFLINE_S,
        )

    async def _bots(self, found: DocumentFile, principal: Principal) -> list[Member]:
        """Returns those who come along: bots that were in it and that the caller may use."""
        bots: dict[tuple[str, str], Member] = {}
        async for parts in found.batches("participants", ParticipantPart):
            for part in parts:
                bot = Member(part.kind, part.identifier)
                here = part.joined_at is not None and part.left_at is None
                if here and part.kind is not ParticipantKind.USER and len(bots) < MOST:
                    (bot,) = checked([bot])
                    if await self._may_use(responder_of(bot), principal):
                        bots[bot.name] = bot
        return list(bots.values())

    async def _responders(self, found: DocumentFile, principal: Principal) -> list[str]:
        named: set[str] = set()
        async for parts in found.batches("turns", TurnPart):
            named.update(part.responder for part in parts)
            if len(named) > MOST_RESPONDERS:
                raise unreadable("more responders have turns in it than can be")
        return [one for one in sorted(named) if await self._may_use(one, principal)]

    async def _may_use(self, responder: str | None, principal: Principal) -> bool:
        if responder is None:
            return False
        try:
            await check(responder, self._catalog, principal)
        except NotFound:
            return False
        return True

    async def _agents(self, principal: Principal) -> list[int]:
        everything = principal.may(Scope.ADMIN)
        rows = await self._database.fetch(sql.AGENTS, principal.user, everything)
        return [row["id"] for row in rows]

    async def _messages(self, found: DocumentFile, place: _Place) -> None:
        files: dict[str, UUID] = {}
        async for kept in found.batches("files", FilePart):
            for one in kept:
                new = NewFile(one.filename, one.purpose, one.content)
                files[one.id] = (await self._files.create(place.principal.user, new)).id
        async for parts in found.batches("messages", MessagePart):
            for part in parts:
                part.file_ids = [str(files[one]) for one in part.file_ids if one in files]
            await self._write(sql.MESSAGES, parts, place, ())

    async def _write(
        self,
        statement: str,
        parts: Sequence[msgspec.Struct],
        place: _Place,
        more: tuple[object, ...],
    ) -> None:
        try:
            rows = msgspec.json.encode([_row(part) for part in parts]).decode()
        except (UnicodeEncodeError, RecursionError, msgspec.MsgspecError):
            raise unreadable("it holds what can't be stored") from None
        await self._database.execute(statement, rows, place.id, *more)


def _turns(place: _Place) -> tuple[object, ...]:
    return place.principal.user, place.principal.key_id, place.responders


def _row(part: msgspec.Struct) -> dict[str, object]:
    """Returns a part with ids as they are in rows. Raises InvalidRequest."""
    row = msgspec.structs.asdict(part)
    for name, prefix in _LINKS.items():
        if (shown := row.get(name)) is not None:
            try:
                row[name] = ids.read(prefix or _OWN[type(part)], shown)
            except NotFound:
                raise unreadable(f"{str(shown)[:64]!r} is no `{name}`") from None
    return row
