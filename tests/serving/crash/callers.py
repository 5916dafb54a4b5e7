"""Clients that don't give up: each try goes to a gateway by chance, under the same key."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

import httpx

from tests.serving.crash.counting import MANAGER
from tests.serving.crash.processes import Process
from tests.team import Team

RPC = "/rpc/2025-02-12"
ROOMS = "/api/conversations"
PATIENCE = 60.0
"""Seconds until a caller that is given no answer fails its test."""
PAUSE_S = 0.05
OWNER = {"type": "user", "identifier": "root"}


class Caller:
    """Sends until there is an answer. Whatever is neither that, nor a broken connection, nor a 503
    that says when to come again, fails the test."""

    def __init__(self, processes: Sequence[Process], seed: int) -> None:
        self.processes = processes
        self.met: Counter[str] = Counter()
        """What befell the tries, by status or by the name of the failure."""
        self.unheard: list[Mapping[str, object]] = []
        """What was sent and perhaps taken, over a connection that then broke."""
        self.timeout = 30.0
        self._chance = random.Random(seed)
        self._keys = 0

    def key(self) -> str:
        self._keys += 1
        return f"key-{self._keys}-{self._chance.getrandbits(32):08x}"

    async def post(
        self, path: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return await self.send("POST", path, body, headers)

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        async with asyncio.timeout(PATIENCE):
            tries = 0
            while True:
                told = {**(headers or {}), "x-stainless-retry-count": str(tries)}
                if response := await self._try(method, path, body, told):
                    return response
                tries += 1
                await asyncio.sleep(PAUSE_S)

    async def _try(
        self, method: str, path: str, body: Mapping[str, object], headers: Mapping[str, str]
    ) -> httpx.Response | None:
        process = self._chance.choice(self.processes)
        try:
            response = await process.http.request(
                method, path, json=body, headers=headers, timeout=self.timeout
            )
        except httpx.TransportError as error:
            self.met[type(error).__name__] += 1
            if not isinstance(error, httpx.ConnectError):
                self.unheard.append(body)
            return None
        self.met[str(response.status_code)] += 1
        if response.status_code == 503:
            assert int(response.headers["retry-after"]) > 0
            return None
        assert response.status_code < 300, (response.status_code, response.text)
        return response


class Door(Protocol):
    """`asked` are the questions of each conversation in the order of the answers."""

    caller: Caller
    asked: dict[str, list[str]]
    channels: dict[str, str]
    """Where the reply to a question that was streamed is told."""

    async def open(self) -> str:
        """The id of a new conversation with the team."""

    async def say(self, conversation: str, question: str, *, streamed: bool = False) -> str | None:
        """The answer; None if it is told on the channel alone."""


class Chat:
    """The door of OpenAI's clients."""

    def __init__(self, caller: Caller, team: Team) -> None:
        self.caller = caller
        self.asked: defaultdict[str, list[str]] = defaultdict(list)
        self.channels: dict[str, str] = {}
        self._path = f"/api/agency/{team.id}/chat/completions"

    async def open(self) -> str:
        first = f"Shall we begin, {self.caller.key()}?"
        response = await self._send(first, {}, streamed=False)
        conversation = response.headers["x-conversation-id"]
        self.asked[conversation].append(first)
        return conversation

    async def say(self, conversation: str, question: str, *, streamed: bool = False) -> str | None:
        headers = {"x-conversation-id": conversation}
        response = await self._send(question, headers, streamed=streamed)
        self.asked[conversation].append(question)
        assert response.headers["x-conversation-id"] == conversation
        if streamed:
            return "".join(_deltas(response.text))
        content: str = response.json()["choices"][0]["message"]["content"]
        return content

    async def _send(
        self, question: str, headers: Mapping[str, str], *, streamed: bool
    ) -> httpx.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": question}]}
        keyed = {**headers, "idempotency-key": self.caller.key()}
        while True:
            answer = await self.caller.post(self._path, {**body, "stream": streamed}, keyed)
            if not streamed or answer.text.endswith("data: [DONE]\n\n"):
                return answer
            # A stream that has begun can only end in an error that says to come again.
            self.caller.met["broken stream"] += 1
            await asyncio.sleep(PAUSE_S)


def _deltas(stream: str) -> list[str]:
    events = [line[6:] for line in stream.split("\n") if line.startswith("data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return [choice["delta"].get("content") or "" for choice in choices]


class Rpc:
    """The door of the RPC contract, as one user."""

    def __init__(self, caller: Caller, team: Team) -> None:
        self.caller = caller
        self.asked: defaultdict[str, list[str]] = defaultdict(list)
        self.channels: dict[str, str] = {}
        self.relay = {"provider_id": "open_ai", "model_id": f"agency/{team.id}"}

    async def open(self) -> str:
        body = {
            "idempotency_key": self.caller.key(),
            "owner": OWNER,
            "ai_relay_options": self.relay,
        }
        response = await self.caller.post(f"{RPC}/create_conversation", body)
        conversation: str = response.json()["conversation_id"]
        self.asked[conversation] = []
        return conversation

    async def say(self, conversation: str, question: str, *, streamed: bool = False) -> str | None:
        body = self.message(conversation, question, self.caller.key(), streamed=streamed)
        response = await self.caller.post(f"{RPC}/create_conversation_message", body)
        self.asked[conversation].append(question)
        told = response.json()
        assert told["conversation_id"] == conversation
        assert told["input_interaction"]["message_content"] == question
        reply = told["response_interaction"]
        assert reply["errors"] == [], reply["errors"]
        if streamed:
            self.channels[question] = told["stream_channel_id"]
            return None
        assert reply["completed_at"] is not None
        content: str = reply["message_content"]
        return content

    def message(
        self, conversation: str, question: str, key: str, *, streamed: bool
    ) -> dict[str, object]:
        return {
            "conversation_id": conversation,
            "idempotency_key": key,
            "message_content": question,
            "file_ids": [],
            "skill_set_ids": [],
            "owner": OWNER,
            "ai_relay_options": None,
            "options": {"use_streaming": streamed},
        }


class Rooms:
    """The door of the Conversation API: a room has its owner, somebody who is invited, and the
    manager of the team. Whoever says something is seen writing before."""

    def __init__(self, caller: Caller, team: Team) -> None:
        self.caller = caller
        self.asked: defaultdict[str, list[str]] = defaultdict(list)
        self.channels: dict[str, str] = {}
        self._others = [
            {"kind": "user", "identifier": "bob", "rights": ["add_message"]},
            {"kind": "agent", "identifier": str(team[MANAGER])},
        ]

    async def open(self) -> str:
        made = await self.caller.post(ROOMS, {"title": "Room", "participants": self._others})
        conversation: str = made.json()["id"]
        self.asked[conversation] = []
        return conversation

    async def say(self, conversation: str, question: str, *, streamed: bool = False) -> str | None:
        """Nobody waits for the reply."""
        await self.caller.send("PUT", f"{ROOMS}/{conversation}/status", {"status": "writing"})
        keyed = {"idempotency-key": self.caller.key()}
        path = f"{ROOMS}/{conversation}/messages"
        said = (await self.caller.post(path, {"content": question}, keyed)).json()
        assert said["content"] == question
        self.asked[conversation].append(question)
        return None


DOORS = {"chat": Chat, "rpc": Rpc, "rooms": Rooms}
