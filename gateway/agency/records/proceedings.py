"""How answers came about: turns, their steps and who said what to whom, for whoever may know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from gateway.agency.model import Json, Usage
from gateway.agency.records import sql_records as sql
from gateway.agency.records.records import no_conversation
from gateway.agency.records.talk import Saying, sayings
from gateway.auth import Principal, Scope
from gateway.conversation.rooms.rights import reads_everything
from gateway.errors import NotFound
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import Page, numbers_in, page


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """`inside`: whether this caller may see what the agents did."""

    id: UUID
    conversation_id: UUID
    responder: str
    state: str
    attempt: int
    usage: Usage
    finish_reason: str | None
    error: Mapping[str, Json] | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    inside: bool
    may_cancel: bool


@dataclass(frozen=True, slots=True)
class StepView:
    """A model call and what came of it. `output` is the raw text where `sayings` don't tell it."""

    id: UUID
    agent_id: int
    agent_name: str
    model: str
    attempt: int
    usage: Usage
    output: str | None
    error: Mapping[str, Json] | None
    started_at: datetime
    completed_at: datetime
    sayings: Sequence[Saying]


@dataclass(frozen=True, slots=True)
class Inside:
    """A turn's steps in order, and what no step said: the input and notes of the gateway."""

    steps: Sequence[StepView]
    sayings: Sequence[Saying]


class Proceedings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def turns(
        self,
        conversation_id: UUID,
        principal: Principal,
        *,
        limit: int,
        cursor: str | None = None,
    ) -> Page[TurnRecord]:
        """The turns of a conversation that the caller may see, oldest first."""
        rows = await self._database.fetch(
            sql.TURNS, *_reader(principal), conversation_id, *numbers_in(cursor), limit + 1
        )
        if not rows:
            raise no_conversation()
        found = [row for row in rows if row["id"] is not None]
        return page(found, limit, _turn, lambda row: str(row["seq"]))

    async def turn(self, turn_id: TurnId, principal: Principal) -> TurnRecord:
        row = await self._database.fetchrow(sql.TURN, *_reader(principal), turn_id)
        if row is None:
            raise NotFound("There is no such turn.", code="turn_not_found")
        return _turn(row)

    async def inside(self, turn: TurnRecord) -> Inside | None:
        """Returns what the agents did in a turn. None if its reader may not see that."""
        if not turn.inside:
            return None
        steps = await self._database.fetch(sql.STEPS, turn.id)
        failed = {row["id"]: row["agent_id"] for row in steps if row["error"] is not None}
        talk = sayings(await self._database.fetch(sql.TALK, turn.id), failed)
        return Inside([_step(row, talk.get(row["id"], ())) for row in steps], talk.get(None, ()))


def _reader(principal: Principal) -> tuple[str, bool, bool]:
    return principal.user, principal.may(Scope.ADMIN), reads_everything(principal)


def _turn(row: Row) -> TurnRecord:
    return TurnRecord(
        id=row["id"],
        conversation_id=row["conversation_id"],
        responder=row["responder"],
        state=row["state"],
        attempt=row["attempt"],
        usage=_usage(row),
        finish_reason=row["finish_reason"],
        error=_error(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        completed_at=row["completed_at"],
        inside=row["inside"],
        may_cancel=row["may_cancel"],
    )


def _step(row: Row, said: Sequence[Saying]) -> StepView:
    return StepView(
        id=row["id"],
        agent_id=row["agent_id"],
        agent_name=row["name"] or "",
        model=row["model"],
        attempt=row["attempt"],
        usage=_usage(row),
        output=row["output"],
        error=_error(row),
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        sayings=said,
    )


def _usage(row: Row) -> Usage:
    return Usage(row["prompt_tokens"], row["completion_tokens"])


def _error(row: Row) -> Mapping[str, Json] | None:
    return None if row["error"] is None else msgspec.json.decode(row["error"])
