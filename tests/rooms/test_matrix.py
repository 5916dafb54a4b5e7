"""Who may call what: every route of the OpenAPI document against everybody who might try."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest

from tests.client import bearer
from tests.rooms.asking import Caller, calling, settled
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, text
from tests.sessions.asking import Driver
from tests.team import Team, make_team

Body = dict[str, Any]

ROLES: Final = ("owner", "able", "member", "invited", "former", "stranger")
"""Owner of all that there is; a member of the conversation with every right, and one without; who
is invited to it, who has left it, and who never was there."""
YES, REFUSED, NOTHING, CONFLICT = "y", "r", "n", "c"
LETTERS: Final = {403: REFUSED, 404: NOTHING, 409: CONFLICT}
ANYBODY = "yyyyyy"
READ = "yyynnn"
RIGHT = "yyrnnn"
LEAD = "yrrnnn"
OWN = "ynnnnn"
ADMIN = "rrrrrr"
JOIN = "yyyynn"
LEAVE = "cyyynn"

DOORS = ("/v1", "/api/agency/{agency_id}", "/api/agency/{agency_id}/v1")
RPC = "/rpc/2025-02-12"
ROOM = "/api/conversations/{conversation_id}"
SAID = f"{ROOM}/messages/{{message_id}}"
RIGHTS = f"{ROOM}/participants/user/{{identifier}}/rights/{{right}}"


@dataclass
class World:
    """The owner's things, made when they are asked for."""

    gateway: Gateway
    callers: Mapping[str, Caller]
    team: Team
    made: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> Caller:
        return self.callers["owner"]

    async def the(self, name: str) -> str:
        if name not in self.made:
            self.made[name] = await getattr(self, f"_{name}")()
        return self.made[name]

    async def at(self, path: str) -> str:
        for name in re.findall(r"{(\w+)}", path):
            path = path.replace(f"{{{name}}}", await self.the(name))
        return path

    async def filled(self, body: Any, who: str) -> Any:
        """A body with the names in it replaced by what they stand for."""
        if isinstance(body, dict):
            return {key: await self.filled(value, who) for key, value in body.items()}
        if isinstance(body, list):
            return [await self.filled(value, who) for value in body]
        return await self.at(body.replace("{who}", who)) if isinstance(body, str) else body

    async def ask(self, http: httpx.AsyncClient, call: str, who: str) -> httpx.Response:
        method, path = call.split(" ")
        act = ACTS[call]
        place, how = await self.at(path), {"json": await self.filled(act.body, who)}
        if act.body is UPLOAD:
            how = UPLOAD
        if call == f"DELETE {ROOM}/participants":
            how = {"params": {"kind": "user", "identifier": "member"}}
        if path == "/streams/{channel}":
            return await opened(http, place)
        return await http.request(method, place, **how)

    async def anew(self) -> World:
        """Another one, of the same people."""
        return World(self.gateway, self.callers, await team_of(self.gateway))

    async def made_by(self, path: str, body: Body) -> Body:
        answer = await self.owner.http.post(path, json=body)
        assert answer.is_success, answer.text
        made: Body = answer.json()
        return made

    async def _agency_id(self) -> str:
        return str(self.team.id)

    async def _agent_id(self) -> str:
        return str(self.team["manager"])

    async def _conversation_id(self) -> str:
        room = (await self.owner.create(("agency", self.team.id)))["id"]
        for who in ROLES[1:5]:
            rights = (
                [
                    "add_message",
                    "edit_others_messages",
                    "delete_others_messages",
                    "delete_conversation",
                ]
                if who == "able"
                else []
            )
            body = {"kind": "user", "identifier": who, "rights": rights}
            await self.owner.call("POST", f"/{room}/participants", status=201, json=body)
            if who != "invited":
                await self.callers[who].call("POST", f"/{room}/join")
            if who == "former":
                await self.callers[who].call("POST", f"/{room}/leave", status=204)
        return str(room)

    async def _message_id(self) -> str:
        room = await self.the("conversation_id")
        said = await self.owner.say(room)
        await settled(self.owner, room)
        return str(said["id"])

    async def _talked_id(self) -> str:
        await self.the("message_id")
        return await self.the("conversation_id")

    async def _deleted_id(self) -> str:
        said = await self.the("message_id")
        room = await self.the("conversation_id")
        await self.owner.http.delete(f"/api/conversations/{room}/messages/{said}")
        return said

    async def _turn_id(self) -> str:
        room = await self.the("conversation_id")
        await self.the("message_id")
        turns = (await self.owner.http.get(f"/api/conversations/{room}/turns")).json()
        return str(turns["data"][0]["id"])

    async def _channel(self) -> str:
        return await self.the("conversation_id")

    async def _webhook_id(self) -> str:
        body = HOOK | {"conversation_id": await self.the("conversation_id")}
        made = await self.owner.http.post("/api/webhooks", json=body)
        return str(made.json()["id"])

    async def _delivery_id(self) -> str:
        hook = await self.the("webhook_id")
        await self.the("message_id")
        async with asyncio.timeout(10):
            while True:
                path = f"/api/webhooks/{hook}/deliveries"
                if found := (await self.owner.http.get(path)).json()["data"]:
                    return str(found[0]["id"])
                await asyncio.sleep(0.05)

    async def _identifier(self) -> str:
        return "member"

    async def _right(self) -> str:
        return "add_message"

    async def _completion_id(self) -> str:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "store": True}
        path = f"/api/agency/{self.team.id}/chat/completions"
        return str((await self.made_by(path, body))["id"])

    async def _file_id(self) -> str:
        answer = await self.owner.http.post("/v1/files", **UPLOAD)
        return str(answer.json()["id"])

    async def _model_id(self) -> str:
        return f"agency/{self.team.id}"

    async def _other_id(self) -> str:
        return str(self.team["programmer"])

    async def _session_id(self) -> str:
        driver = Driver(self.owner.http, self.team["manager"])
        return str((await driver.begin("Hi", wait=5))["id"])

    async def _skill_set(self) -> str:
        body = await self.filled({**WHOSE, **SKILLS}, "owner")
        made = await self.made_by(f"{RPC}/create_skill_set", body)
        return str(made["id"])

    async def _name(self) -> str:
        made = await self.made_by("/api/collections", {"name": f"bread-{self.team.id}"})
        return str(made["name"])

    async def _document_id(self) -> str:
        path = f"/api/collections/{await self.the('name')}/documents"
        return str((await self.made_by(path, DOCUMENT))["id"])

    async def _key_id(self) -> str:
        return (await self.gateway.key("somebody")).split("_")[1]


UPLOAD: Body = {
    "files": {"file": ("poem.txt", b"Roses are red")},
    "data": {"purpose": "user_data"},
}
DOCUMENT = {"text": "Rye is dark."}
EXPORTED = {
    "format": "agency-gateway/conversation",
    "format_version": 1,
    "conversation": {
        "id": "conv_" + "0" * 32,
        "title": "Exported",
        "owner": {"type": "user", "identifier": "ann"},
        "drive": "auto",
        "provider_id": None,
        "model_id": None,
        "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    },
}
HOOK = {
    "url": "http://127.0.0.1:9/hook",
    "events": ["message.created"],
    "conversation_id": "{conversation_id}",
}
TALK = {"messages": [{"role": "user", "content": "Hi"}]}
AGENT = {"name": "new", "instructions": "You are new."}
AGENCY = {"name": "New", "manager": "new", "agents": [AGENT]}


WHOSE = {"owner": {"type": "user", "identifier": "{who}"}}
SKILLS = {"name": "Rhymes", "icon": "", "description": "", "prompt": "Rhyme!"}
RELAY = {"ai_relay_options": {"provider_id": "open_ai", "model_id": "gpt"}}
KEYED = {"idempotency_key": "{who}", **WHOSE, **RELAY}
SPOKEN = {
    "conversation_id": "{conversation_id}",
    "message_content": "Hi",
    "file_ids": [],
    "skill_set_ids": [],
    "options": {"use_streaming": True},
    **KEYED,
}


@dataclass(frozen=True)
class Act:
    """What the roles are answered. `body` may name what there is in the world. One that is `final`
    leaves nothing to try it on again."""

    answers: str
    body: object = None
    final: bool = False


def those(paths: Mapping[str, Act]) -> dict[str, Act]:
    """The same at each of OpenAI's doors. At an agency's, only who may use it is there."""
    found = {}
    for door in DOORS:
        for call, act in paths.items():
            method, path = call.split(" ")
            own = act if door == "/v1" else Act(OWN, act.body, act.final)
            found[f"{method} {door}{path}"] = own
    return found


ACTS: dict[str, Act] = {
    "GET /api/keys": Act(ADMIN),
    "POST /api/keys": Act(ADMIN, {"user": "eve", "scopes": ["chat"]}),
    "DELETE /api/keys/{key_id}": Act(ADMIN),
    "GET /api/me": Act(ANYBODY),
    "GET /api/agencies": Act(ANYBODY),
    "POST /api/agencies": Act(ANYBODY, AGENCY),
    "GET /api/agencies/{agency_id}": Act(OWN),
    "PUT /api/agencies/{agency_id}": Act(OWN, AGENCY, final=True),
    "PATCH /api/agencies/{agency_id}": Act(OWN, {"name": "Other"}),
    "DELETE /api/agencies/{agency_id}": Act(OWN, final=True),
    "GET /api/agencies/{agency_id}/agents": Act(OWN),
    "POST /api/agencies/{agency_id}/agents": Act(OWN, AGENT),
    "GET /api/agencies/{agency_id}/agents/{agent_id}": Act(OWN),
    "PATCH /api/agencies/{agency_id}/agents/{agent_id}": Act(OWN, {"instructions": "Other"}),
    "DELETE /api/agencies/{agency_id}/agents/{other_id}": Act(OWN, final=True),
    **those(
        {
            "GET /chat/completions": Act(ANYBODY),
            "POST /chat/completions": Act(OWN, TALK | {"model": "agency/{agency_id}"}),
            "GET /chat/completions/{completion_id}": Act(OWN),
            "POST /chat/completions/{completion_id}": Act(OWN, {"metadata": {"a": "b"}}),
            "DELETE /chat/completions/{completion_id}": Act(OWN, final=True),
            "GET /chat/completions/{completion_id}/messages": Act(OWN),
            "GET /files": Act(ANYBODY),
            "POST /files": Act(ANYBODY, UPLOAD),
            "GET /files/{file_id}": Act(OWN),
            "GET /files/{file_id}/content": Act(OWN),
            "DELETE /files/{file_id}": Act(OWN, final=True),
            "GET /models": Act(ANYBODY),
            "GET /models/{model_id}": Act(OWN),
            "POST /embeddings": Act(ANYBODY, {"model": "wordllama", "input": "Hi"}),
        }
    ),
    "GET /api/conversations": Act(ANYBODY),
    "POST /api/conversations": Act(ANYBODY, {"title": "New"}),
    f"GET {ROOM}": Act(READ),
    f"PATCH {ROOM}": Act(LEAD, {"title": "New"}),
    f"DELETE {ROOM}": Act(RIGHT, final=True),
    f"POST {ROOM}/restore": Act(RIGHT),
    f"GET {ROOM}/export": Act(READ),
    "POST /api/conversations/import": Act(ANYBODY, EXPORTED),
    f"PUT {ROOM}/status": Act(READ, {"status": "writing"}),
    f"POST {ROOM}/participants": Act(LEAD, {"kind": "user", "identifier": "dora"}),
    f"PATCH {ROOM}/participants": Act(
        LEAD, {"kind": "agency", "identifier": "{agency_id}", "drive": "manual"}
    ),
    f"DELETE {ROOM}/participants": Act(LEAD, final=True),
    f"POST {ROOM}/join": Act(JOIN, final=True),
    f"POST {ROOM}/leave": Act(LEAVE, final=True),
    f"PUT {RIGHTS}": Act(LEAD, final=True),
    f"DELETE {RIGHTS}": Act(LEAD, final=True),
    "GET /api/invitations": Act(ANYBODY),
    "GET /api/webhooks": Act(ANYBODY),
    "POST /api/webhooks": Act(READ, HOOK),
    "DELETE /api/webhooks/{webhook_id}": Act(OWN, final=True),
    "GET /api/webhooks/{webhook_id}/deliveries": Act(OWN),
    "POST /api/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": Act(OWN),
    f"GET {ROOM}/messages": Act(READ),
    f"POST {ROOM}/messages": Act(RIGHT, {"content": "Hi"}),
    f"GET {SAID}": Act(READ),
    f"PATCH {SAID}": Act(RIGHT, {"content": "Ho"}),
    f"DELETE {SAID}": Act(RIGHT, final=True),
    f"POST {ROOM}/messages/{{deleted_id}}/restore": Act(RIGHT, final=True),
    f"PUT {SAID}/excluded": Act(LEAD, {"excluded": True}),
    f"GET {SAID}/history": Act(READ),
    f"POST {ROOM}/forks": Act(READ, {"at": "{message_id}"}),
    f"GET {ROOM}/branches": Act(READ),
    f"GET {ROOM}/turns": Act(READ),
    "GET /api/turns/{turn_id}": Act(READ),
    "POST /api/turns/{turn_id}/cancel": Act("crrnnn"),
    "GET /api/agency/{agency_id}/conversations": Act(OWN),
    "GET /api/agency/{agency_id}/conversations/{talked_id}/messages": Act(OWN),
    f"POST {RPC}/create_conversation": Act(ANYBODY, KEYED),
    f"POST {RPC}/create_conversation_message": Act(RIGHT, SPOKEN),
    f"POST {RPC}/get_conversation_with_interactions": Act(
        READ, {"conversation_id": "{conversation_id}"}
    ),
    f"POST {RPC}/list_conversations_with_interactions": Act(ANYBODY, WHOSE),
    f"POST {RPC}/delete_conversations": Act(
        RIGHT, {"conversation_ids": ["{conversation_id}"]}, final=True
    ),
    f"POST {RPC}/delete_interactions": Act(LEAD, {"interaction_ids": ["{message_id}"]}, final=True),
    f"POST {RPC}/update_interaction_excluded_state": Act(
        LEAD, {"interaction_id": "{message_id}", "excluded": True}
    ),
    f"POST {RPC}/create_skill_set": Act(ANYBODY, WHOSE | SKILLS),
    f"POST {RPC}/get_skill_set": Act(OWN, {"skill_set_id": "{skill_set}"}),
    f"POST {RPC}/get_many_skill_sets": Act(OWN, {"skill_set_ids": ["{skill_set}"]}),
    f"POST {RPC}/list_skill_sets_by_owner": Act(ANYBODY, WHOSE),
    f"POST {RPC}/update_skill_set": Act(OWN, {"skill_set_id": "{skill_set}", "name": "Other"}),
    f"POST {RPC}/delete_skill_set": Act(OWN, {"skill_set_id": "{skill_set}"}, final=True),
    "GET /api/agents/{agent_id}/sessions": Act(OWN),
    "POST /api/agents/{agent_id}/sessions": Act(OWN, TALK),
    "GET /api/agents/{agent_id}/sessions/{session_id}": Act(OWN),
    "DELETE /api/agents/{agent_id}/sessions/{session_id}": Act(OWN),
    "POST /api/agents/{agent_id}/sessions/{session_id}/answers": Act(OWN, {"step": 1}),
    "GET /api/inbox": Act(ANYBODY),
    "GET /streams/{channel}": Act(READ),
    "POST /api/streams/tokens": Act(READ, {"channel": "{conversation_id}"}),
    "GET /api/collections": Act(ANYBODY),
    "POST /api/collections": Act(ANYBODY, {"name": "new"}),
    "GET /api/collections/{name}": Act(OWN),
    "DELETE /api/collections/{name}": Act(OWN, final=True),
    "GET /api/collections/{name}/documents": Act(OWN),
    "POST /api/collections/{name}/documents": Act(OWN, DOCUMENT),
    "GET /api/collections/{name}/documents/{document_id}": Act(OWN),
    "DELETE /api/collections/{name}/documents/{document_id}": Act(OWN, final=True),
    "POST /api/collections/{name}/query": Act(OWN, {"query": "rye"}),
}


async def opened(http: httpx.AsyncClient, place: str) -> httpx.Response:
    """A stream, once it has begun."""
    async with http.stream("GET", place) as answer:
        return answer


async def world_of(gateway: Gateway, upstream: ScriptedUpstream) -> World:
    upstream.always("manager", say(0, "Hello."))
    upstream.always("*", text("Hello."))
    scopes = ("chat", "conversations", "agencies", "retrieval")
    callers = {who: await calling(gateway, who, *scopes) for who in ROLES}
    return World(gateway, callers, await team_of(gateway))


async def team_of(gateway: Gateway) -> Team:
    """An agency of the owner's."""
    return await make_team(gateway, "programmer", owner_key=await gateway.key("owner", "agencies"))


OPEN = {"GET /health/live", "GET /health/ready"}
"""What needs no key."""
ALIASES = {
    "{other_id}": "{agent_id}",
    "{deleted_id}": "{message_id}",
    "{talked_id}": "{conversation_id}",
}


def documented(call: str) -> str:
    for alias, name in ALIASES.items():
        call = call.replace(alias, name)
    return call


async def test_no_route_is_missing(gateway: Gateway) -> None:
    paths = (await gateway.anonymous.get("/schema/openapi.json")).json()["paths"]
    routes = {f"{method.upper()} {path}" for path, item in paths.items() for method in item}
    known = {documented(call) for call in ACTS}
    assert sorted(known ^ routes) == sorted(OPEN)


PARTS = 6
"""A gateway takes longer to start than most calls take, and the parts run side by side."""


@pytest.mark.parametrize("part", range(PARTS))
async def test_who_may(gateway: Gateway, upstream: ScriptedUpstream, part: int) -> None:
    first = await world_of(gateway, upstream)
    wrong = {}
    for call, act in list(ACTS.items())[part::PARTS]:
        found = {}
        world = await first.anew()
        for who in ROLES:
            if act.final:
                world = await first.anew()
            found[who] = await world.ask(world.callers[who].http, call, who)
        got = "".join(_letter(one) for one in found.values())
        if got != act.answers:
            wrong[call] = (got, act.answers, [one.text for one in found.values()])
    assert not wrong


def _letter(answer: httpx.Response) -> str:
    return YES if answer.is_success else LETTERS.get(answer.status_code, str(answer.status_code))


SCOPES: Final = {
    "/api/keys": "admin",
    "/api/me": None,
    "/api/agencies": "agencies",
    "/api/collections": "retrieval",
    "/api/conversations/{conversation_id}/turns": "chat",
    "/api/conversations": "conversations",
    "/api/invitations": "conversations",
    "/api/webhooks": "conversations",
    "/api/agents": "conversations",
    "/api/inbox": "conversations",
    "/rpc": "conversations",
    "/streams": "chat conversations act_as admin",
    "/api/streams": "chat conversations act_as admin",
    "/api/turns": "chat",
    "/api/agency": "chat",
    "/v1": "chat",
}
"""What a key needs one of, by how a path begins; the first that fits."""
ALL = frozenset({"chat", "conversations", "agencies", "retrieval", "admin", "act_as"})


def opening(path: str) -> frozenset[str]:
    """The scopes of which a key needs one. Empty if any key will do."""
    found = next(scopes for begin, scopes in SCOPES.items() if path.startswith(begin))
    return frozenset((found or "").split())


async def test_which_keys_open_nothing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """No key, one that is not valid, one that was revoked, and one with all other scopes."""
    world = await world_of(gateway, upstream)
    revoked = await gateway.key("owner", *ALL)
    await gateway.http.delete(f"/api/keys/{revoked.split('_')[1]}")
    others: dict[frozenset[str], httpx.AsyncClient] = {}
    for call in ACTS:
        for headers in ({}, bearer(revoked), bearer("agw_x_y")):
            gateway.anonymous.headers.pop("authorization", None)
            gateway.anonymous.headers.update(headers)
            answer = await world.ask(gateway.anonymous, call, "owner")
            assert answer.status_code == 401, (call, headers)
        if opens := opening(call.split(" ")[1]):
            if opens not in others:
                others[opens] = await gateway.connect("owner", *(ALL - opens))
            answer = await world.ask(others[opens], call, "owner")
            assert answer.status_code in (403, 404), (call, answer.text)
            if "/streams" not in call:
                assert answer.status_code == 403, call
                error = answer.json().get("error", answer.json())
                assert error["code"] == "insufficient_scope", call
