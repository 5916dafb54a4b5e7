"""How tests drive a session."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.postgres.database import Database
from tests.client import Body, Client
from tests.running import Gateway

MEMBERS = {
    "id",
    "agent_id",
    "conversation_id",
    "state",
    "status",
    "step",
    "search",
    "call",
    "message",
    "error",
    "created_at",
    "updated_at",
}
CARRIED = {"search": "search", "call_agent": "call", "resolved": "message", "failed": "error"}
STATUSES = {
    "thinking": "thinking",
    "search": "searching",
    "call_agent": "waiting",
    "resolved": "idle",
    "failed": "idle",
}


@dataclass
class Driver(Client):
    """Whoever drives the sessions of one agent."""

    agent_id: int

    @property
    def path(self) -> str:
        return f"/api/agents/{self.agent_id}/sessions"

    async def begin(self, said: Any = "Hi", *, wait: float = 20, **body: object) -> Body:
        if not body:
            messages = said if isinstance(said, list) else [{"role": "user", "content": said}]
            body = {"messages": messages}
        return sound(await self.call("POST", status=201, json=body, params={"wait": wait}))

    async def read(self, session: Body, wait: float = 20) -> Body:
        return sound(await self.call("GET", f"/{session['id']}", params={"wait": wait}))

    async def give(
        self, session: Body, step: int, wait: float = 20, **given: object
    ) -> httpx.Response:
        path, body = f"/{session['id']}/answers", {"step": step, **given}
        return await self.send("POST", path, json=body, params={"wait": wait})

    async def answer(self, session: Body, step: int, wait: float = 20, **given: object) -> Body:
        answer = await self.give(session, step, wait, **given)
        assert answer.status_code == 200, answer.text
        return sound(answer.json())

    async def late(self, session: Body, step: int, **given: object) -> Body:
        """The session as it stands, which an answer to the wrong step is told."""
        answer = await self.give(session, step, **given)
        assert answer.status_code == 409, answer.text
        body = answer.json()
        assert body["error"]["code"] == "wrong_step"
        return sound(body["session"])

    async def cancel(self, session: Body) -> Body:
        return sound(await self.call("DELETE", f"/{session['id']}"))

    async def list(self, **query: object) -> Body:
        body: Body = await self.call("GET", params=query)
        for one in body["data"]:
            sound(one)
        return body

    async def until_waiting(self) -> list[Body]:
        """The sessions that wait for somebody, as soon as there are any."""
        async with asyncio.timeout(10):
            while True:
                for state in ("search", "call_agent"):
                    if found := (await self.list(state=state))["data"]:
                        return list(found)
                await asyncio.sleep(0.02)


def driving(gateway: Gateway, agent_id: int) -> Driver:
    """With the root key."""
    return Driver(gateway.http, agent_id)


async def driver(gateway: Gateway, agent_id: int, user: str, *scopes: str) -> Driver:
    """Somebody else."""
    return Driver(await gateway.connect(user, *(scopes or ("conversations",))), agent_id)


def sound(session: Body) -> Body:
    """Every member is there, and null unless it goes with the state."""
    assert set(session) == MEMBERS
    assert session["id"].startswith("sess_")
    assert session["status"] == STATUSES[session["state"]]
    for state, member in CARRIED.items():
        assert (session[member] is not None) == (session["state"] == state), (state, session)
    return session


def turn_of(session: Body) -> str:
    return session["id"].replace("sess_", "turn_")


Talk = tuple[int, str, int | None, int | None, str]


async def talk(database: Database) -> list[Talk]:
    """Every message of every context, those of one in order: (agent, role, from, to, text)."""
    rows = await database.fetch(
        """SELECT m.agent_id, m.role, m.from_id, m.to_id, coalesce(i.content, m.text) AS text
           FROM message m LEFT JOIN interaction i ON i.id = m.interaction_id
           ORDER BY m.agent_id, m.version, m.ordinal"""
    )
    return [tuple(row) for row in rows]
