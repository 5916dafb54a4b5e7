"""A manager's thoughts never reach the end user, streamed or not."""

from __future__ import annotations

import openai
import pytest

from tests.agency.test_thoughts import ALL, DRAFT, SAID, SECRET
from tests.chat.asking import ask, stream, text, words
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say
from tests.scripted import text as said
from tests.team import make_team

ANSWER = "It ends with </think>, <think> and <|channel|>."


@pytest.mark.parametrize("streamed", [False, True])
async def test_drafts_in_thoughts_are_not_the_answer(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    team = await make_team(gateway)
    for thought in ALL.values():
        upstream.script("manager", said(thought + SAID))
        if streamed:
            assert words(await stream(gateway, team)) == ANSWER
        else:
            assert text(await ask(gateway, team)) == ANSWER


async def test_thoughts_before_plain_words_are_not_told(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", said(f"<think>{DRAFT}</think> It is four."))
    assert text(await ask(gateway, team)) == "It is four."


async def test_a_colleagues_thoughts_are_not_told_to_the_manager(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "Done."))
    upstream.always("programmer", said(f"<think>{SECRET}</think> Yes."))
    await ask(gateway, team)
    assert upstream.calls_of("manager")[1].inbound[-1] == (team["programmer"], "Yes.")


async def test_a_draft_that_was_streamed_fails_the_turn_rather_than_being_its_answer(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.always("manager", said(f"{DRAFT}</think>{SAID}", pace=0.002))
    with pytest.raises(openai.APIError) as caught:
        await stream(gateway, team)
    assert caught.value.code == "upstream_thoughts"
    assert text(await ask(gateway, team, "Again")) == ANSWER


async def test_an_answer_that_was_cut_within_unmarked_thoughts_is_sent_back(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    upstream.script("manager", said(f"Okay: {DRAFT} or", finish="length"), say(0, "Yes."))
    assert text(await ask(gateway, team)) == "Yes."
