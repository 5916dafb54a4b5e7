"""What the engine relies on in every model, tried on each of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.agency.model import Model, ModelCall, Piece
from gateway.agency.models.rehearsal.model import Rehearsal
from gateway.agency.models.upstream.client import Upstream
from tests.scripted import Call, ScriptedUpstream, Step, say, text

SYSTEM = "You are #1 (manager).\n\nThe others in your team:\n#143 (programmer)"
MESSAGES = (
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": '{"from": 0, "context": "How long does it take, äöü 😀?"}'},
)
ENVELOPE = ModelCall("m", MESSAGES, allowed=(0, 143))
PLAIN = ModelCall("m", MESSAGES)


def well_behaved(call: Call) -> Step:
    """An envelope where one is asked for, else plain text."""
    if "response_format" in call.body:
        return say(143, "How long does it take, äöü 😀?", chunk=3, pace=0.001)
    return text("It takes two days, äöü 😀. " * 5, chunk=3, pace=0.001)


@pytest.fixture(params=["rehearsal", "upstream"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[Model]:
    if request.param == "rehearsal":
        yield Rehearsal()
        return
    async with ScriptedUpstream() as scripted, Upstream(scripted.base_url, "key") as upstream:
        scripted.always("manager", well_behaved)
        yield upstream


@pytest.mark.parametrize("call", [ENVELOPE, PLAIN], ids=["envelope", "plain"])
async def test_what_is_streamed_adds_up_to_the_text(model: Model, call: ModelCall) -> None:
    reads: list[Sequence[Piece]] = []

    def on_pieces(deltas: Sequence[Piece]) -> bool:
        reads.append(deltas)
        return True

    completion = await model.complete(call, on_pieces)
    assert len(reads) > 1
    assert all(delta.text for deltas in reads for delta in deltas)
    assert "".join(delta.text for deltas in reads for delta in deltas) == completion.text
    assert completion.finish_reason == "stop"


@pytest.mark.parametrize("call", [ENVELOPE, PLAIN], ids=["envelope", "plain"])
async def test_streamed_or_not_the_text_is_the_same(model: Model, call: ModelCall) -> None:
    streamed = await model.complete(call, lambda _: True)
    assert (await model.complete(call)).text == streamed.text


async def test_where_an_envelope_is_asked_for_one_comes(model: Model) -> None:
    envelope = json.loads((await model.complete(ENVELOPE)).text)
    assert envelope["to"] in ENVELOPE.allowed
    assert isinstance(envelope["context"], str)


async def test_a_listener_that_has_had_enough_ends_the_call(model: Model) -> None:
    heard: list[Piece] = []

    def on_pieces(deltas: Sequence[Piece]) -> bool:
        heard.extend(deltas)
        return len(heard) < 2

    completion = await model.complete(PLAIN, on_pieces)
    assert completion.text == "".join(piece.text for piece in heard)
    whole = await model.complete(PLAIN)
    assert len(completion.text) < len(whole.text)


async def test_a_stream_lets_others_run_and_can_be_cancelled(model: Model) -> None:
    started = asyncio.Event()
    heard: list[Piece] = []

    def on_pieces(deltas: Sequence[Piece]) -> bool:
        heard.extend(deltas)
        started.set()
        return True

    task = asyncio.create_task(model.complete(PLAIN, on_pieces))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    count = len(heard)
    await asyncio.sleep(0.05)
    assert len(heard) == count


@pytest.mark.parametrize("on_pieces", [None, lambda _: True], ids=["whole", "streamed"])
async def test_usage_is_never_missing(model: Model, on_pieces: None) -> None:
    usage = (await model.complete(ENVELOPE, on_pieces)).usage
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0


async def test_an_error_of_the_listener_comes_through(model: Model) -> None:
    def on_pieces(deltas: Sequence[Piece]) -> bool:
        raise LookupError

    with pytest.raises(LookupError):
        await model.complete(PLAIN, on_pieces)


async def test_many_calls_run_at_the_same_time(model: Model) -> None:
    completions = await asyncio.gather(*(model.complete(PLAIN) for _ in range(50)))
    assert len({completion.text for completion in completions}) == 1


async def test_it_can_be_pinged(model: Model) -> None:
    await model.ping()
