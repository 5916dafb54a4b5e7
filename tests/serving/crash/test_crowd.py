"""Twenty people and three bots in one room, over two processes of which one is killed: each has
been told what is stored, all bots have answered each message, once, and a webhook was told all."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from gateway.conversation.webhooks.delivery import LEASE_S
from gateway.postgres.database import Database
from tests.client import bearer
from tests.rooms.receiving import Receiver
from tests.scripted import Call, ScriptedUpstream, say, text
from tests.serving.crash.conftest import Spawn
from tests.serving.crash.invariants import all_ended
from tests.serving.crash.processes import Process
from tests.serving.crash.transcripts import Transcript, transcribing

PEOPLE, TYPING, ROUNDS = 20, 5, 3
"""Of the people so many use an OpenAI client, the others the Conversation API."""
ROOMS = "/api/conversations"
AGENCY = {
    "name": "Team",
    "shared": True,
    "manager": "manager",
    "agents": [{"name": "manager", "instructions": "You listen."}],
}


@dataclass
class Seat:
    """Where one person sits: a gateway, as a `Transcript` needs it."""

    http: httpx.AsyncClient
    key: str


@dataclass
class Person:
    name: str
    seats: list[Seat]
    room: str
    transcript: Transcript

    async def say(self, words: str, chance: random.Random) -> None:
        """The same request, until somebody has taken it."""
        for tries in range(200):
            seat = self.seats[(tries + (chance.random() < 0.5)) % 2]
            try:
                answer = await seat.http.post(
                    f"{ROOMS}/{self.room}/messages",
                    json={"content": words},
                    headers={"idempotency-key": words},
                )
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code < 500:
                assert answer.status_code == 201, answer.text
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{words} was never taken")

    async def type(self, words: str, base_url: str) -> None:
        """The same with an OpenAI client, which retries by itself."""
        client = openai.AsyncOpenAI(base_url=base_url, api_key=self.seats[0].key, max_retries=8)
        async with client:
            stream = await client.chat.completions.create(
                model="any",
                messages=[{"role": "user", "content": words}],
                stream=True,
                extra_headers={"x-conversation-id": self.room},
            )
            told = "".join([one.choices[0].delta.content or "" async for one in stream])
            assert told == f"I hear {words}"


async def seated(stack: AsyncExitStack, root: httpx.AsyncClient, name: str, *at: Process) -> Any:
    scopes = ["conversations", "chat"]
    made = await root.post("/api/keys", json={"user": name, "scopes": scopes})
    key = made.json()["key"]
    return [
        Seat(
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=one.base_url, headers=bearer(key), timeout=30)
            ),
            key,
        )
        for one in at
    ]


async def test_a_crowd_outlives_a_process(
    spawn: Spawn, upstream: ScriptedUpstream, database: Database
) -> None:
    near = {"GATEWAY_EGRESS_ALLOW": "127.0.0.1/32"}
    one, other = await asyncio.gather(*(spawn(name, **near) for name in ("one", "other")))
    root, chance = other.http, random.Random(11)
    team = (await root.post("/api/agencies", json=AGENCY)).json()

    def answer(call: Call) -> Any:
        return text(f"{call.body['model']} hears you", delay=chance.random() / 50)

    def lead(call: Call) -> Any:
        return say(0, f"I hear {call.inbound[-1][1]}", delay=chance.random() / 50)

    upstream.always("*", answer)
    upstream.always("manager", lead)
    bots = [("agency", str(team["id"])), ("model", "gpt"), ("model", "llama")]
    named = [{"kind": kind, "identifier": name} for kind, name in bots]
    room = (await root.post(ROOMS, json={"participants": named, "title": "Crowd"})).json()["id"]
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver())
        hook = {"url": receiver.url, "events": ["message.created"], "conversation_id": room}
        assert (await root.post("/api/webhooks", json=hook)).status_code == 201
        people: list[Person] = []
        for number in range(PEOPLE):
            name = f"person{number}"
            seats = await seated(stack, root, name, *((one, other)[:: (-1) ** number]))
            invited = {"kind": "user", "identifier": name, "rights": ["add_message"]}
            answered = await root.post(f"{ROOMS}/{room}/participants", json=invited)
            assert answered.status_code == 201, answered.text
            joined = await seats[number % 2].http.post(f"{ROOMS}/{room}/join")
            assert joined.status_code == 200
            transcript = await stack.enter_async_context(transcribing(Transcript(room, seats)))
            people.append(Person(name, seats, room, transcript))
        base_url = f"{other.base_url}/api/agency/{team['id']}"
        for turn in range(ROUNDS):
            talking = [
                person.type(f"{person.name} types {turn}", base_url)
                if number < TYPING
                else person.say(f"{person.name} says {turn}", chance)
                for number, person in enumerate(people)
            ]
            tasks = [asyncio.create_task(talk) for talk in talking]
            if turn == 1:
                await asyncio.sleep(0.3)
                await one.kill()
            await asyncio.gather(*tasks)
            if not one.runs:
                await one.restart()
        await all_ended(database)
        whole = (await root.get(f"{ROOMS}/{room}")).json()
        said = whole["messages"]
        async with asyncio.timeout(30):
            while not all(person.transcript.reached(whole["version"]) for person in people):
                await asyncio.sleep(0.05)
        stored = {message["id"]: message for message in await all_of(root, room)}
        for person in people:
            shown = person.transcript.state()
            mine = {name: row for name, row in shown.items() if name.startswith("int_")}
            # Whoever came later was told the newest 200 at first.
            assert mine == {name: row for name, row in stored.items() if name in mine}
            assert set(mine) >= {message["id"] for message in said}
        async with asyncio.timeout(LEASE_S + 10):
            while len(heard := told(receiver)) < len(stored):
                await asyncio.sleep(0.1)
        assert heard == set(stored)
    questions = [row for row in stored.values() if row["owner"]["type"] == "user"]
    assert len(questions) == PEOPLE * ROUNDS == len({row["content"] for row in questions})
    replies = [row for row in stored.values() if row["owner"]["type"] != "user"]
    assert not [row for row in replies if row["errors"] or not row["completed_at"]]
    assert len(replies) == ROUNDS * (TYPING + 3 * (PEOPLE - TYPING))


def told(receiver: Receiver) -> set[str]:
    """The messages that a webhook was told, perhaps more than once."""
    return {json.loads(body)["data"]["message"]["id"] for _, body in receiver.sent}


async def all_of(http: httpx.AsyncClient, room: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        query = {"limit": 100} | ({} if cursor is None else {"cursor": cursor})
        page = (await http.get(f"{ROOMS}/{room}/messages", params=query)).json()
        found += page["data"]
        if (cursor := page["next_cursor"]) is None:
            return found
