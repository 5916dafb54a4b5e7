"""What an observer is told of turns, whoever answers and however they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import openai
import pytest

from gateway.agency.ledger.observer import Observer
from gateway.agency.ledger.rows import Lease, StepRecord
from gateway.agency.model import Json
from gateway.conversation.turn_states import TurnState
from gateway.ids import TurnId
from tests.chat.asking import ask
from tests.rpc.asking import Rpc, answering
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, silence, status
from tests.team import make_team


@dataclass
class Witness(Observer):
    calls: list[StepRecord] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)
    ends: list[tuple[TurnState, object]] = field(default_factory=list)

    def call_ended(self, lease: Lease, step: StepRecord) -> None:
        self.calls.append(step)

    def step_ended(self, lease: Lease, step: StepRecord) -> None:
        self.steps.append(step)

    def turn_ended(
        self, turn_id: TurnId, state: TurnState, error: Mapping[str, Json] | None
    ) -> None:
        self.ends.append((state, None if error is None else error["code"]))


@pytest.fixture
def witness(gateway: Gateway) -> Witness:
    gateway.resources.engine.ledger.observer = Witness()
    return gateway.resources.engine.ledger.observer


async def test_each_call_and_step_of_a_team_is_told_and_the_end_once(
    gateway: Gateway, upstream: ScriptedUpstream, witness: Witness
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "Code."))
    await ask(gateway, team)
    assert [step.agent for step in witness.steps] == [
        team["manager"],
        team["programmer"],
        team["manager"],
    ]
    assert [step.id for step in witness.calls] == [step.id for step in witness.steps]
    assert witness.ends == [("completed", None)]


async def test_a_plain_model_is_told_as_a_team_is(
    gateway: Gateway, upstream: ScriptedUpstream, witness: Witness
) -> None:
    answering(upstream, "A", status(400))
    door = Rpc(gateway.http)
    conversation = await door.create("gpt")
    await door.say(conversation)
    await door.say(conversation)
    assert [(step.agent, step.model, step.error is None) for step in witness.steps] == [
        (None, "gpt", True),
        (None, "gpt", False),
    ]
    assert [state for state, _ in witness.ends] == ["completed", "failed"]


async def test_a_step_tells_who_provided_its_model(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "A")
    upstream.script("manager", say(0, "A"))
    await ask(gateway, await make_team(gateway))
    door = Rpc(gateway.http)
    await door.say(await door.create("gpt"))
    rows = await gateway.resources.database.fetch("SELECT provider FROM step")
    assert [row["provider"] for row in rows] == ["open_ai", "open_ai"]


async def test_a_turn_that_is_cancelled_is_told(
    gateway: Gateway, upstream: ScriptedUpstream, witness: Witness
) -> None:
    upstream.script("manager", silence())
    asking = asyncio.create_task(ask(gateway, await make_team(gateway)))
    await upstream.arrived("manager")
    (turn,) = await gateway.resources.database.fetch("SELECT id FROM turn")
    await gateway.resources.engine.cancel(TurnId(turn["id"]))
    with pytest.raises(openai.APIStatusError):
        await asking
    assert witness.ends == [("cancelled", "turn_cancelled")]
    assert witness.steps == []


async def test_a_turn_that_is_cancelled_by_a_deletion_is_told(
    gateway: Gateway, upstream: ScriptedUpstream, witness: Witness
) -> None:
    answering(upstream, silence())
    door = Rpc(gateway.http)
    conversation = await door.create("gpt")
    await door.say(conversation, options={"use_streaming": True})
    await upstream.arrived()
    await door.call("delete_conversations", conversation_ids=[conversation])
    assert witness.ends == [("cancelled", "turn_cancelled")]


async def test_what_fails_is_logged_by_its_codes_without_a_word(
    gateway: Gateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.agency.ledger.observer")
    upstream.always("manager", status(400, body={"error": {"message": "Apples", "code": "odd"}}))
    with pytest.raises(openai.APIStatusError):
        await ask(gateway, await make_team(gateway), "Pears")
    call, turn = [one for one in caplog.records if one.name == "gateway.agency.ledger.observer"]
    assert {"provider", "model", "code", "seconds", "agent"} <= vars(call).keys()
    assert (vars(turn)["state"], vars(turn)["code"]) == ("failed", vars(call)["code"])
    told = f"{vars(call)} {vars(turn)}"
    assert "Apples" not in told
    assert "Pears" not in told
