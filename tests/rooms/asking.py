"""How tests call the Conversation API."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from tests.client import Body, Client
from tests.running import Gateway
from tests.scripted import Call

PATH = "/api/conversations"


@dataclass
class Caller(Client):
    prefix = PATH

    user: str

    async def create(self, *participants: tuple[str, object], **more: object) -> Body:
        """A conversation with these, each a kind and an identifier."""
        named = [{"kind": kind, "identifier": str(one)} for kind, one in participants]
        body = {"title": "Room", "participants": named, **more}
        made: Body = await self.call("POST", status=201, json=body)
        return made

    async def read(self, conversation_id: str) -> Body:
        found: Body = await self.call("GET", f"/{conversation_id}")
        return found

    async def say(self, conversation_id: str, content: str = "Hi", **more: object) -> Body:
        body = {"content": content, **more}
        said: Body = await self.call("POST", f"/{conversation_id}/messages", status=201, json=body)
        return said


async def calling(gateway: Gateway, user: str, *scopes: str) -> Caller:
    """A caller with a key of its own; it may only converse unless told otherwise."""
    return Caller(await gateway.connect(user, *(scopes or ("conversations",))), user)


def names(conversation: Body) -> list[tuple[str, str]]:
    return [(one["kind"], one["identifier"]) for one in conversation["participants"]]


async def settled(caller: Caller, conversation_id: str) -> Body:
    """The conversation, once nobody works in it any more. Needs the scope `chat`, too."""
    async with asyncio.timeout(10):
        while True:
            turns = await caller.http.get(f"/api/conversations/{conversation_id}/turns")
            assert turns.status_code == 200, turns.text
            if all(one["completed_at"] for one in turns.json()["data"]):
                return await caller.read(conversation_id)
            await asyncio.sleep(0.02)


async def shown(caller: Caller, conversation_id: str, messages: int) -> Body:
    """The conversation, once it shows so many messages, whether or not they are complete."""
    async with asyncio.timeout(10):
        while len((whole := await caller.read(conversation_id))["messages"]) < messages:
            await asyncio.sleep(0.02)
    return whole


def heard(conversation: Body) -> list[tuple[str, str]]:
    """Who said what, in order."""
    return [(one["owner"]["identifier"], one["content"]) for one in conversation["messages"]]


def by(kind: str, identifier: str) -> Body:
    """Who speaks, as bots are told it."""
    return {"kind": kind, "identifier": identifier}


def voices(call: Call) -> list[tuple[str, str]]:
    """Who of the room said what, as a team was told it."""
    found: list[Any] = []
    for message in call.messages:
        if message["role"] == "user":
            told = json.loads(message["content"])
            found += told if isinstance(told, list) else [told]
    return [(one["by"]["identifier"], one["context"]) for one in found if one["from"] == 0]


def wrapped(call: Call) -> list[Body]:
    """What the others said to a plain model, each with who says it."""
    told = [one["content"] for one in call.messages if one["role"] == "user"]
    return [json.loads(line) for content in told for line in content.split("\n\n")]


def told(call: Call) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in call.messages if one["role"] != "system"]
