"""Whoever goes on from an earlier point of a conversation gets a copy of it up to there."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from openai import APIStatusError

from gateway import ids
from gateway.postgres.database import Database, Row
from tests.chat.clients import Chat, letters, named, public
from tests.integrity import check
from tests.running import Gateway
from tests.scripted import Call, Reply, ScriptedUpstream, say, status
from tests.team import Team, make_team


def uuid(chat: Chat) -> UUID:
    return ids.read(ids.CONVERSATION, chat.conversation)


async def conversation(database: Database, chat: Chat) -> Row:
    row = await database.fetchrow("SELECT * FROM conversation WHERE id = $1", uuid(chat))
    assert row is not None
    return row


def consulting(upstream: ScriptedUpstream, team: Team) -> None:
    """The manager passes each question on to the programmer, then repeats what that one says."""

    def manage(call: Call) -> Reply:
        party, text = call.inbound[-1]
        return say(0, text) if party else say(team["programmer"], f"Q:{text}")

    def program(call: Call) -> Reply:
        return say(team["manager"], f"A:{call.inbound[-1][1]}")

    upstream.always("manager", manage)
    upstream.always("programmer", program)


def asked(call: Call) -> list[str]:
    """What a programmer had been asked."""
    return [text for role, _, text in letters(call) if role == "user"]


async def test_an_edited_message_forks_and_no_agent_sees_the_other_branch(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "programmer")
    consulting(upstream, team)
    ann = Chat(gateway, team)
    for question in ("one", "two", "three"):
        await ann.say(question)
    edited = ann.branch(2)
    await edited.say("TWO")
    assert edited.conversation != ann.conversation
    assert asked(upstream.calls_of("programmer")[-1]) == ["Q:one", "Q:TWO"]
    for call in upstream.calls[-3:]:
        assert "two" not in str(call.body)
        assert "three" not in str(call.body)
    await ann.say("four")
    assert asked(upstream.calls_of("programmer")[-1]) == ["Q:one", "Q:two", "Q:three", "Q:four"]
    assert "TWO" not in str(upstream.calls[-1].body)
    copy, source = await conversation(database, edited), await conversation(database, ann)
    assert copy["parent_id"] == source["id"] == copy["root_id"] == source["root_id"]
    assert source["parent_id"] is None
    turn = await database.fetchrow("SELECT * FROM turn WHERE id = $1", copy["forked_at_turn"])
    assert turn is not None
    assert (turn["conversation_id"], turn["seq"]) == (source["id"], 2)
    await check(database)


async def test_a_regenerated_answer_forks_and_both_branches_go_on(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway, "programmer")
    consulting(upstream, team)
    ann = Chat(gateway, team)
    await ann.say("one")
    again = ann.branch()
    await ann.say("two")
    await again.say("two")
    assert again.conversation != ann.conversation
    assert [text for _, text in public(upstream.calls[-1])] == ["one", "A:Q:one", "two"]
    both = ann.conversation, again.conversation
    await again.say("three")
    # Their histories are the same, so the second of them can't be told from an edit of the first.
    assert again.conversation in both
    await ann.say("THREE")
    assert asked(upstream.calls_of("programmer")[-1]) == ["Q:one", "Q:two", "Q:THREE"]


async def test_a_fork_of_a_fork_has_what_both_had(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "programmer")
    consulting(upstream, team)
    ann = Chat(gateway, team)
    for question in ("one", "two"):
        await ann.say(question)
    second = ann.branch(2)
    for question in ("2b", "3b", "4b"):
        await second.say(question)
    third = second.branch(4)
    await third.say("3c")
    assert asked(upstream.calls_of("programmer")[-1]) == ["Q:one", "Q:2b", "Q:3c"]
    fourth = third.branch(2)
    await fourth.say("2d")
    assert asked(upstream.calls_of("programmer")[-1]) == ["Q:one", "Q:2d"]
    for chat, question in ((ann, "end a"), (second, "end b"), (third, "end c")):
        before = chat.conversation
        await chat.say(question)
        assert chat.conversation == before
    assert asked(upstream.calls_of("programmer")[-2]) == [
        *("Q:one", "Q:2b", "Q:3b", "Q:4b", "Q:end b")
    ]
    rows = [await conversation(database, chat) for chat in (ann, second, third, fourth)]
    assert {row["root_id"] for row in rows} == {rows[0]["id"]}
    assert rows[2]["parent_id"] == rows[1]["id"]
    await check(database)


async def test_a_copy_leads_nowhere_but_into_itself(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "programmer")
    consulting(upstream, team)
    ann = Chat(gateway, team, history=[{"role": "system", "content": "S"}])
    await ann.say("one")
    await ann.say("two")
    edited = ann.branch(3)
    await edited.say("TWO")
    copy = uuid(edited)
    strays = """
        SELECT count(*) FROM {table} a LEFT JOIN {other} b ON b.id = a.{column}
        WHERE a.conversation_id = $1 AND a.{column} IS NOT NULL
          AND b.conversation_id IS DISTINCT FROM $1"""
    for table, column, other in (
        ("turn", "input_interaction_id", "interaction"),
        ("turn", "reply_interaction_id", "interaction"),
        ("turn", "system_message_id", "message"),
        ("message", "turn_id", "turn"),
        ("message", "interaction_id", "interaction"),
        ("message", "linked_message_id", "message"),
    ):
        row = await database.fetchrow(strays.format(table=table, column=column, other=other), copy)
        assert row is not None
        assert row[0] == 0, (table, column)
    said = await database.fetch(
        "SELECT content FROM interaction WHERE conversation_id = $1 ORDER BY ordinal", copy
    )
    assert [row[0] for row in said] == ["one", "A:Q:one", "TWO", "A:Q:TWO"]
    twins = await database.fetch(
        """SELECT a.id FROM message a JOIN message b ON b.id = a.linked_message_id
           WHERE a.conversation_id = $1 AND b.linked_message_id = a.id""",
        copy,
    )
    assert len(twins) == 8
    row = await conversation(database, edited)
    assert (row["length"], row["owner_identifier"]) == (4, "root")
    # Ids in a copy are UUIDv7s of the same moment, so that lists by id stay in order.
    turns = await database.fetch(
        "SELECT id FROM turn WHERE conversation_id = $1 ORDER BY seq", copy
    )
    assert sorted(row["id"] for row in turns) == [row["id"] for row in turns]
    assert {row["id"].version for row in turns} == {7}


async def test_what_failed_before_the_fork_does_not_go_along(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "programmer")
    ann = Chat(gateway, team)
    consulting(upstream, team)
    await ann.say("one")
    failing = ann.branch()
    failing.history += [
        {"role": "user", "content": "Lost import"},
        {"role": "assistant", "content": "Lost answer"},
        {"role": "user", "content": "Lost first"},
    ]
    upstream.script("manager", say(team["programmer"], "Lost talk"), status(418))
    with pytest.raises(APIStatusError):
        await failing.say("Lost second")
    await ann.say("two")
    await ann.say("three")
    edited = ann.branch(4)
    await edited.say("THREE")
    assert asked(upstream.calls_of("programmer")[-1]) == ["Q:one", "Q:two", "Q:THREE"]
    rows = await database.fetch(
        """SELECT content AS text FROM interaction WHERE conversation_id = $1
           UNION ALL SELECT text FROM message WHERE conversation_id = $1""",
        uuid(edited),
    )
    assert not [row["text"] for row in rows if "Lost" in (row["text"] or "")]
    await check(database)


async def test_what_was_imported_goes_along(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "programmer")
    consulting(upstream, team)
    ann = Chat(gateway, team)
    ann.history = [
        {"role": "user", "content": "elsewhere"},
        {"role": "assistant", "content": "said"},
    ]
    await ann.say("one")
    await ann.say("two")
    edited = ann.branch(4)
    await edited.say("TWO")
    assert edited.conversation != ann.conversation
    assert [text for _, text in public(upstream.calls[-1])] == [
        *("elsewhere", "said", "one", "A:Q:one", "TWO")
    ]
    await check(database)


async def test_a_fork_whose_first_turn_failed_is_gone_on_with(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await make_team(gateway)
    ann = Chat(gateway, team)
    upstream.script("manager", say(0, "A1"), say(0, "A2"), status(418), say(0, "A2 again"))
    await ann.say("one")
    edited = ann.branch()
    await ann.say("two")
    with pytest.raises(APIStatusError) as failure:
        await edited.branch().say("TWO")
    await edited.say("TWO")
    assert edited.conversation == failure.value.response.headers["x-conversation-id"]
    assert [text for _, text in public(upstream.calls[-1])] == ["one", "A1", "TWO"]


async def test_of_many_requests_with_one_history_exactly_one_continues(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway, "programmer")
    consulting(upstream, team)
    ann = Chat(gateway, team)
    await ann.say("one")
    others = [ann.branch() for _ in range(12)]
    calls = len(upstream.calls)
    await asyncio.gather(*(other.say(f"word{n}") for n, other in enumerate(others)))
    ways = [other.conversation for other in others]
    assert len(set(ways)) == 12
    assert ways.count(ann.conversation) == 1
    for call in upstream.calls[calls:]:
        assert str(call.body).count("word") in (1, 2, 3)
        assert len({text for _, _, text in letters(call) if text.startswith("word")}) <= 1
    for call in upstream.calls_of("programmer")[1:]:
        assert len(asked(call)) == 2
    before = list(ways)
    await asyncio.gather(*(other.say("end") for other in others))
    assert [other.conversation for other in others] == before
    await check(database)


async def test_a_conversation_that_was_named_is_found_by_its_history_later(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    ann = Chat(gateway, await make_team(gateway))
    upstream.script("manager", *(say(0, f"A{n}") for n in (1, 2, 3)))
    await ann.say("one")
    first = ann.conversation
    await ann.say("two", **named(first))
    await ann.say("three")
    assert ann.conversation == first
