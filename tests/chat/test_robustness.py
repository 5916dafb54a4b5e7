"""Models, upstreams and agents that misbehave: it all ends in an answer or in a clear error, within
the limits, and what was said is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import openai
import pytest

from gateway.agency.turn.rules import ANSWER_NOW, RETURNS
from gateway.postgres.database import Database
from gateway.process import telemetry
from tests.chat.asking import (
    ask,
    replies,
    steps,
    stream,
    system,
    talk,
    text,
    turns,
    user,
    words,
)
from tests.running import Gateway
from tests.scripted import (
    ScriptedUpstream,
    Step,
    endless_line,
    envelope,
    error_in_stream,
    garbage,
    html,
    redirect,
    reset,
    say,
    say_many,
    silence,
    status,
    truncated,
)
from tests.scripted import text as prose
from tests.scripted.exchange import Call
from tests.team import Team, make_team

SECRET = "xyzzy"  # part of every text that is said here


class Kept(logging.Handler):
    """Every line that the gateway logs, as it would be printed."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(telemetry.JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


OURS = ("gateway", "asyncio", "litestar", "piccolo", "asyncpg", "aiohttp", "_granian", "granian")


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[str]]:
    """Whatever happens in these tests, no word of it and no key is logged."""
    kept = Kept()
    before = {name: logging.getLogger(name).level for name in OURS}
    for name in OURS:
        logging.getLogger(name).addHandler(kept)
        logging.getLogger(name).setLevel(logging.DEBUG if name == "gateway" else logging.INFO)
    try:
        yield kept.lines
    finally:
        for name, level in before.items():
            logging.getLogger(name).removeHandler(kept)
            logging.getLogger(name).setLevel(level)
    told = "\n".join(kept.lines)
    for secret in (SECRET, "agw_root_test", "upstream-key", "You are #"):
        assert secret not in told


HI = [system(f"Rules of {SECRET}."), user(f"Hi {SECRET}")]


async def studio(gateway: Gateway, **limits: Any) -> Team:
    document = {"settings": {"limits": limits}} if limits else {}
    return await make_team(gateway, "programmer", "tester", **document)


async def fails(
    gateway: Gateway, team: Team, *, streamed: bool = False, **options: Any
) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as failure:
        await (stream if streamed else ask)(gateway, team, HI, **options)
    error = failure.value
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    assert SECRET not in str(error.body)
    return error


# Upstreams


@dataclass(frozen=True)
class Fault:
    """What the upstream does, how often it is tried as a whole answer and as a stream (never again
    once something was heard), and what the client is told."""

    step: Step
    tries: tuple[int, int]
    status: int
    code: str


FAULTS = {
    "truncated": Fault(truncated(SECRET), (3, 1), 502, "upstream_truncated"),
    "cut": Fault(truncated(SECRET, cut=True), (3, 1), 502, "upstream_truncated"),
    "done too soon": Fault(truncated(SECRET, done=True), (3, 1), 502, "upstream_truncated"),
    "garbage": Fault(garbage(), (1, 1), 502, "upstream_invalid"),
    "error": Fault(error_in_stream(message=SECRET), (1, 1), 502, "upstream_error"),
    "html": Fault(html(), (1, 1), 502, "upstream_bad_content_type"),
    "redirect": Fault(redirect("http://127.0.0.1:1/"), (1, 1), 502, "upstream_redirect"),
    "400": Fault(status(400, body={"error": SECRET}), (3, 3), 502, "upstream_rejected"),
    "401": Fault(status(401, body={"error": SECRET}), (1, 1), 502, "upstream_refused"),
    "404": Fault(status(404), (1, 1), 502, "upstream_rejected"),
    "429": Fault(status(429, headers={"retry-after": "25"}), (1, 1), 429, "upstream_rate_limited"),
    "500": Fault(status(500), (3, 3), 503, "upstream_unavailable"),
    "503": Fault(status(503, headers={"retry-after": "99"}), (1, 1), 503, "upstream_unavailable"),
    "reset": Fault(reset(), (3, 3), 503, "upstream_unavailable"),
    "endless line": Fault(endless_line(), (1, 1), 502, "upstream_too_large"),
}
EACH_FAULT = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@EACH_FAULT
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fault_of_the_managers_upstream_is_a_clear_error(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    database: Database,
    fault: Fault,
    streamed: bool,
) -> None:
    team = await studio(gateway)
    said = f"Inner {SECRET}"
    upstream.script("manager", say(team["programmer"], said), *[fault.step] * fault.tries[streamed])
    upstream.script("programmer", say(team["manager"], said))
    error = await fails(gateway, team, streamed=streamed)
    assert (error.status_code, error.code) == (fault.status, fault.code)
    assert await turns(database) == [("failed", fault.code)]
    assert [row[2] for row in await steps(database)] == [None, None, fault.code]
    assert (await talk(database, team["programmer"]))[-1][3] == said


@EACH_FAULT
async def test_a_fault_of_another_agents_upstream_is_told_to_who_asked_and_the_manager_answers(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database, fault: Fault
) -> None:
    team = await studio(gateway)
    upstream.script(
        "manager", say(team["programmer"], f"Code {SECRET}?"), say(0, f"Without {SECRET}.")
    )
    upstream.script("programmer", *[fault.step] * fault.tries[False])
    assert text(await ask(gateway, team, HI)) == f"Without {SECRET}."
    sender, note = upstream.calls_of("manager")[1].inbound[-1]
    assert sender == -2
    assert note.startswith(f"#{team['programmer']} (programmer) can't answer: The model upstream")
    assert SECRET not in note
    assert [row[2] for row in await steps(database)] == [None, fault.code, None]
    assert await turns(database) == [("completed", None)]


async def test_a_rate_limit_comes_through_with_its_pause(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", status(429, headers={"retry-after": "25"}))
    error = await fails(gateway, team)
    assert isinstance(error, openai.RateLimitError)
    assert error.response.headers["retry-after"] == "25"


async def test_a_fault_that_passes_is_not_noticed(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway)
    upstream.script("manager", status(500), reset(), say(0, "Here I am."))
    assert text(await ask(gateway, team, HI)) == "Here I am."
    assert len(await steps(database)) == 1


async def test_a_stream_that_is_reset_in_the_middle_keeps_what_was_said(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway)
    upstream.script("manager", reset('{"to": 0, "context": "As I was say'))
    with pytest.raises(openai.APIError):
        await stream(gateway, team, HI)
    assert await replies(database) == ["As I was say"]
    ((_, output, code),) = await steps(database)
    assert (output, code) == ('{"to": 0, "context": "As I was say', "upstream_truncated")


async def test_an_upstream_that_knows_no_schema_is_asked_in_plainer_ways_and_remembered(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", status(400), status(400), say(0, "One."), say(0, "Two."))
    assert text(await ask(gateway, team, "1")) == "One."
    assert text(await ask(gateway, team, "2")) == "Two."
    formats = [call.body.get("response_format", {}).get("type") for call in upstream.calls]
    assert formats == ["json_schema", "json_object", None, None]


# Silence and time


async def test_a_silent_manager_is_asked_once_more_and_then_the_turn_fails_in_time(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway, seconds=1)
    upstream.always("manager", silence())
    began = perf_counter()
    error = await fails(gateway, team)
    assert perf_counter() - began < 15
    assert (error.status_code, error.code) == (504, "upstream_timeout")
    assert len(upstream.calls) == 2
    assert await turns(database) == [("failed", "upstream_timeout")]


async def test_a_silent_colleague_costs_the_turn_its_time_but_not_its_answer(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway, seconds=1)
    upstream.script(
        "manager",
        say_many((team["programmer"], "Code?"), (team["tester"], "Tests?")),
        say(0, "The tester says yes."),
    )
    upstream.script("programmer", silence())
    upstream.script("tester", say(team["manager"], "Yes."))
    assert text(await ask(gateway, team, HI)) == "The tester says yes."
    last = upstream.calls_of("manager")[1]
    assert (team["tester"], "Yes.") in last.inbound
    assert last.inbound[-1][1].startswith(ANSWER_NOW)
    await asyncio.wait_for(upstream.calls_of("programmer")[0].disconnected.wait(), 10)


async def test_a_manager_that_drips_for_ever_is_cut_off_in_time(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway, seconds=1)
    upstream.always("manager", say(team["programmer"], "on and " * 1000, pace=0.05))
    began = perf_counter()
    with pytest.raises(openai.APIStatusError):
        await stream(gateway, team, HI)
    assert perf_counter() - began < 15


# Limits


def told_to_answer_now(call: Call) -> bool:
    schema = call.body["response_format"]["json_schema"]["schema"]
    return (
        call.inbound[-1][0] == -2
        and call.inbound[-1][1].startswith(ANSWER_NOW)
        and schema["properties"]["to"]["enum"] == [0]
    )


async def test_on_the_limit_of_model_calls_the_manager_is_told_to_answer_now(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway, model_calls=6, repeats=100)
    upstream.always(
        "manager",
        lambda call: say(0, "Enough.") if told_to_answer_now(call) else say(team["tester"], "More"),
    )
    upstream.always("tester", say(team["manager"], f"And more {SECRET}"))
    assert text(await ask(gateway, team, HI)) == "Enough."
    assert len(upstream.calls) == 7
    assert "limit of 6 model calls" in upstream.calls[-1].inbound[-1][1]
    assert await turns(database) == [("completed", None)]


async def test_a_manager_that_still_refuses_fails_the_turn(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway, model_calls=4, repeats=100)
    upstream.always("manager", say(team["tester"], f"More {SECRET}"))
    upstream.always("tester", say(team["manager"], f"And more {SECRET}"))
    error = await fails(gateway, team)
    assert (error.status_code, error.code) == (502, "turn_failed")
    assert "limit" in error.message
    assert len(upstream.calls) == 5
    assert told_to_answer_now(upstream.calls[-1])
    assert await turns(database) == [("failed", "turn_failed")]
    assert len(await talk(database, team["tester"])) == 4


async def test_the_limit_of_tokens_holds(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    team = await studio(gateway, tokens=1000)
    upstream.script("manager", say(team["tester"], "?", usage=(900, 100)), say(0, "Enough."))
    assert text(await ask(gateway, team, HI)) == "Enough."
    assert "limit of 1000 tokens" in upstream.calls[-1].inbound[-1][1]


async def test_two_agents_that_thank_each_other_for_ever_are_stopped(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.always(
        "manager",
        lambda call: (
            say(0, "They agree.") if told_to_answer_now(call) else say(team["tester"], "Thanks!")
        ),
    )
    upstream.always("tester", say(team["manager"], "Thank you!"))
    assert text(await ask(gateway, team, HI)) == "They agree."
    assert [call.agent for call in upstream.calls] == [
        "manager",
        "tester",
        "manager",
        "tester",
        "manager",
        "manager",
    ]
    assert "said too often" in upstream.calls[-1].inbound[-1][1]


async def test_two_others_that_thank_each_other_behind_the_managers_back_are_stopped_too(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "Enough of it."))
    upstream.always("programmer", say(team["tester"], "Thanks!"))
    upstream.always("tester", say(team["programmer"], "Thank you!"))
    assert text(await ask(gateway, team, HI)) == "Enough of it."
    assert [said for *_, said in await talk(database, team["tester"])].count("Thanks!") == 2


async def test_agents_that_always_find_new_words_are_stopped_by_the_limit_of_calls(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway, model_calls=8)
    number = iter(range(1000))
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "Enough."))
    upstream.always("programmer", lambda _: say(team["tester"], f"{next(number)}?"))
    upstream.always("tester", lambda _: say(team["programmer"], f"{next(number)}!"))
    assert text(await ask(gateway, team, HI)) == "Enough."
    assert len(upstream.calls) == 9


async def test_an_agency_may_have_no_other_agent_and_a_single_call(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, settings={"limits": {"model_calls": 1}})
    upstream.script("manager", say(7, "Hello?"), say(0, "Hello."))
    assert text(await ask(gateway, team, HI)) == "Hello."


# What is no envelope


async def test_prose_goes_back_three_times_and_is_then_the_managers_answer(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway)
    upstream.script("manager", *[prose(f"Hello, {SECRET}!")] * (RETURNS + 1))
    assert text(await ask(gateway, team, HI)) == f"Hello, {SECRET}!"
    notes = [said for sender, said in upstream.calls[-1].inbound if sender == -2]
    assert len(notes) == RETURNS
    assert all("was not delivered" in note for note in notes)
    # The turn records what each of them was.
    assert [row[1] for row in await steps(database)] == [f"Hello, {SECRET}!"] * (RETURNS + 1)


async def test_prose_that_is_streamed_comes_as_a_whole_once_it_is_taken(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", *[prose("Hello, you!", chunk=2)] * (RETURNS + 1))
    assert words(await stream(gateway, team, HI)) == "Hello, you!"


async def test_what_was_thought_is_no_part_of_the_prose(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", *[prose("<think>Hm.</think>\n\nHello!")] * (RETURNS + 1))
    assert text(await ask(gateway, team, HI)) == "Hello!"


async def test_a_broken_envelope_is_never_shown_to_the_end_user(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.always("manager", prose(f'{{"to": "the programmer", "context": "Inner {SECRET}"}}'))
    error = await fails(gateway, team)
    assert error.code == "turn_failed"
    assert len(upstream.calls) == RETURNS + 2


async def test_the_prose_of_another_agent_is_given_to_who_asked(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "Done."))
    upstream.script("programmer", *[prose("print('hi')")] * (RETURNS + 1))
    assert text(await ask(gateway, team, HI)) == "Done."
    assert upstream.calls_of("manager")[1].inbound[-1] == (team["programmer"], "print('hi')")


async def test_an_unknown_address_and_oneself_go_back_with_the_known_ones(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway)
    upstream.script(
        "manager", say(987654, f"Hello {SECRET}?"), say(team["manager"], "Me?"), say(0, "Done.")
    )
    assert text(await ask(gateway, team, HI)) == "Done."
    known = f"0, {team['programmer']}, {team['tester']}"
    assert upstream.calls[-1].inbound[1:] == [
        (-2, f"Your message to 987654 was not delivered. You can write to: {known}."),
        (-2, f"Your message to {team['manager']} was not delivered. You can write to: {known}."),
    ]
    # It reached nobody, but it was said.
    assert [row[1] for row in await steps(database)] == [
        envelope(987654, f"Hello {SECRET}?"),
        envelope(team["manager"], "Me?"),
        None,
    ]


async def test_a_library_that_is_not_there_yet_is_unknown_like_anyone(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(-1, "Search"), say(-2, "Note"), say(0, "Done."))
    assert text(await ask(gateway, team, HI)) == "Done."


async def test_several_envelopes_to_one_agent_do_not_block_it(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    programmer = team["programmer"]
    upstream.script(
        "manager",
        say_many((programmer, "One?"), (programmer, "Two?"), (programmer, "Two?")),
        say(0, "Done."),
    )
    upstream.script("programmer", say(team["manager"], "Both."))
    assert text(await ask(gateway, team, HI)) == "Done."
    assert upstream.calls_of("programmer")[0].inbound == [
        (team["manager"], "One?"),
        (team["manager"], "Two?"),
    ]


async def test_who_asks_in_a_circle_gets_out_of_it(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    programmer, tester = team["programmer"], team["tester"]
    upstream.script(
        "manager", say_many((programmer, "Code?"), (tester, "Tests?")), say(0, "A circle.")
    )
    upstream.script("programmer", say(tester, "You first."), say(team["manager"], "Coded."))
    upstream.script("tester", say(programmer, "No, you."), say(team["manager"], "Tested."))
    assert text(await ask(gateway, team, HI)) == "A circle."


# Answers of odd sizes


NULL = prose('{"to": 0, "context": null}')


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("empty", [say(0, ""), NULL], ids=["empty", "null"])
@pytest.mark.parametrize("then", ["Hello.", ""])
async def test_an_empty_answer_is_sent_back_once(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool, empty: Step, then: str
) -> None:
    team = await studio(gateway)
    upstream.script("manager", empty, say(0, then))
    if streamed:
        assert words(await stream(gateway, team, HI)) == then
    else:
        assert text(await ask(gateway, team, HI)) == then
    assert upstream.calls[1].inbound[-1][0] == -2


async def test_a_model_that_says_nothing_at_all_ends_in_a_clear_error(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.always("manager", prose(""))
    error = await fails(gateway, team)
    assert "no answer" in error.message


async def test_an_agent_that_says_nothing_does_not_hold_up_the_others(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["tester"], "Tests?"), say(0, "No tests."))
    upstream.always("tester", prose(""))
    assert text(await ask(gateway, team, HI)) == "No tests."
    assert upstream.calls_of("manager")[1].inbound[-1] == (team["tester"], "(no answer)")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_huge_answer_comes_whole(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    database: Database,
    streamed: bool,
) -> None:
    team = await studio(gateway)
    huge = 'word "quoted" \n' * 200_000
    upstream.script("manager", say(0, huge, chunk=500))
    if streamed:
        assert words(await stream(gateway, team, HI)) == huge
    else:
        assert text(await ask(gateway, team, HI)) == huge
    assert await replies(database) == [huge]


async def test_a_huge_answer_between_agents_comes_whole(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    huge = "word " * 100_000
    upstream.script("manager", say(team["tester"], huge), say(0, "Long."))
    upstream.script("tester", say(team["manager"], huge))
    assert text(await ask(gateway, team, HI)) == "Long."
    assert upstream.calls_of("manager")[1].inbound[-1] == (team["tester"], huge)


@pytest.mark.parametrize(
    "junk",
    [
        "[" * 3000 + '{"to": 0, "context": "Found."}',
        '{"a": ' * 50 + "1" + "}" * 50 + '{"to": 0, "context": "Found."}',
        '{"to": 0, "context": "Found."}' + "]" * 3000,
        '\x00{"to": 0, "context": "Found."}\x00',
        '{"to": 0, "context": "Found.", "more": ' + "[" * 60 + "]" * 60 + "}",
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_junk_around_an_envelope_does_no_harm(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    junk: str,
    streamed: bool,
) -> None:
    team = await studio(gateway)
    upstream.script("manager", prose(junk, chunk=100))
    if streamed:
        assert words(await stream(gateway, team, HI)) == "Found."
    else:
        assert text(await ask(gateway, team, HI)) == "Found."


async def test_nul_and_half_a_surrogate_pair_are_replaced(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway)
    upstream.script("manager", prose(r'{"to": 0, "context": "a\u0000b\ud800c"}'))
    assert text(await ask(gateway, team, HI)) == "a\ufffdb\ufffdc"
    assert await replies(database) == ["a\ufffdb\ufffdc"]


# The team changes


async def test_an_agent_that_is_deleted_in_the_middle_of_a_turn_still_answers_in_it(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    hold = asyncio.Event()
    upstream.script("manager", say(team["tester"], "Tests?"), say(0, "Tested."))
    upstream.script("tester", say(team["manager"], "Yes.", hold=hold))
    asking = asyncio.create_task(ask(gateway, team, HI))
    await upstream.arrived("tester")
    gone = await gateway.http.delete(f"/api/agencies/{team.id}/agents/{team['tester']}")
    assert gone.status_code == 204, gone.text
    hold.set()
    assert text(await asking) == "Tested."


async def test_a_fault_of_ours_is_logged_without_its_words(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database, logs: list[str]
) -> None:
    team = await studio(gateway)
    hold = asyncio.Event()
    upstream.script("manager", say(0, f"Lost {SECRET}.", hold=hold))
    asking = asyncio.create_task(fails(gateway, team))
    await upstream.arrived("manager")
    await database.execute("ALTER TABLE step RENAME TO mislaid")
    hold.set()
    error = await asking
    await database.execute("ALTER TABLE mislaid RENAME TO step")
    assert error.status_code >= 500
    assert any("UndefinedTable" in line for line in logs)


async def test_a_team_that_failed_is_not_run_again_by_an_sdk(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", *(prose("") for _ in range(5)))
    with pytest.raises(openai.InternalServerError) as failed:
        await gateway.client(team.id, retries=2).chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}]
        )
    assert failed.value.code == "turn_failed"
    assert len(upstream.calls) == 5
