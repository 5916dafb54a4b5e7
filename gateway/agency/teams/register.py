"""The rows of an agency, read and written. Who may do so is the catalog's to say."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.agency.model import Json
from gateway.agency.teams import sql_catalog as sql
from gateway.agency.teams.documents import AgencyDocument, AgentDocument, plain
from gateway.agency.teams.roster import RosterChanges
from gateway.agency.teams.team import AgencySpec, AgencySummary, AgentSpec, Limits
from gateway.ids import AgencyId, AgentId
from gateway.postgres.database import Database, Row

BIGINT = 2**63
"""The first id that no row can have."""


async def load(database: Database, agency_id: int) -> AgencySpec | None:
    if not 0 < agency_id < BIGINT:
        return None
    rows = await database.fetch(sql.READ, agency_id)
    return _spec(rows) if rows else None


async def save(
    database: Database, agency_id: int, wanted: AgencyDocument, changes: RosterChanges
) -> None:
    """Inside of a transaction that holds the agency's row, if it was there before."""
    if changes.removed:
        await database.execute(sql.DELETE_AGENTS, [agent.id for agent in changes.removed])
    if changes.renamed:
        await database.execute(sql.FREE_NAMES, list(changes.renamed))
    if changes.changed:
        await database.execute(sql.UPDATE_AGENTS, _records(changes.changed))
    if changes.added:
        await database.execute(sql.INSERT_AGENTS, agency_id, _records(changes.added))
    await database.execute(
        sql.SAVE_AGENCY,
        agency_id,
        wanted.name,
        wanted.shared,
        _json(plain(wanted.settings)),
        wanted.manager,
    )


def summary(row: Row) -> AgencySummary:
    return AgencySummary(
        id=AgencyId(row["id"]),
        name=row["name"],
        owner=row["owner"],
        shared=row["shared"],
        manager_id=AgentId(row["manager_id"]),
        agents=tuple(zip(map(AgentId, row["agent_ids"]), row["names"], strict=True)),
        revision=row["revision"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _spec(rows: Sequence[Row]) -> AgencySpec:
    first = rows[0]
    settings: dict[str, Json] = msgspec.json.decode(first["settings"])
    return AgencySpec(
        id=AgencyId(first["agency_id"]),
        name=first["agency_name"],
        owner=first["owner"],
        shared=first["shared"],
        manager_id=AgentId(first["manager_id"]),
        agents=tuple(_agent(row) for row in rows),
        settings=settings,
        limits=msgspec.convert(settings.get("limits", {}), Limits),
        revision=first["revision"],
        created_at=first["agency_created_at"],
        updated_at=first["agency_updated_at"],
    )


def _agent(row: Row) -> AgentSpec:
    return AgentSpec(
        id=AgentId(row["id"]),
        name=row["name"],
        instructions=row["instructions"],
        model=row["model"],
        collections=tuple(row["collections"]),
        params=msgspec.json.decode(row["params"]),
        remote=row["remote"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _records(agents: Sequence[AgentDocument]) -> str:
    return _json(
        [
            {
                "id": None if agent.id is msgspec.UNSET else agent.id,
                "name": agent.name,
                "instructions": agent.instructions,
                "model": agent.model,
                "collections": agent.collections,
                "params": plain(agent.params),
                "remote": agent.remote,
            }
            for agent in agents
        ]
    )


def _json(value: Json) -> str:
    return msgspec.json.encode(value).decode()
