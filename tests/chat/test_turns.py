"""Turns, as their callers and the owners of agencies see them."""

from __future__ import annotations

import asyncio

import pytest
from openai import ConflictError

from tests.chat.reading import ask, calling, consult, pages, refused
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, status, text
from tests.team import make_team


async def test_a_turn_shows_every_step(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway, "programmer")
    manager, programmer = team["manager"], team["programmer"]
    upstream.script(
        "manager", text("Hm."), say(programmer, "How hard?", usage=(7, 3)), say(0, "Hard.")
    )
    upstream.script("programmer", say(manager, "Very."))
    said = await ask(gateway, team, "How hard is it?")
    turn = (await gateway.http.get(f"/api/turns/{said.turn_id}")).json()
    steps = turn.pop("steps")
    usage = {"prompt_tokens": 37, "completion_tokens": 18, "total_tokens": 55}
    asked = {"from": None, "to": manager, "kind": "question", "text": "How hard is it?"}
    assert turn == {
        "id": said.turn_id,
        "conversation_id": said.conversation_id,
        "responder": f"agency/{team.id}",
        "state": "completed",
        "attempt": 1,
        "usage": usage,
        "finish_reason": "stop",
        "error": None,
        "created_at": turn["created_at"],
        "updated_at": turn["updated_at"],
        "completed_at": turn["completed_at"],
        "messages": [asked],
    }
    note = steps[0]["messages"][0]
    assert steps[0]["output"] == "Hm."
    assert (note["from"], note["to"], note["kind"]) == (-2, manager, "note")
    question = {"from": manager, "to": programmer, "kind": "question", "text": "How hard?"}
    assert steps[1] == {
        "id": steps[1]["id"],
        "agent": {"id": manager, "name": "manager", "label": f"#{manager} (manager)"},
        "model": "gpt-4o-mini",
        "attempt": 1,
        "started_at": steps[1]["started_at"],
        "completed_at": steps[1]["completed_at"],
        "seconds": steps[1]["seconds"],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        "output": None,
        "error": None,
        "messages": [question],
    }
    assert 0 < steps[1]["seconds"] < 5
    assert [step["messages"] for step in steps[2:]] == [
        [{"from": programmer, "to": manager, "kind": "answer", "text": "Very."}],
        [{"from": manager, "to": None, "kind": "answer", "text": "Hard."}],
    ]


async def test_a_step_that_failed_says_why(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway, "programmer")
    manager, programmer = team["manager"], team["programmer"]
    upstream.script("manager", say(programmer, "How hard?"), say(programmer, "Well?"))
    upstream.script("programmer", status(403), say(manager, "Who asks?"))
    upstream.script("manager", say(0, "Hard."))
    said = await ask(gateway, team, "How hard is it?")
    steps = (await gateway.http.get(f"/api/turns/{said.turn_id}")).json()["steps"]
    failed = steps[1]
    assert failed["agent"]["name"] == "programmer"
    assert failed["error"]["message"]
    assert [message["kind"] for message in failed["messages"]] == ["note"]
    kinds = [[message["kind"] for message in step["messages"]] for step in steps]
    assert kinds == [["question"], ["note"], ["question"], ["answer"], ["answer"]]


async def test_a_turn_under_way_is_cancelled(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Never.", hold=asyncio.Event()))
    asking = asyncio.create_task(ask(gateway, team, "Go on"))
    call = await upstream.arrived("manager")
    mine = (await gateway.http.get(f"/api/agency/{team.id}/conversations")).json()["data"]
    listed = await gateway.http.get(f"/api/conversations/{mine[0]['id']}/turns")
    (turn,) = listed.json()["data"]
    assert (turn["state"], turn["completed_at"]) == ("running", None)
    path = f"/api/turns/{turn['id']}"
    cancelled = await gateway.http.post(f"{path}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["state"] == "cancelled"
    assert cancelled.json()["error"]["code"] == "turn_cancelled"
    with pytest.raises(ConflictError):
        await asking
    await asyncio.wait_for(call.disconnected.wait(), 10)
    refused(await gateway.http.post(f"{path}/cancel"), 409, "turn_ended")
    assert (await gateway.http.get(path)).json() == cancelled.json()


async def test_the_turns_of_a_conversation_are_paged(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Yes."))
    said = [await ask(gateway, team, "0")]
    for n in range(1, 5):
        there = said[0].conversation_id
        said.append(await ask(gateway, team, str(n), conversation=there))
    path = f"/api/conversations/{said[0].conversation_id}/turns"
    for limit in range(1, 7):
        read = await pages(gateway.http, path, limit=limit)
        listed = [turn for page in read for turn in page["data"]]
        assert [turn["id"] for turn in listed] == [one.turn_id for one in said]
        assert read[-1]["data"]
    assert "steps" not in listed[0]
    refused(await gateway.http.get(path, params={"cursor": "1.1"}), 400)


async def test_a_fork_keeps_the_steps_of_what_it_copied(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    consult(upstream, team, "One.")
    upstream.always("manager", say(0, "Two."))
    first = await ask(gateway, team, "1")
    await ask(gateway, team, "1", "One.", "2")
    fork = await ask(gateway, team, "1", "One.", "Other")
    assert fork.conversation_id != first.conversation_id
    turns = await gateway.http.get(f"/api/conversations/{fork.conversation_id}/turns")
    copied = await gateway.http.get(f"/api/turns/{turns.json()['data'][0]['id']}")
    original = await gateway.http.get(f"/api/turns/{first.turn_id}")
    assert copied.json()["steps"] == original.json()["steps"]
    assert len(copied.json()["steps"]) == 3


async def test_turns_are_not_there_for_strangers(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    async with calling(gateway, "alice") as (alice, key), calling(gateway, "bob") as (bob, _):
        team = await make_team(gateway, owner_key=key)
        upstream.script("manager", say(0, "Yes."))
        said = await ask(gateway, team, "Question", key=key)
        turn, turns = (
            f"/api/turns/{said.turn_id}",
            f"/api/conversations/{said.conversation_id}/turns",
        )
        refused(await bob.get(turn), 404, "turn_not_found")
        refused(await bob.post(f"{turn}/cancel"), 404, "turn_not_found")
        refused(await bob.get(turns), 404, "conversation_not_found")
        assert (await alice.get(turn)).status_code == 200
        for path in ("/api/turns/x", "/api/turns/turn_" + "0" * 32, f"{turn}0"):
            refused(await alice.get(path), 404)
            refused(await alice.post(f"{path}/cancel"), 404)
        for malformed in ("x", "conv_" + "0" * 32):
            refused(await alice.get(f"/api/conversations/{malformed}/turns"), 404)
        refused(await gateway.anonymous.get(turn), 401)
        async with calling(gateway, "alice", "agencies") as (unfit, _):
            refused(await unfit.get(turn), 403)
