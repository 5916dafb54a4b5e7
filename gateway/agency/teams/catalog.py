"""The agencies of one database: who may see which, and every way to read and change them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cachetools import LRUCache
from msgspec import UNSET

from gateway.agency.teams import register, roster
from gateway.agency.teams import sql_catalog as sql
from gateway.agency.teams.access import may_answer, missing, owned, usable
from gateway.agency.teams.documents import (
    AgencyDocument,
    AgencyPatch,
    AgentDocument,
    AgentPatch,
    document,
)
from gateway.agency.teams.remotes import refuse_changes
from gateway.agency.teams.rules import checked
from gateway.agency.teams.team import AgencySpec, AgencySummary, AgentSpec, Limits
from gateway.auth import USER, Principal, Scope
from gateway.errors import Conflict, InvalidRequest
from gateway.ids import AgencyId
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import Page, numbers_in, page

__all__ = ["AgencySpec", "AgencySummary", "AgentSpec", "Applied", "Catalog", "Limits"]

Edit: TypeAlias = Callable[[AgencySpec, AgencyDocument], AgencyDocument]
"""Takes an agency and its document (with ids), gives the document it shall have."""


@dataclass(frozen=True, slots=True)
class Applied:
    """`told`: what was changed, for people, one line each."""

    agency: AgencySpec
    outcome: Literal["created", "updated", "unchanged"]
    told: tuple[str, ...] = ()


class Catalog:
    """Reads are single statements; changes are short transactions that hold the agency's row.

    An agency once read is remembered, so that a turn needs no round trip for it: the turn's first
    statement compares the revision, and `forget` makes the next look-up a real one.
    """

    REMEMBERED = 16_000_000
    """Characters of remembered agencies, together: one agency may hold millions."""

    def __init__(self, database: Database, remembered: int = REMEMBERED) -> None:
        self._database = database
        self._known: LRUCache[int, AgencySpec] = LRUCache(remembered, _cost)

    async def read(self, agency_id: int, principal: Principal) -> AgencySpec:
        """The agency as it is now. Raises NotFound unless the caller may use it."""
        spec = await register.load(self._database, agency_id)
        self.forget(agency_id)
        if spec is None:
            raise missing(agency_id)
        with suppress(ValueError):  # it is too large
            self._known[spec.id] = spec
        return usable(spec, principal)

    async def recall(self, agency_id: int, principal: Principal) -> AgencySpec:
        """Like `read`, but a remembered copy is believed. The caller checks its revision."""
        if spec := self._known.get(agency_id):
            return usable(spec, principal)
        return await self.read(agency_id, principal)

    def forget(self, agency_id: int) -> None:
        self._known.pop(agency_id, None)

    async def working(self, agency_id: int) -> AgencySpec | None:
        """Returns the agency of turns that were accepted already, whoever asked for them."""
        return await register.load(self._database, agency_id)

    async def entered_by(self, agent_id: int) -> AgencySpec | None:
        """Like `working`, for turns in which this agent itself is spoken to."""
        agency_id = await self._agency_of(agent_id)
        spec = None if agency_id is None else await self.working(agency_id)
        return None if spec is None else spec.entered_by(agent_id)

    async def around(self, agent_id: int, principal: Principal) -> AgencySpec:
        """The agency of an agent, for its owner, admins and keys that may act as anybody; to others
        the agent does not exist."""
        agency_id = await self._agency_of(agent_id)
        spec = None if agency_id is None else await self.working(agency_id)
        if spec is None or spec.agent(agent_id) is None or not may_answer(spec, principal):
            raise roster.no_agent(agent_id)
        return spec

    async def _agency_of(self, agent_id: int) -> int | None:
        if not 0 < agent_id < register.BIGINT:
            return None
        row = await self._database.fetchrow(sql.AGENCY_OF_AGENT, agent_id)
        return None if row is None else int(row["agency_id"])

    async def definition(self, agency_id: int, principal: Principal) -> AgencySpec:
        """Returns an agency to its owner or an admin. For others it does not exist."""
        return owned(agency_id, await register.load(self._database, agency_id), principal)

    async def page(
        self, principal: Principal, *, limit: int, cursor: str | None = None, shared: bool = False
    ) -> Page[AgencySummary]:
        """The caller's agencies by id, an admin's all; `shared` adds those of others to use."""
        arguments: tuple[object, ...] = (*numbers_in(cursor), limit + 1)
        if principal.may(Scope.ADMIN):
            statement = sql.PAGE_OF_ALL
        else:
            statement = sql.PAGE_OF_USABLE if shared else sql.PAGE_OF_OWNER
            arguments = (*arguments, principal.user)
        rows = await self._database.fetch(statement, *arguments)
        return page(rows, limit, register.summary, lambda row: str(row["id"]))

    async def agents(
        self, agency_id: int, principal: Principal, *, limit: int, cursor: str | None = None
    ) -> Page[AgentSpec]:
        (start,) = numbers_in(cursor)
        spec = await self.definition(agency_id, principal)
        later = [agent for agent in spec.agents if agent.id > start]
        return Page(later[:limit], str(later[limit - 1].id) if len(later) > limit else None)

    async def agent(self, agency_id: int, agent_id: int, principal: Principal) -> AgentSpec:
        found = (await self.definition(agency_id, principal)).agent(agent_id)
        if found is None:
            raise roster.no_agent(agent_id)
        return found

    async def is_blank(self) -> bool:
        """Returns True if there has never been an agency."""
        row = await self._database.fetchrow(sql.BLANK)
        return row is not None and bool(row["blank"])

    async def create(
        self, wanted: AgencyDocument, owner: str, *, admin: bool = False
    ) -> AgencySpec:
        """Raises Forbidden if an agent is remote and no `admin` wants it."""
        changes = roster.creation(checked(wanted))
        if not admin:
            refuse_changes(wanted, None)
        async with self._database.transaction():
            created = await self._insert(wanted, owner, changes)
        return created.agency

    async def replace(
        self, agency_id: int, wanted: AgencyDocument, principal: Principal
    ) -> AgencySpec:
        """Make the agency what `wanted` says; agents that it does not name are deleted."""
        return await self._edit(agency_id, principal, lambda spec, _: roster.matched(spec, wanted))

    async def patch(self, agency_id: int, patch: AgencyPatch, principal: Principal) -> AgencySpec:
        return await self._edit(agency_id, principal, lambda _, old: roster.patched(old, patch))

    async def add_agent(
        self, agency_id: int, agent: AgentDocument, principal: Principal
    ) -> AgentSpec:
        spec = await self._edit(
            agency_id, principal, lambda _, old: roster.with_agent(old, agent), alone=True
        )
        return next(new for new in spec.agents if new.name == agent.name)

    async def patch_agent(
        self, agency_id: int, agent_id: int, patch: AgentPatch, principal: Principal
    ) -> AgentSpec:
        spec = await self._edit(
            agency_id,
            principal,
            lambda _, old: roster.with_patched_agent(old, agent_id, patch),
            alone=True,
        )
        return next(agent for agent in spec.agents if agent.id == agent_id)

    async def delete_agent(self, agency_id: int, agent_id: int, principal: Principal) -> None:
        """Delete an agent. Its words are kept. Raises Conflict if it is the manager."""
        await self._edit(agency_id, principal, lambda _, old: roster.without_agent(old, agent_id))

    async def delete(self, agency_id: int, principal: Principal) -> None:
        async with self._database.transaction():
            await self._locked(agency_id, principal)
            await self._database.execute(sql.DELETE_AGENCY, agency_id)
        self.forget(agency_id)

    async def apply(
        self, wanted: AgencyDocument, owner: str, agency_id: int | None = None
    ) -> Applied:
        """Make or update the agency of `owner` that has this id, else the one of this name. For
        the operator: remote agents are let in."""
        if not USER.fullmatch(owner):
            raise InvalidRequest("An owner's name holds 1 to 128 characters of A-Z a-z 0-9 . _ @ -")
        checked(wanted)
        async with self._database.transaction():
            applied = await self._apply(wanted, owner, await self._meant(wanted, owner, agency_id))
        self.forget(applied.agency.id)
        return applied

    async def export(
        self, agency_id: int, principal: Principal, *, ids: bool = False
    ) -> AgencyDocument:
        return document(await self.definition(agency_id, principal), ids=ids)

    async def _edit(
        self, agency_id: int, principal: Principal, edit: Edit, *, alone: bool = False
    ) -> AgencySpec:
        """`alone`: what was sent is one agent, not the agency's document."""
        async with self._database.transaction():
            spec = await self._locked(agency_id, principal)
            wanted = edit(spec, document(spec, ids=True))
            if not principal.may(Scope.ADMIN):
                refuse_changes(wanted, spec, alone=alone)
            changed = await self._change(spec, wanted)
        self.forget(agency_id)
        return changed.agency

    async def _locked(self, agency_id: int, principal: Principal) -> AgencySpec:
        if not 0 < agency_id < register.BIGINT:
            raise missing(agency_id)
        await self._database.execute(sql.LOCK, agency_id)
        return await self.definition(agency_id, principal)

    async def _change(self, spec: AgencySpec, wanted: AgencyDocument) -> Applied:
        changes = roster.changes(spec, checked(wanted))
        if not changes:
            return Applied(spec, "unchanged")
        await register.save(self._database, spec.id, wanted, changes)
        return Applied(await self._saved(spec.id), "updated", changes.told)

    async def _insert(
        self, wanted: AgencyDocument, owner: str, changes: roster.RosterChanges
    ) -> Applied:
        row = await self._database.fetchrow(sql.INSERT_AGENCY, wanted.name, owner)
        agency_id = _id(row)
        await register.save(self._database, agency_id, wanted, changes)
        return Applied(await self._saved(agency_id), "created")

    async def _saved(self, agency_id: int) -> AgencySpec:
        spec = await register.load(self._database, agency_id)
        if spec is None:
            raise LookupError(f"agency {agency_id} was saved and is not there")
        return spec

    async def _apply(self, wanted: AgencyDocument, owner: str, meant: int | None) -> Applied:
        if meant is None:
            return await self._insert(wanted, owner, roster.creation(wanted))
        spec = await self._locked(meant, Principal(owner, frozenset(), key_id=owner))
        return await self._change(spec, roster.matched(spec, wanted))

    async def _meant(self, wanted: AgencyDocument, owner: str, agency_id: int | None) -> int | None:
        if agency_id is not None:
            return agency_id
        if wanted.id is not UNSET:
            return wanted.id
        await self._database.execute(sql.LOCK_NAME, owner, wanted.name)
        rows = await self._database.fetch(sql.FIND, owner, wanted.name)
        if len(rows) > 1:
            raise Conflict(
                f"{owner} has several agencies called {wanted.name!r}: say which by its id.",
                code="agency_ambiguous",
            )
        return _id(rows[0]) if rows else None


def _cost(spec: AgencySpec) -> int:
    """About what a remembered copy takes, in characters."""
    return sum(1_000 + len(agent.instructions) for agent in spec.agents)


def _id(row: Row | None) -> AgencyId:
    if row is None:
        raise LookupError("an INSERT … RETURNING returned nothing")
    return AgencyId(row["id"])
