"""An upstream that refuses something optional is asked again without; what the client sent is its
own to mend."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.agency.model import Completion, ModelCall
from gateway.agency.models.upstream.client import Upstream
from gateway.agency.models.upstream.habits import KEPT_S, MAX_DROPPED, MAX_MODELS, Memory
from gateway.agency.models.upstream.refusal import read
from gateway.errors import UpstreamError
from tests.scripted import ScriptedUpstream, say, status, text
from tests.scripted.providers import (
    Particular,
    alternating,
    gemma,
    google,
    mistral,
    openai,
    openai_values,
    vllm,
)

KEY = "sk-secret-Key123"
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi"}
MESSAGES: list[dict[str, Any]] = [SYSTEM, USER]
PARAMS = {"temperature": 0.2, "max_tokens": 50, "seed": 7}
HI = text("Hi")


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def model(scripted: ScriptedUpstream) -> AsyncIterator[Upstream]:
    async with Upstream(scripted.base_url, KEY, idle=2, backoff=0.01) as model:
        yield model


async def streamed(model: Upstream, call: ModelCall) -> Completion:
    return await model.complete(call, lambda _: True)


async def whole(model: Upstream, call: ModelCall) -> Completion:
    return await model.complete(call)


both = pytest.mark.parametrize("run", [whole, streamed])


def asked(*insisted: str, messages: list[dict[str, Any]] = MESSAGES, **params: Any) -> ModelCall:
    return ModelCall("m", messages, params, timeout=10, insisted=frozenset(insisted))


def params(scripted: ScriptedUpstream, at: int = -1) -> dict[str, Any]:
    """What was sent beside the messages."""
    body = scripted.calls[at].body
    left_out = ("model", "messages", "stream")
    return {name: value for name, value in body.items() if name not in left_out}


PROVIDERS: dict[str, Callable[..., Particular]] = {
    "OpenAI": openai,
    "vLLM": vllm,
    "Mistral": mistral,
    "Google": google,
}


@both
@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
async def test_what_an_agents_document_asks_for_is_dropped_where_it_is_refused(
    scripted: ScriptedUpstream, model: Upstream, run: Any, provider: Callable[..., Particular]
) -> None:
    scripted.always("*", provider(HI, refused=("seed",)))
    for _ in range(2):
        assert (await run(model, asked(**PARAMS))).text == "Hi"
    kept = {"temperature": 0.2, "max_tokens": 50}
    assert {name: params(scripted).get(name) for name in PARAMS} == {**kept, "seed": None}
    assert len(scripted.calls) == 3, "it is remembered"


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
async def test_stream_options_are_dropped_and_usage_is_estimated(
    scripted: ScriptedUpstream, model: Upstream, provider: Callable[..., Particular]
) -> None:
    scripted.always("*", provider(text("12345678"), refused=("stream_options",)))
    for _ in range(2):
        assert (await streamed(model, asked())).usage.completion_tokens == 2
    assert params(scripted) == {}
    assert len(scripted.calls) == 3


@both
@pytest.mark.parametrize(
    ("refused", "taken"),
    [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")],
)
@pytest.mark.parametrize("insisted", [False, True], ids=["the document's", "the client's"])
async def test_the_bound_of_tokens_goes_by_the_name_that_is_known(
    scripted: ScriptedUpstream, model: Upstream, run: Any, refused: str, taken: str, insisted: bool
) -> None:
    scripted.always("*", openai(HI, refused=(refused,)))
    for _ in range(2):
        await run(model, asked(*[refused] * insisted, **{refused: 50}))
    sent = params(scripted)
    assert (sent.get(taken), refused in sent) == (50, False)
    assert len(scripted.calls) == 3


async def test_a_bound_that_is_known_by_no_name_is_dropped(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    scripted.always("*", mistral(HI, refused=("max_tokens", "max_completion_tokens")))
    await whole(model, asked(max_tokens=50))
    assert params(scripted) == {}
    assert len(scripted.calls) == 3


async def test_several_refusals_are_followed_one_after_the_other(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    scripted.always("*", mistral(HI, refused=("seed", "top_k", "stream_options")))
    await streamed(model, asked(seed=7, top_k=5, temperature=1))
    assert params(scripted) == {"temperature": 1}
    assert len(scripted.calls) == 2, "Mistral names all at once"
    scripted.always("*", openai(HI, refused=("temperature", "stream_options", "max_tokens")))
    await streamed(model, ModelCall("n", MESSAGES, {"temperature": 1, "max_tokens": 5}))
    assert params(scripted) == {"max_completion_tokens": 5}


async def test_a_value_that_is_refused_is_dropped_and_others_are_not(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    """Else one agency's strange number would take the parameter from all."""
    scripted.always("*", openai_values(HI, temperature=1))
    for temperature in (0.2, 0.2, 1):
        await whole(model, asked(temperature=temperature))
    assert [params(scripted, at) for at in range(4)] == [
        {"temperature": 0.2},
        {},
        {},
        {"temperature": 1},
    ]


@both
async def test_what_the_client_sent_is_refused_in_the_upstreams_words(
    scripted: ScriptedUpstream, model: Upstream, run: Any
) -> None:
    scripted.always("*", openai(HI, refused=("logit_bias",)))
    call = asked("logit_bias", logit_bias={"1": 5}, temperature=1)
    with pytest.raises(UpstreamError) as caught:
        await run(model, call)
    error = caught.value
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", "logit_bias")
    assert error.type == "invalid_request_error"
    assert error.message == (
        "Unsupported parameter: 'logit_bias' is not supported with this model."
    )
    assert error.retryable is False
    assert len(scripted.calls) == 1


@both
async def test_a_value_of_the_clients_is_refused_too(
    scripted: ScriptedUpstream, model: Upstream, run: Any
) -> None:
    scripted.always("*", openai_values(HI, temperature=1))
    with pytest.raises(UpstreamError) as caught:
        await run(model, asked("temperature", temperature=0.2))
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "temperature")
    assert "Only the default (1) value is supported." in caught.value.message


async def test_what_is_dropped_for_a_document_is_still_sent_for_a_client(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    scripted.always("*", mistral(HI, refused=("seed",)))
    await whole(model, asked(seed=7))
    with pytest.raises(UpstreamError) as caught:
        await whole(model, asked("seed", seed=7))
    assert (caught.value.status, caught.value.param) == (400, "seed")


async def test_no_error_repeats_the_gateways_key(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    error = {"message": f"seed: no, {KEY}", "param": "seed", "code": KEY}
    scripted.script("*", status(400, body={"error": error}))
    with pytest.raises(UpstreamError) as caught:
        await whole(model, asked("seed", seed=7))
    assert KEY not in f"{caught.value.message} {caught.value.code}"
    assert caught.value.param == "seed"


# The roles


@both
@pytest.mark.parametrize("provider", [alternating, gemma])
async def test_where_there_is_no_system_role_it_goes_into_the_first_message_of_the_user(
    scripted: ScriptedUpstream, model: Upstream, run: Any, provider: Any
) -> None:
    scripted.always("*", provider(HI))
    for _ in range(2):
        await run(model, asked())
    assert scripted.calls[-1].messages == [{"role": "user", "content": "Be brief.\n\nHi"}]
    assert len(scripted.calls) == 3


async def test_it_stands_before_parts_as_a_part(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    scripted.always("*", gemma(HI))
    await whole(model, asked(messages=[SYSTEM, {"role": "user", "content": [image]}]))
    (message,) = scripted.calls[-1].messages
    assert message["content"] == [{"type": "text", "text": "Be brief."}, image]


@pytest.mark.parametrize("system", [[], [SYSTEM]], ids=["alone", "with a system message"])
async def test_a_history_that_begins_with_the_assistant_is_given_a_beginning(
    scripted: ScriptedUpstream, model: Upstream, system: list[dict[str, Any]]
) -> None:
    scripted.always("*", alternating(HI))
    history = [{"role": "assistant", "content": "Welcome"}, USER]
    await whole(model, asked(messages=[*system, *history]))
    first, *rest = scripted.calls[-1].messages
    assert first["role"] == "user"
    assert ("Be brief." in first["content"]) == bool(system)
    assert rest == history


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (500, "Conversation roles must alternate user/assistant/user/assistant/... at row 1"),
        (400, "After the system message(s), user messages should alternate with assistant ones"),
        (400, "Please ensure that multiturn requests alternate between user and model"),
        (400, 'messages: first message must use the "user" role'),
        (400, "A conversation must start with a user message."),
    ],
)
async def test_roles_are_refused_in_many_words(
    scripted: ScriptedUpstream, model: Upstream, code: int, told: str
) -> None:
    scripted.script("*", status(code, body={"error": {"message": told, "code": code}}), HI)
    await whole(model, asked())
    assert [message["role"] for message in scripted.calls[-1].messages] == ["user"]


async def test_roles_that_nothing_mends_are_an_error(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    scripted.script("*", alternating(HI))
    call = asked(messages=[USER, USER])
    with pytest.raises(UpstreamError) as caught:
        await whole(model, call)
    assert (caught.value.status, caught.value.code) == (502, "upstream_rejected")


# What is known for good


TOO_LONG = [
    {"error": {"message": "x", "code": "context_length_exceeded", "param": "messages"}},
    {
        "object": "error",
        "message": "This model's maximum context length is 10 tokens.",
        "code": 400,
    },
    {"error": {"message": "the request exceeds the available context size", "code": 400}},
    {"error": {"message": "x", "type": "exceed_context_size_error", "code": 400}},
    {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}},
    {"message": "Prompt contains 9 tokens, too large for model with 8 maximum context length"},
    [{"error": {"message": "The input token count (9) exceeds the maximum number allowed (8)."}}],
    {"message": "The decoder prompt (length 9) is longer than the maximum model length of 8."},
    {"error": "The input (9 tokens) is longer than the model's context length (8 tokens)."},
    {"error": "Try to load the model with a larger context length, or provide a shorter input"},
    {"error": "This model's maximum prompt length is 8 but the request contains 9 tokens."},
    {"message": "too many tokens: total number of tokens in the prompt cannot exceed 8"},
    {"error": {"message": "Invalid request: Your request exceeded model token limit: 8"}},
    {"error": "`inputs` tokens + `max_new_tokens` must be <= 8. Given: 7 tokens and 2"},
    {
        "error": {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {"raw": '{"message": "prompt is too long: 9 tokens > 8 maximum"}'},
        }
    },
]


@both
@pytest.mark.parametrize("body", TOO_LONG, ids=range(len(TOO_LONG)))
async def test_too_long_a_conversation_is_the_clients_to_mend(
    scripted: ScriptedUpstream, model: Upstream, run: Any, body: Any
) -> None:
    scripted.script("*", status(400, body=body))
    with pytest.raises(UpstreamError) as caught:
        await run(model, ModelCall("m", MESSAGES, {"seed": 7}, allowed=(0, 1)))
    error = caught.value
    assert (error.status, error.code) == (400, "context_length_exceeded")
    assert (error.param, error.retryable) == ("messages", False)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "content_filter", "message": "x", "param": "prompt"},
        {"code": "400", "message": "… due to Azure OpenAI's content management policy."},
        {"code": "invalid_request_error", "message": "Content Exists Risk"},
        {"code": "data_inspection_failed", "message": "Input may contain inappropriate content."},
    ],
)
async def test_what_a_filter_refuses_is_the_clients_to_mend(
    scripted: ScriptedUpstream, model: Upstream, error: Any
) -> None:
    scripted.script("*", status(400, body={"error": error}))
    with pytest.raises(UpstreamError) as caught:
        await whole(model, ModelCall("m", MESSAGES, allowed=(0, 1)))
    assert (caught.value.status, caught.value.code) == (400, "content_filter")


async def test_a_filters_refusal_may_come_with_403(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    told = 'x/y requires moderation on OpenRouter. Your input was flagged for "violence".'
    scripted.script("*", status(403, body={"error": {"code": 403, "message": told}}))
    with pytest.raises(UpstreamError) as caught:
        await whole(model, asked())
    assert (caught.value.status, caught.value.code) == (400, "content_filter")


async def test_a_bound_that_is_too_large_is_dropped_though_the_context_is_named(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    told = (
        "'max_tokens' or 'max_completion_tokens' is too large: 9999. This model's maximum context "
        "length is 4096 tokens and your request has 100 input tokens."
    )
    refusal = status(400, body={"object": "error", "message": told, "code": 400})
    scripted.script("*", refusal, HI)
    await whole(model, asked(max_tokens=9999))
    assert params(scripted) == {}


# What is remembered


async def test_it_is_remembered_for_each_model_and_logged_once(
    scripted: ScriptedUpstream, model: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.always("*", openai(say(0, "Hi"), refused=("max_tokens", "seed", "response_format")))
    with caplog.at_level("WARNING", logger="gateway.agency.models"):
        for name in ("one", "one", "two"):
            await whole(model, ModelCall(name, MESSAGES, PARAMS, allowed=(0,)))
    told = [(record.__dict__["model"], record.__dict__["renamed"]) for record in caplog.records]
    renamed = {"max_tokens": "max_completion_tokens"}
    assert told == [("one", renamed), ("two", renamed)]
    first = caplog.records[0].__dict__
    assert (first["dropped"], first["response_format"]) == (["seed"], "prompt")


async def test_a_name_that_is_outdated_is_given_up(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    call = asked("max_tokens", max_tokens=50)
    scripted.script("*", openai(HI), HI)
    await whole(model, call)
    assert params(scripted) == {"max_completion_tokens": 50}
    scripted.always("*", openai(HI, refused=("max_completion_tokens",)))
    for calls in (4, 5):  # the first is asked twice, the next once
        await whole(model, call)
        assert params(scripted) == {"max_tokens": 50}
        assert len(scripted.calls) == calls


async def test_what_did_not_help_is_not_remembered(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    refusal = status(400, body={"error": {"message": "No 'seed'.", "param": "seed"}})
    scripted.script("*", refusal, status(404), HI)
    with pytest.raises(UpstreamError):
        await whole(model, asked(seed=7))
    await whole(model, asked(seed=7))
    assert params(scripted) == {"seed": 7}


def test_memory_is_bounded() -> None:
    memory = Memory()
    for number in range(MAX_MODELS + 5):
        memory[f"model {number}"]
    assert len(memory) == MAX_MODELS
    assert memory["model 6"] is memory["model 6"]


async def test_the_values_that_are_remembered_are_bounded(
    scripted: ScriptedUpstream, model: Upstream
) -> None:
    scripted.always("*", openai_values(HI, seed=0))
    for seed in range(1, MAX_DROPPED + 5):
        await whole(model, asked(seed=seed))
    assert len(model.habits["m"].adaptation.dropped) == MAX_DROPPED


# How refusals are read


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"\xff", b"[1, 2]", b'{"error": 5}', b'{"error": []}', b"[" * 100_000],
    ids=repr,
)
def test_a_body_that_says_nothing_names_nothing(body: bytes) -> None:
    refusal = read(body)
    assert (refusal.final, refusal.names({"seed"})) == (False, frozenset())


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no", "param": "response_format.json_schema.strict"}},
        {"error": {"message": "Invalid parameter: 'response_format' of type 'json_schema'"}},
        {"error": "response_format is not supported, but temperatures are"},
        {"detail": [{"loc": ["body", "response_format", "type"], "msg": "no", "input": "seed"}]},
        {"detail": "`response_format`: extra fields not permitted"},
        {"message": "response_format.json_schema: Extra inputs are not permitted"},
        {"error": "Argument not supported on this model: responseFormat"},
        {
            "error": {
                "message": "Provider returned error",
                "metadata": {"raw": '{"error": {"message": "no", "param": "response_format"}}'},
            }
        },
    ],
    ids=json.dumps,
)
def test_a_parameter_is_found_wherever_it_is_named(body: Any) -> None:
    refusal = read(json.dumps(body).encode())
    assert refusal.names({"temperature", "response_format", "seed"}) == {"response_format"}


def test_habits_are_learned_again_after_an_hour() -> None:
    now = 0.0
    memory = Memory(lambda: now)
    memory["m"].odd.add("usage")
    now = KEPT_S - 1
    assert memory["m"].odd
    now = KEPT_S
    assert not memory["m"].odd
    memory["m"].odd.add("usage")
    now += KEPT_S - 1
    assert memory["m"].odd
