"""Who may do what with a conversation, at every door: one table for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest

from gateway import ids
from gateway.postgres.database import Database
from tests.rooms.asking import Caller, calling, settled
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, text
from tests.team import make_team

MEMBER = """
    INSERT INTO participant (conversation_id, kind, identifier, ordinal, status, joined_at, left_at,
                             version)
    SELECT $1, 'user', $2, 100 + count(*), 'idle', CASE WHEN $3 THEN now() END,
           CASE WHEN $4 THEN now() END, 1
    FROM participant WHERE conversation_id = $1
"""
GRANT = """
    INSERT INTO participant_right (conversation_id, kind, identifier, "right")
    SELECT $1, 'user', $2, unnest($3::text[])
"""
ALL = ["add_message", "edit_others_messages", "delete_others_messages", "delete_conversation"]
SCOPES = "conversations", "chat"
# Who reads, adds a message, deletes, leads, cancels a turn, hears the agents.
R, W, D, L, C, H = "read", "write", "delete", "lead", "cancel", "hear"
TABLE = {
    "owner": {R, W, D, L, C},
    "acting": {R, W, D, L, C},
    "member": {R},
    "writer": {R, W},
    "deleter": {R, D},
    "keeper": {R, C, H},
    "admin": {R, C, H},
    "invited": set(),
    "former": set(),
    "stranger": set(),
}


@dataclass
class Room:
    """A conversation of ann's, in which an agency of the keeper's has answered."""

    id: str
    turn: str
    agency: int
    said: str


@pytest.fixture
async def room(gateway: Gateway, database: Database, upstream: ScriptedUpstream) -> Room:
    upstream.always("manager", say(0, "Hello."))
    upstream.always("*", text("Hello."))
    key = await gateway.key("keeper", "agencies")
    team = await make_team(gateway, owner_key=key, shared=True)
    ann = await calling(gateway, "owner", *SCOPES)
    made = await ann.create(("agency", team.id))
    await ann.say(made["id"])
    await settled(ann, made["id"])
    conversation = ids.read(ids.CONVERSATION, made["id"])
    for user, joined, left, rights in (
        ("member", True, False, []),
        ("writer", True, False, ["add_message"]),
        ("deleter", True, False, ["delete_conversation"]),
        ("invited", False, False, ALL),
        ("former", True, True, ALL),
    ):
        await database.execute(MEMBER, conversation, user, joined, left)
        await database.execute(GRANT, conversation, user, rights)
    turns = (await ann.http.get(f"/api/conversations/{made['id']}/turns")).json()["data"]
    said = (await ann.read(made["id"]))["messages"][0]["id"]
    return Room(made["id"], turns[0]["id"], team.id, said)


async def as_(gateway: Gateway, who: str) -> Caller:
    more = {"acting": ["act_as"], "admin": ["admin"]}.get(who, [])
    return await calling(gateway, who, *SCOPES, *more)


def rpc(endpoint: str, **body: Any) -> Callable[[Caller, Room], Awaitable[httpx.Response]]:
    async def ask(caller: Caller, room: Room) -> httpx.Response:
        told = {"conversation_id": room.id, **body}
        return await caller.http.post(f"/rpc/2025-02-12/{endpoint}", json=told)

    return ask


async def rpc_message(caller: Caller, room: Room) -> httpx.Response:
    body = {
        "conversation_id": room.id,
        "idempotency_key": f"key of {caller.user}",
        "message_content": "Hi",
        "file_ids": [],
        "skill_set_ids": [],
        "owner": {"type": "user", "identifier": caller.user},
        "ai_relay_options": {"provider_id": "open_ai", "model_id": "gpt"},
        "options": {"use_streaming": True},
    }
    if caller.user == "acting":
        body["owner"] = {"type": "user", "identifier": "owner"}
    return await caller.http.post("/rpc/2025-02-12/create_conversation_message", json=body)


async def rpc_delete(caller: Caller, room: Room) -> httpx.Response:
    body = {"conversation_ids": [room.id]}
    return await caller.http.post("/rpc/2025-02-12/delete_conversations", json=body)


async def rpc_exclude(caller: Caller, room: Room) -> httpx.Response:
    body = {"interaction_id": room.said, "excluded": True}
    return await caller.http.post("/rpc/2025-02-12/update_interaction_excluded_state", json=body)


async def rpc_delete_interactions(caller: Caller, room: Room) -> httpx.Response:
    body = {"interaction_ids": [room.said]}
    return await caller.http.post("/rpc/2025-02-12/delete_interactions", json=body)


async def request(
    method: str, path: str, caller: Caller, room: Room, body: object = None
) -> httpx.Response:
    place = path.format(room=room.id, turn=room.turn, agency=room.agency)
    return await caller.http.request(method, place, json=body)


async def channel(caller: Caller, room: Room) -> httpx.Response:
    return await caller.http.post("/api/streams/tokens", json={"channel": room.id})


def at(method: str, path: str, body: object = None) -> Any:
    return partial(request, method, path, body=body)


PLACE = "/api/conversations/{room}"
DORA = {"kind": "user", "identifier": "dora"}
ACTS: dict[str, tuple[str, Any]] = {
    "GET a conversation": (R, at("GET", "/api/conversations/{room}")),
    "GET its messages": (R, at("GET", "/api/conversations/{room}/messages")),
    "GET its turns": (R, at("GET", "/api/conversations/{room}/turns")),
    "GET a turn": (R, at("GET", "/api/turns/{turn}")),
    "GET the agents' contexts": (
        R,
        at("GET", "/api/agency/{agency}/conversations/{room}/messages"),
    ),
    "RPC get": (R, rpc("get_conversation_with_interactions")),
    "a channel": (R, channel),
    "PATCH": (L, at("PATCH", "/api/conversations/{room}", {"title": "New"})),
    "POST a participant": (L, at("POST", f"{PLACE}/participants", DORA)),
    "PUT a right": (L, at("PUT", f"{PLACE}/participants/user/dora/rights/add_message")),
    "DELETE a right": (L, at("DELETE", f"{PLACE}/participants/user/dora/rights/add_message")),
    "DELETE a participant": (L, at("DELETE", f"{PLACE}/participants?kind=user&identifier=dora")),
    "POST a message": (W, at("POST", "/api/conversations/{room}/messages", {"content": "Hi"})),
    "RPC message": (W, rpc_message),
    "cancel": (C, at("POST", "/api/turns/{turn}/cancel")),
    "RPC exclude": (L, rpc_exclude),
    "RPC delete of a message": (L, rpc_delete_interactions),
    "DELETE": (D, at("DELETE", "/api/conversations/{room}")),
    "RPC delete": (D, rpc_delete),
}
DONE = {200, 201, 204}
ENDED = 409
"""A turn that may be cancelled, and has ended."""


LAST = ("DELETE", "RPC delete")
"""After which there is nothing left to act on."""


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("who", TABLE)
async def test_an_act_needs_its_right(gateway: Gateway, room: Room, who: str, last: str) -> None:
    caller = await as_(gateway, who)
    for act in [*(act for act in ACTS if act not in LAST), last]:
        needed, ask = ACTS[act]
        judged(act, await ask(caller, room), needed, TABLE[who])


def judged(act: str, answer: httpx.Response, needed: str, held: set[str]) -> None:
    if needed in held:
        ended = needed is C and answer.status_code == ENDED
        assert answer.status_code in DONE or ended, (act, answer.text)
    elif R in held:
        assert answer.status_code == 403, (act, answer.text)
        error = answer.json().get("error", answer.json())
        assert error["code"] == "right_missing", act
        named = {W: "'add_message'", D: "'delete_conversation'", L: "owner", C: "owner"}
        assert named[needed] in error["message"], act
    else:
        assert answer.status_code == 404, (act, answer.text)


@pytest.mark.parametrize("who", TABLE)
async def test_what_agents_say_is_for_their_owner_and_admins(
    gateway: Gateway, room: Room, who: str
) -> None:
    answer = await (await as_(gateway, who)).http.get(f"/api/turns/{room.turn}")
    if R in TABLE[who]:
        assert (answer.json()["steps"] is not None) == (H in TABLE[who])
    else:
        assert answer.status_code == 404
