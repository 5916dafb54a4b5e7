"""What bots are seen to do while they answer, and when their replies are seen."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import pytest

from gateway.postgres.database import Database
from tests.agency.test_recovery import lose
from tests.conftest import StartGateway
from tests.rooms.asking import Caller, calling, settled
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, silence, status, text
from tests.shelf import Passage, Shelf, lend, make_readers
from tests.streams.reading import Subscription, following
from tests.team import Team


def seen(stream: Subscription, kind: str) -> list[str]:
    """What participants of a kind were told to do, in order."""
    changes = [one["participant"] for one in stream.of("participant.updated")]
    return [one["status"] for one in changes if one["kind"] == kind]


async def test_a_team_is_seen_thinking_waiting_searching_writing_and_idle(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    """Channels tell what stands in the rows, so each step waits until it has been seen."""
    asked, found, written = asyncio.Event(), asyncio.Event(), asyncio.Event()
    shelf = lend(Shelf({"bread": [Passage("Rye is 3.")]}, hold=found), gateway)
    key = await gateway.key("ann", "agencies")
    team = await make_readers(gateway, "programmer", owner_key=key)
    ann = await calling(gateway, "ann", "conversations", "chat")
    holds = [asyncio.Event() for _ in range(3)]
    upstream.script(
        "manager",
        say(team["programmer"], "Rye?", hold=holds[0]),
        say(-1, "bread", hold=holds[1]),
        say(0, "Rye is 3, and a long answer it is.", hold=holds[2], hold_after=6),
    )
    upstream.script("programmer", say(team["manager"], "Ask the library.", hold=asked))
    upstream.script("*", text("So it is.", hold=written))
    room = await ann.create(("agency", team.id), ("model", "gpt"))
    async with following(ann.http, room["id"]) as stream:
        await stream.until(lambda one: one.told)
        await ann.say(room["id"], "What is rye?")
        expected: list[str] = []
        for doing, go_on in (
            ("thinking", holds[0]),
            ("waiting", asked),
            ("thinking", holds[1]),
            ("searching", found),
            ("writing", holds[2]),
            ("idle", asyncio.Event()),
        ):
            expected.append(doing)
            await stream.until(lambda one: seen(one, "agency")[-1:] == expected[-1:])
            go_on.set()
        await stream.until(lambda one: seen(one, "model")[-1:] == ["thinking"])
        written.set()
        await settled(ann, room["id"])
        assert seen(stream, "agency") in (expected, [*expected[:4], "thinking", *expected[4:]])
        await stream.until(lambda one: seen(one, "model")[-1:] == ["idle"])
        assert seen(stream, "model") in (["thinking", "idle"], ["thinking", "writing", "idle"])
    assert len(shelf.searches) == 1
    participants = (await ann.read(room["id"]))["participants"]
    assert {one["status"] for one in participants} == {"idle"}


async def test_a_reply_is_seen_with_its_first_words(
    ann: Caller, upstream: ScriptedUpstream
) -> None:
    rest = asyncio.Event()
    upstream.script("*", text("Apples and pears.", hold=rest, hold_after=1))
    room = await ann.create(("model", "gpt"))
    async with following(ann.http, room["id"]) as stream:
        await stream.until(lambda one: one.told)
        await ann.say(room["id"], "Which fruit?")
        await stream.until(lambda one: len(one.of("interaction.created")) == 2)
        reply = stream.of("interaction.created")[1]["interaction"]
        assert reply["owner"] == {"type": "model", "identifier": "gpt"}
        assert reply["completed_at"] is None
        await stream.until(lambda one: one.text(reply["id"]) == "Apples ")
        assert seen(stream, "model")[-1] == "writing"
        shown = [one.name for one in stream.told if reply["id"] in str(one.data)]
        assert shown[0] in ("turn.updated", "interaction.created")
        assert shown.index("interaction.created") < shown.index("interaction.delta")
        (late,) = (await ann.read(room["id"]))["messages"][1:]
        assert late["id"] == reply["id"]
        rest.set()
        await stream.until(lambda one: "idle" in seen(one, "model"))
        (whole,) = stream.of("interaction.updated")
        assert whole["interaction"]["content"] == "Apples and pears."
        assert whole["interaction"]["id"] == reply["id"]


async def test_a_reply_without_a_word_so_far_is_not_seen(
    ann: Caller, upstream: ScriptedUpstream
) -> None:
    hold = asyncio.Event()
    upstream.script("*", text("Apples.", hold=hold))
    room = await ann.create(("model", "gpt"))
    await ann.say(room["id"], "Which fruit?")
    await upstream.arrived()
    whole = await ann.read(room["id"])
    assert [one["content"] for one in whole["messages"]] == ["Which fruit?"]
    assert whole["participants"][1]["status"] == "thinking"
    turns = (await ann.http.get(f"/api/conversations/{room['id']}/turns")).json()["data"]
    async with following(ann.http, room["id"]) as stream:
        await stream.until(lambda one: one.told)
        (snapshot,) = stream.of("snapshot")
        assert len(snapshot["conversation"]["messages"]) == 1
        hold.set()
        await stream.until(lambda one: "Apples." in str(one.told))
    assert len((await settled(ann, room["id"]))["messages"]) == 2
    assert len(turns) == 1


@pytest.mark.parametrize("end", ["failing", "cancelling", "deleting"])
async def test_whoever_is_stopped_is_idle(
    ann: Caller, team: Team, upstream: ScriptedUpstream, end: str
) -> None:
    upstream.always("manager", status(400) if end == "failing" else silence())
    room = await ann.create(("agency", team.id))
    async with following(ann.http, room["id"]) as stream:
        await stream.until(lambda one: one.told)
        said = await ann.say(room["id"])
        await upstream.arrived()
        if end == "cancelling":
            turns = await ann.http.get(f"/api/conversations/{room['id']}/turns")
            turn = turns.json()["data"][0]["id"]
            assert (await ann.http.post(f"/api/turns/{turn}/cancel")).status_code == 200
        elif end == "deleting":
            body = {"interaction_ids": said["id"]}
            await ann.http.post("/rpc/2025-02-12/delete_interactions", json=body)
        await stream.until(lambda one: seen(one, "agency")[-1:] == ["idle"])
        *_, reply = (await ann.read(room["id"]))["messages"]
        assert len(reply["errors"]) == 1


async def test_a_client_that_goes_away_leaves_nobody_thinking(
    gateway: Gateway, ann: Caller, team: Team, upstream: ScriptedUpstream
) -> None:
    upstream.script("manager", silence())
    room = await ann.create(("agency", team.id))
    async with following(ann.http, room["id"]) as stream:
        await stream.until(lambda one: one.told)
        with suppress(httpx.ReadTimeout):
            await ann.http.post(
                f"/api/agency/{team.id}/chat/completions",
                json={"model": "any", "messages": [{"role": "user", "content": "Hi"}]},
                headers={"x-conversation-id": room["id"]},
                timeout=0.5,
            )
        await stream.until(lambda one: seen(one, "agency")[-1:] == ["idle"])


async def test_whoever_takes_a_turn_up_is_seen_thinking_again(
    start_gateway: StartGateway, upstream: ScriptedUpstream, database: Database
) -> None:
    one = await start_gateway(lease=1.0)
    ann = await calling(one, "ann", "conversations", "chat")
    upstream.script("*", text("Apples and pears.", hold=asyncio.Event(), hold_after=1))
    hold = asyncio.Event()
    upstream.script("*", text("Plums.", hold=hold))
    room = await ann.create(("model", "gpt"))
    async with following(ann.http, room["id"]) as stream:
        await stream.until(lambda one: one.told)
        await ann.say(room["id"], "Which fruit?")
        await stream.until(lambda one: "writing" in seen(one, "model"))
        lose(one)
        await stream.until(lambda one: seen(one, "model")[-1] == "thinking", within=10)
        hold.set()
        await stream.until(lambda one: seen(one, "model")[-1] == "idle")
    *_, reply = (await ann.read(room["id"]))["messages"]
    assert (reply["content"], reply["errors"]) == ("Plums.", [])


async def test_the_chat_door_pays_nothing_for_it(
    ann: Caller, gateway: Gateway, team: Team, upstream: ScriptedUpstream
) -> None:
    upstream.always("manager", say(0, "Hello."))
    body = {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}
    answer = await ann.http.post(f"/api/agency/{team.id}/chat/completions", json=body)
    conversation = answer.headers["x-conversation-id"]
    read = await ann.read(conversation)
    assert read["version"] == 2
    assert {one["status"] for one in read["participants"]} == {"idle"}
