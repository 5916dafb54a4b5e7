from __future__ import annotations

from typing import Any

import pytest

from gateway.conversation.rooms.rights import Right
from tests.rooms.asking import Caller, calling, names, settled, told
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, text
from tests.streams.reading import following
from tests.team import make_team

ALL_RIGHTS = sorted(Right)


async def test_a_conversation_is_created_with_its_participants(
    gateway: Gateway, ann: Caller
) -> None:
    team = await make_team(gateway, owner_key=await gateway.key("ann", "agencies"))
    made = await ann.create(
        ("model", "gpt"), ("agency", team.id), ("user", "bob"), ("agent", team["manager"])
    )
    assert made["title"] == "Room"
    assert made["owner"] == {"type": "user", "identifier": "ann"}
    assert made["drive"] == "auto"
    assert made["stream_channel_id"] == made["id"]
    assert made["messages"] == []
    owner, model, agency, bob, agent = made["participants"]
    assert names(made) == [
        ("user", "ann"),
        ("model", "gpt"),
        ("agency", str(team.id)),
        ("user", "bob"),
        ("agent", str(team["manager"])),
    ]
    assert set(owner) == {
        "kind",
        "identifier",
        "status",
        "drive",
        "rights",
        "invited_at",
        "joined_at",
        "left_at",
        "version",
    }
    assert owner["rights"] == ALL_RIGHTS
    assert [one["rights"] for one in (model, agency, agent)] == [[], [], []]
    # Nothing was said about what he may do: he may speak.
    assert bob["rights"] == ["add_message"]
    assert all(one["joined_at"] for one in (owner, model, agency, agent))
    assert (bob["joined_at"], bob["left_at"], bob["status"]) == (None, None, "offline")
    assert {one["status"] for one in (owner, model, agency, agent)} == {"idle"}
    assert await ann.read(made["id"]) == made


async def test_everything_may_be_left_out(ann: Caller) -> None:
    made = await ann.call("POST", status=201, json={})
    assert (made["title"], made["drive"], names(made)) == (None, "auto", [("user", "ann")])


async def test_rights_are_recorded_for_users(ann: Caller) -> None:
    bob = {"kind": "user", "identifier": "bob", "rights": ["delete_conversation", "add_message"]}
    made = await ann.call("POST", status=201, json={"participants": [bob]})
    assert made["participants"][1]["rights"] == ["add_message", "delete_conversation"]


async def test_a_snapshot_is_the_body_of_the_get(gateway: Gateway, ann: Caller) -> None:
    made = await ann.create(("model", "gpt"))
    async with following(ann.http, made["stream_channel_id"]) as told:
        await told.until(lambda one: one.told)
        assert told.told[0].data["conversation"] == await ann.read(made["id"])


@pytest.mark.parametrize(
    "participant",
    [
        {"kind": "user", "identifier": "two words"},
        {"kind": "agency", "identifier": "one"},
        {"kind": "agency", "identifier": "01"},
        {"kind": "agent", "identifier": "-1"},
        {"kind": "agent", "identifier": "9" * 19},
        {"kind": "model", "identifier": "agency/1"},
        {"kind": "model", "identifier": ""},
        {"kind": "model", "identifier": "gpt", "rights": ["add_message"]},
        {"kind": "user", "identifier": "bob", "rights": ["all"]},
        {"kind": "chain", "identifier": "1"},
        {"kind": "user"},
    ],
)
async def test_a_participant_that_can_not_be_is_refused(
    ann: Caller, participant: dict[str, object]
) -> None:
    await ann.refused("POST", "", 400, json={"participants": [participant]})


async def test_a_participant_is_named_once(ann: Caller) -> None:
    gpt = {"kind": "model", "identifier": "gpt"}
    error = await ann.refused("POST", "", 400, json={"participants": [gpt, gpt]})
    assert error["param"] == "participants"


async def test_bots_of_others_are_not_there(gateway: Gateway, ann: Caller, bob: Caller) -> None:
    team = await make_team(gateway, owner_key=await gateway.key("ann", "agencies"))
    agency = {"kind": "agency", "identifier": str(team.id)}
    agent = {"kind": "agent", "identifier": str(team["manager"])}
    nobody = {"kind": "agent", "identifier": "999999"}
    await bob.refused("POST", "", 404, "agency_not_found", json={"participants": [agency]})
    await bob.refused("POST", "", 404, "agent_not_found", json={"participants": [agent]})
    await bob.refused("POST", "", 404, "agent_not_found", json={"participants": [nobody]})
    admin = await calling(gateway, "carl", "conversations", "admin")
    await admin.create(("agent", team["manager"]), ("agency", team.id))


async def test_one_needs_the_scope(gateway: Gateway) -> None:
    chatter = await calling(gateway, "ann", "chat")
    await chatter.refused("GET", "", 403, "insufficient_scope")


# ---- lists ---------------------------------------------------------------------------------------


async def test_ones_own_conversations_are_listed_newest_first(ann: Caller, bob: Caller) -> None:
    made = [(await ann.create(title=f"Room {number}"))["id"] for number in range(5)]
    await bob.create()
    page = await ann.call("GET", params={"limit": 2})
    assert [one["id"] for one in page["data"]] == [made[4], made[3]]
    page = await ann.call("GET", params={"limit": 2, "cursor": page["next_cursor"]})
    assert [one["id"] for one in page["data"]] == [made[2], made[1]]
    page = await ann.call("GET", params={"limit": 2, "cursor": page["next_cursor"]})
    assert [one["id"] for one in page["data"]] == [made[0]]
    assert page["next_cursor"] is None
    assert page["data"][0]["messages"] == 0
    await ann.refused("GET", "", 400, params={"cursor": "nonsense"})


async def test_titles_are_searched(ann: Caller) -> None:
    for title in ("A 100% plan", "Plan_B", "Another", None):
        await ann.create(title=title)

    async def found(q: str) -> list[str]:
        page = await ann.call("GET", params={"q": q})
        return [one["title"] for one in page["data"]]

    assert await found("plan") == ["Plan_B", "A 100% plan"]
    assert await found("0%") == ["A 100% plan"]
    assert await found("n_b") == ["Plan_B"]
    assert await found("nothing") == []


async def test_conversations_of_the_other_doors_are_there(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = await calling(gateway, "ann", "conversations", "chat")
    team = await make_team(gateway, owner_key=await gateway.key("ann", "agencies"))
    upstream.always("manager", text('{"to": 0, "context": "Hello."}'))
    key = ann.http.headers["authorization"].removeprefix("Bearer ")
    answer = await gateway.client(team.id, key=key).chat.completions.with_raw_response.create(
        model="any", messages=[{"role": "user", "content": "Hi"}]
    )
    (listed,) = (await ann.call("GET"))["data"]
    assert listed["id"] == answer.headers["x-conversation-id"]
    whole = await ann.read(listed["id"])
    assert [one["content"] for one in whole["messages"]] == ["Hi", "Hello."]
    assert names(whole) == [("user", "ann"), ("agency", str(team.id))]


# ---- changing ------------------------------------------------------------------------------------


async def test_title_and_drive_are_changed_and_told(ann: Caller) -> None:
    made = await ann.create()
    async with following(ann.http, made["id"]) as told:
        changed = await ann.call("PATCH", f"/{made['id']}", json={"drive": "manual"})
        assert (changed["title"], changed["drive"]) == ("Room", "manual")
        assert changed["version"] == made["version"] + 1
        await told.until(lambda one: one.of("conversation.updated"))
        assert told.of("conversation.updated")[0]["conversation"] == changed
    changed = await ann.call("PATCH", f"/{made['id']}", json={"title": None})
    assert (changed["title"], changed["drive"]) == (None, "manual")
    same = await ann.call("PATCH", f"/{made['id']}", json={})
    assert same == changed
    await ann.refused("PATCH", f"/{made['id']}", 400, json={"drive": "fast"})
    await ann.refused("PATCH", f"/{made['id']}", 400, json={"model_id": "gpt"})


async def test_a_deleted_conversation_is_gone(ann: Caller) -> None:
    made = await ann.create()
    async with following(ann.http, made["id"]) as told:
        await told.until(lambda one: one.told)
        await ann.call("DELETE", f"/{made['id']}", status=204)
        await told.until(lambda one: one.of("conversation.deleted"))
    await ann.refused("GET", f"/{made['id']}", 404, "conversation_not_found")
    await ann.refused("DELETE", f"/{made['id']}", 404, "conversation_not_found")
    assert (await ann.call("GET"))["data"] == []


async def test_another_users_conversation_is_not_there(ann: Caller, bob: Caller) -> None:
    made = await ann.create()
    await bob.refused("GET", f"/{made['id']}", 404, "conversation_not_found")
    await bob.refused("DELETE", f"/{made['id']}", 404, "conversation_not_found")
    await bob.refused("GET", "/nonsense", 404, "conversation_not_found")
    assert (await ann.read(made["id"]))["id"] == made["id"]


async def test_messages_are_read_page_by_page_newest_first(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = await calling(gateway, "ann", "conversations", "chat")
    team = await make_team(gateway, owner_key=await gateway.key("ann", "agencies"))
    upstream.always("manager", text('{"to": 0, "context": "Hello."}'))
    key = ann.http.headers["authorization"].removeprefix("Bearer ")
    answer = await gateway.client(team.id, key=key).chat.completions.with_raw_response.create(
        model="any", messages=[{"role": "user", "content": "Hi"}]
    )
    place = f"/{answer.headers['x-conversation-id']}/messages"
    page = await ann.call("GET", place, params={"limit": 1})
    assert [one["content"] for one in page["data"]] == ["Hello."]
    page = await ann.call("GET", place, params={"limit": 1, "cursor": page["next_cursor"]})
    assert [one["content"] for one in page["data"]] == ["Hi"]
    assert page["next_cursor"] is None


async def test_a_deleted_conversation_comes_back_as_it_was(
    gateway: Gateway, ann: Caller, bob: Caller, upstream: ScriptedUpstream
) -> None:
    upstream.always("*", text("Hello."))
    room = await ann.create(("model", "gpt"))
    body = {"kind": "user", "identifier": "bob"}
    await ann.call("POST", f"/{room['id']}/participants", status=201, json=body)
    await bob.call("POST", f"/{room['id']}/join")
    gone = await ann.say(room["id"], "Never mind")
    await settled(ann, room["id"])
    await ann.call("DELETE", f"/{room['id']}/messages/{gone['id']}", status=204)
    await ann.say(room["id"], "Hi")
    before = await settled(ann, room["id"])
    await ann.call("DELETE", f"/{room['id']}", status=204)
    await bob.refused("POST", f"/{room['id']}/restore", 404)
    back = await ann.call("POST", f"/{room['id']}/restore")
    assert await ann.call("POST", f"/{room['id']}/restore") == back
    after = await bob.read(room["id"])
    changed = {"version", "updated_at"}

    def kept(one: Any) -> Any:
        return {name: value for name, value in one.items() if name not in changed}

    assert [kept(one) for one in after["messages"]] == [kept(one) for one in before["messages"]]
    assert after["participants"] == before["participants"]
    assert after["version"] == back["version"] > before["version"]
    await bob.refused("POST", f"/{room['id']}/restore", 403, "right_missing")
    async with following(bob.http, room["id"]) as stream:
        await stream.until(lambda one: one.told)
        await ann.say(room["id"], "Again")
        await stream.until(lambda one: one.of("interaction.created"))
    await settled(ann, room["id"])
    assert told(upstream.calls[-1])[-1][1].endswith("Again")


async def test_stored_completions_come_back_with_their_conversation(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = await calling(gateway, "ann", "conversations", "chat")
    team = await make_team(gateway, owner_key=await gateway.key("ann", "agencies"))
    upstream.always("manager", text('{"to": 0, "context": "Hello."}'))
    key = ann.http.headers["authorization"].removeprefix("Bearer ")
    client = gateway.client(team.id, key=key)
    said = [{"role": "user", "content": "Hi"}]
    made = await client.chat.completions.create(model="any", messages=said)  # type: ignore[arg-type]
    (room,) = (await ann.call("GET"))["data"]
    await ann.call("DELETE", f"/{room['id']}", status=204)
    assert [one.id async for one in client.chat.completions.list()] == []
    await ann.call("POST", f"/{room['id']}/restore")
    assert [one.id async for one in client.chat.completions.list()] == [made.id]
    # And a retry is none of it: it is a question of its own.
    again = await client.chat.completions.create(model="any", messages=said)  # type: ignore[arg-type]
    assert again.id != made.id
