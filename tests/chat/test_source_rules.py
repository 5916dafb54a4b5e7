"""The rules of `message-management.md`. Each test quotes the one that it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gateway.agency.speech.prompt import PROTOCOL
from gateway.postgres.database import Database
from tests.chat.asking import ask, stream, system, talk, text, user, words
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, say_many
from tests.scripted.exchange import Call
from tests.team import Team, make_team


async def studio(gateway: Gateway) -> Team:
    return await make_team(gateway, "programmer", "designer", "tester")


def contents(call: Call) -> str:
    return json.dumps(call.messages)


async def test_a_single_agent_the_manager_handles_all_communications_with_the_end_user(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "From the manager."))
    upstream.script("programmer", say(0, "From the programmer to the end user!"))
    answer = await ask(gateway, team)
    assert text(answer) == "From the manager."
    # What another agent says to the end user goes to the manager.
    assert upstream.calls_of("manager")[1].inbound[-1] == (
        team["programmer"],
        "From the programmer to the end user!",
    )


async def test_when_the_end_user_sends_a_message_the_manager_receives_it(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(0, "Hello."))
    await ask(gateway, team, "Build me a house")
    assert [(call.agent, call.inbound) for call in upstream.calls] == [
        ("manager", [(0, "Build me a house")])
    ]


async def test_besides_the_manager_is_an_agent_just_like_any_other(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "Coded."))
    await ask(gateway, team)
    for name, others in (
        ("manager", ("programmer", "designer", "tester")),
        ("programmer", ("manager", "designer", "tester")),
    ):
        message = upstream.calls_of(name)[0].messages[0]["content"]
        assert message.startswith(f"You are #{team[name]} ({name}).")
        assert PROTOCOL in message
        assert all(f"#{team[other]} ({other})" in message for other in others)


async def test_the_manager_coordinates_the_others_until_there_is_something_to_send_back(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script(
        "manager",
        say(team["designer"], "Draw it"),
        say(team["programmer"], "Code what the designer drew: a box"),
        say(team["designer"], "Do you agree with a square?"),
        say(0, "A square it is."),
    )
    upstream.script("designer", say(team["manager"], "A box"), say(team["manager"], "I agree"))
    upstream.script("programmer", say(team["manager"], "A square is simpler"))
    assert text(await ask(gateway, team)) == "A square it is."
    assert upstream.calls_of("manager")[3].inbound == [
        (0, "Hi"),
        (team["designer"], "A box"),
        (team["programmer"], "A square is simpler"),
        (team["designer"], "I agree"),
    ]


async def test_a_conversation_is_started_with_each_individual_agent(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script(
        "manager",
        say_many((team["programmer"], "Code?"), (team["tester"], "Tests?")),
        say(0, "Done."),
    )
    upstream.script("programmer", say(team["manager"], "Coded."))
    upstream.script("tester", say(team["manager"], "Tested."))
    await ask(gateway, team, "For the manager's ears only")
    (programmer,) = upstream.calls_of("programmer")
    (tester,) = upstream.calls_of("tester")
    assert programmer.inbound == [(team["manager"], "Code?")]
    assert tester.inbound == [(team["manager"], "Tests?")]
    assert "For the manager's ears only" not in contents(programmer) + contents(tester)


async def test_each_agents_conversation_goes_on_in_the_next_turn(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script(
        "manager",
        say(team["programmer"], "First?"),
        say(0, "One."),
        say(team["programmer"], "Second?"),
        say(0, "Two."),
    )
    upstream.script("programmer", say(team["manager"], "1st"), say(team["manager"], "2nd"))
    await ask(gateway, team, "1")
    history = [user("1"), {"role": "assistant", "content": "One."}, user("2")]
    await ask(gateway, team, history)
    second = upstream.calls_of("programmer")[1]
    assert [message["role"] for message in second.messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert second.inbound == [(team["manager"], "First?"), (team["manager"], "Second?")]
    assert json.loads(second.messages[2]["content"]) == {"to": team["manager"], "context": "1st"}


async def test_it_starts_with_a_system_message_with_all_principles_and_instructions_and_the_list(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["tester"], "Tests?"), say(0, "Done."))
    upstream.script("tester", say(team["manager"], "Tested."))
    await ask(gateway, team)
    for call in upstream.calls:
        assert [message["role"] for message in call.messages].count("system") == 1
        first = call.messages[0]
        assert first["role"] == "system"
        assert f"You do the {call.agent}'s work." in first["content"]
        roster = first["content"].split("The others in your team:\n")[1].split("\n")
        assert roster == [
            f"#{agent} ({name})" for name, agent in team.agents.items() if name != call.agent
        ]


async def test_the_response_is_json_with_to_of_type_number_and_context_of_type_string(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["tester"], "Tests?"), say(0, "Done."))
    upstream.script("tester", say(team["manager"], "Tested."))
    await ask(gateway, team)
    for call, allowed in zip(
        upstream.calls,
        (
            [0, team["programmer"], team["designer"], team["tester"]],
            [team["manager"], team["programmer"], team["designer"]],
            [0, team["programmer"], team["designer"], team["tester"]],
        ),
        strict=True,
    ):
        schema = call.body["response_format"]["json_schema"]
        assert schema["strict"] is True
        envelope = schema["schema"]["properties"]["envelopes"]["items"]
        assert list(envelope["properties"]) == ["to", "context"]
        assert envelope["properties"]["to"] == {"type": "integer", "enum": allowed}
        assert envelope["properties"]["context"] == {"type": "string"}


async def test_the_id_designates_who_a_response_is_for_and_the_name_is_not_included(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["designer"], "Draw!"), say(0, "Done."))
    upstream.script("designer", say(team["manager"], "Drawn."))
    await ask(gateway, team)
    heard = upstream.calls_of("designer")[0].messages[1]
    assert json.loads(heard["content"]) == {"from": team["manager"], "context": "Draw!"}
    assert await talk(database, team["designer"]) == [
        ("user", team["manager"], team["designer"], "Draw!"),
        ("assistant", team["designer"], team["manager"], "Drawn."),
    ]


async def test_parallel_envelopes_are_delivered_at_the_same_time_and_all_are_waited_for(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script(
        "manager",
        say_many(*[(team[name], "Ready?") for name in ("programmer", "tester", "designer")]),
        say(0, "All done."),
    )
    upstream.script("programmer", say(team["manager"], "Coded.", delay=0.2))
    upstream.script("tester", say(team["manager"], "Tested."))
    upstream.script("designer", say(team["manager"], "Drawn.", delay=0.1))
    assert text(await ask(gateway, team)) == "All done."
    assert upstream.most_open == 3
    assert sorted(upstream.calls_of("manager")[1].inbound[1:]) == sorted(
        (team[name], said)
        for name, said in (("programmer", "Coded."), ("tester", "Tested."), ("designer", "Drawn."))
    )


async def test_an_agent_may_ask_another_before_it_answers(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "Done."))
    upstream.script(
        "programmer", say(team["tester"], "How do you test it?"), say(team["manager"], "Coded.")
    )
    upstream.script("tester", say(team["programmer"], "By hand."))
    assert text(await ask(gateway, team)) == "Done."
    assert [call.agent for call in upstream.calls] == [
        "manager",
        "programmer",
        "tester",
        "programmer",
        "manager",
    ]
    assert upstream.calls[3].inbound == [
        (team["manager"], "Code?"),
        (team["tester"], "By hand."),
    ]


async def test_every_message_is_stored_with_conversation_agent_role_linked_message_and_data(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway)
    manager, programmer = team["manager"], team["programmer"]
    upstream.script("manager", say(programmer, "Code?"), say(0, "Done."))
    upstream.script("programmer", say(manager, "Coded."))
    await ask(gateway, team, [system("Be kind."), user("Hi")])
    assert await talk(database, manager) == [
        ("system", None, manager, "Be kind."),
        ("user", None, manager, "Hi"),
        ("assistant", manager, programmer, "Code?"),
        ("user", programmer, manager, "Coded."),
        ("assistant", manager, None, "Done."),
    ]
    assert await talk(database, programmer) == [
        ("user", manager, programmer, "Code?"),
        ("assistant", programmer, manager, "Coded."),
    ]
    rows = await database.fetch("SELECT * FROM message")
    assert len({row["conversation_id"] for row in rows}) == 1
    assert all(row["created_at"] is not None for row in rows)
    twins = {row["id"]: row["linked_message_id"] for row in rows if row["linked_message_id"]}
    assert len(twins) == 4
    assert all(twins[twins[one]] == one for one in twins)
    by_id = {row["id"]: row for row in rows}
    for one, other in twins.items():
        assert by_id[one]["agent_id"] != by_id[other]["agent_id"]
        assert [by_id[one][k] for k in ("from_id", "to_id", "text")] == [
            by_id[other][k] for k in ("from_id", "to_id", "text")
        ]


async def test_a_system_message_of_the_client_is_appended_to_the_managers_alone(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "Coded."))
    brief = system("Be brief.", "developer")
    await ask(gateway, team, [system("Answer in rhymes."), user("Hi"), brief])
    for call in upstream.calls_of("manager"):
        assert call.messages[0]["content"].endswith("\n\nAnswer in rhymes.\n\nBe brief.")
        assert [message["role"] for message in call.messages].count("system") == 1
    assert "rhymes" not in contents(upstream.calls_of("programmer")[0])


SECRETS = ("You are #", "You do the", "principle", "The others in your team", "You work in a team")


def strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, member in value.items():
                yield key
                yield from strings(member)
        case list():
            for item in value:
                yield from strings(item)
        case _:
            pass


async def test_the_system_message_that_we_generate_is_private(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["programmer"], "Code?"), say(0, "Done."))
    upstream.script("programmer", say(team["manager"], "Coded."))
    body = {"model": "m", "messages": [system("Mine."), user("Hi")]}
    whole = await gateway.http.post(f"/api/agency/{team.id}/chat/completions", json=body)
    upstream.script("manager", say(0, "Done."))
    streamed = await gateway.http.post(
        f"/api/agency/{team.id}/chat/completions", json={**body, "stream": True}
    )
    upstream.script("manager", *[say(99, "?")] * 5)
    failed = await gateway.http.post(f"/api/agency/{team.id}/chat/completions", json=body)
    assert [r.status_code for r in (whole, streamed, failed)] == [200, 200, 502]
    for response in (whole, streamed, failed):
        seen = response.text + str(response.headers)
        assert not [secret for secret in SECRETS if secret in seen]
    # It is composed for each call and not even stored.
    rows = await database.fetch("SELECT text FROM message WHERE role = 'system'")
    assert {row["text"] for row in rows} == {"Mine."}
    rows = await database.fetch("SELECT to_jsonb(t)::text AS row FROM turn t")
    assert not [secret for secret in SECRETS if secret in "".join(row["row"] for row in rows)]


async def test_the_custom_system_message_is_echoed_where_messages_are_listed(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(0, "Done."))
    raw = await gateway.client(team.id).chat.completions.with_raw_response.create(
        model="m", messages=[system("Mine."), user("Hi")]
    )
    conversation = raw.headers["x-conversation-id"]
    listed = await gateway.http.get(
        f"/api/agency/{team.id}/conversations/{conversation}/messages?agent_id={team['manager']}"
    )
    assert listed.status_code == 200, listed.text
    assert "Mine." in set(strings(listed.json()))
    assert not [secret for secret in SECRETS if secret in listed.text]


async def test_the_system_message_of_a_stream_stays_private_too(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    team = await studio(gateway)
    upstream.script("manager", say(team["programmer"], "Inner question"), say(0, "Outer answer"))
    upstream.script("programmer", say(team["manager"], "Inner answer"))
    chunks = await stream(gateway, team)
    assert words(chunks) == "Outer answer"
    assert "nner" not in "".join(chunk.model_dump_json() for chunk in chunks)
