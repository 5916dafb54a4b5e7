"""Teams whose members live elsewhere."""

from __future__ import annotations

from typing import Any

from gateway.postgres.database import Database
from tests.running import Gateway
from tests.team import Team, make_team


async def team_with(gateway: Gateway, address: str, *others: str, **members: Any) -> Team:
    """A manager, an `expert` who lives at that address, and others."""
    agents = [
        {"name": "manager", "instructions": "You manage."},
        {"name": "expert", "instructions": "Be brief.", "remote": address},
        *({"name": name, "instructions": f"You are the {name}."} for name in others),
    ]
    return await make_team(gateway, agents=agents, **members)


async def managed_from(gateway: Gateway, address: str) -> Team:
    """A team whose manager lives at that address."""
    agents = [{"name": "manager", "instructions": "Be brief.", "remote": address}]
    return await make_team(gateway, agents=agents)


async def steps_of(database: Database, agent: int) -> list[tuple[str, int, str | None]]:
    """(model, tokens, error code) of an agent's steps."""
    rows = await database.fetch(
        """SELECT model, prompt_tokens + completion_tokens AS tokens, error->>'code' AS code
           FROM step WHERE agent_id = $1 ORDER BY version""",
        agent,
    )
    return [tuple(row) for row in rows]
