"""The agencies that tests talk to."""

from __future__ import annotations

from dataclasses import dataclass

from tests.client import bearer
from tests.running import Gateway


@dataclass(frozen=True)
class Team:
    """An agency as the API made it: its id, and its agents' ids by name."""

    id: int
    agents: dict[str, int]

    def __getitem__(self, name: str) -> int:
        return self.agents[name]


async def make_team(
    gateway: Gateway, *others: str, owner_key: str | None = None, **document: object
) -> Team:
    """An agency of a manager and `others`."""
    names = ("manager", *others)
    body = {
        "name": "Team",
        "manager": "manager",
        "agents": [{"name": name, "instructions": f"You do the {name}'s work."} for name in names],
        **document,
    }
    headers = bearer(owner_key) if owner_key else {}
    response = await gateway.http.post("/api/agencies", json=body, headers=headers)
    assert response.status_code == 201, response.text
    made = response.json()
    return Team(made["id"], {agent["name"]: agent["id"] for agent in made["agents"]})
