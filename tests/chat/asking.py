"""How tests ask a team, and how they look at what was kept of it."""

from __future__ import annotations

from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.postgres.database import Database
from tests.running import Gateway
from tests.team import Team


def user(content: Any) -> Any:
    return {"role": "user", "content": content}


def system(content: Any, role: str = "system") -> Any:
    return {"role": role, "content": content}


async def ask(gateway: Gateway, team: Team, said: Any = "Hi", **options: Any) -> ChatCompletion:
    """One question to a team, and its answer."""
    messages = said if isinstance(said, list) else [user(said)]
    client = gateway.client(team.id)
    answer = await client.chat.completions.create(model="m", messages=messages, **options)
    assert isinstance(answer, ChatCompletion)
    return answer


async def stream(
    gateway: Gateway,
    team: Team,
    said: Any = "Hi",
    *,
    heard: list[str] | None = None,
    **options: Any,
) -> list[ChatCompletionChunk]:
    """The same as a stream, read to its end; `heard` has the words also if that end is an error."""
    messages = said if isinstance(said, list) else [user(said)]
    client = gateway.client(team.id)
    chunks = await client.chat.completions.create(
        model="m", messages=messages, stream=True, **options
    )
    read = []
    async for chunk in chunks:
        read.append(chunk)
        if heard is not None and chunk.choices:
            heard.append(chunk.choices[0].delta.content or "")
    return read


def text(answer: ChatCompletion) -> str | None:
    return answer.choices[0].message.content


def words(chunks: list[ChatCompletionChunk]) -> str:
    """What a stream's chunks add up to."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def finish(chunks: list[ChatCompletionChunk]) -> str | None:
    return next(c.choices[0].finish_reason for c in reversed(chunks) if c.choices)


async def talk(database: Database, agent: int) -> list[tuple[str, int | None, int | None, str]]:
    """An agent's stored context: (role, from, to, text)."""
    rows = await database.fetch(
        """SELECT m.role, m.from_id, m.to_id, coalesce(i.content, m.text) AS text
           FROM message m LEFT JOIN interaction i ON i.id = m.interaction_id
           WHERE m.agent_id = $1 ORDER BY m.version, m.ordinal""",
        agent,
    )
    return [tuple(row) for row in rows]


async def steps(database: Database) -> list[tuple[int, str | None, str | None]]:
    """Every model call: (agent, output if no message tells it, error code)."""
    rows = await database.fetch(
        "SELECT agent_id, output, error->>'code' AS code FROM step ORDER BY version"
    )
    return [tuple(row) for row in rows]


async def turns(database: Database) -> list[tuple[str, str | None]]:
    """Every turn: (state, error code)."""
    rows = await database.fetch("SELECT state, error->>'code' AS code FROM turn ORDER BY id")
    return [tuple(row) for row in rows]


async def replies(database: Database) -> list[str]:
    """The visible replies."""
    rows = await database.fetch(
        "SELECT content FROM interaction WHERE owner_type = 'bot' ORDER BY ordinal"
    )
    return [row["content"] for row in rows]
