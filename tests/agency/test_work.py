"""What is known of a turn under way: who has read what, who is asked, what is waited for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.agency.teams.team import AgencySpec, AgentSpec, Limits
from gateway.agency.turn.events import Delivery, Event, Question
from gateway.agency.turn.rules import Work, begin
from gateway.conversation.rooms.participants import Status
from gateway.ids import AgencyId, AgentId
from tests.agency.scene import LIBRARY, MANAGER, PROGRAMMER, TESTER, Scene, scene, team

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def by_hand(played: Scene, sender: int, recipient: int, text: str) -> None:
    """Somebody outside answers in the place of `sender`."""
    played.write(Event(played.version + 1, (Delivery(sender, recipient, text),)))


def manual(*, readers: tuple[int, ...] = ()) -> Scene:
    """A team in which somebody outside answers in the place of all but the manager."""
    played = scene(PROGRAMMER, TESTER, readers=readers)
    played.work.manual = True
    return played


# How it begins


def agent(number: int, name: str, *collections: str) -> AgentSpec:
    return AgentSpec(AgentId(number), name, "", None, collections, {}, None, NOW, NOW)


@pytest.mark.parametrize(("by_hand", "silence"), [(False, False), (True, False), (False, True)])
def test_a_turn_begins_with_the_team_and_its_readers(by_hand: bool, silence: bool) -> None:
    agents = (agent(5, "manager"), agent(7, "librarian", "books"))
    agency = AgencySpec(
        AgencyId(1), "A", "ann", False, AgentId(5), agents, {}, Limits(), 1, NOW, NOW
    )
    limits = Limits(model_calls=3)
    work = begin(agency, limits, manual=by_hand, silence=silence)
    names = {5: "#5 (manager)", 7: "#7 (librarian)"}
    assert work == Work(5, names, limits, frozenset({7}), by_hand, silence)


def test_unless_it_is_said_a_turn_is_driven_by_the_gateway_and_wants_an_answer() -> None:
    agency = AgencySpec(
        AgencyId(1), "A", "ann", False, AgentId(5), (agent(5, "m"),), {}, Limits(), 1, NOW, NOW
    )
    work = begin(agency, Limits())
    assert (work.manual, work.silence) == (False, False)


# Who has read what


def test_steps_are_counted() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    assert played.work.steps == 1
    played.says(PROGRAMMER, (MANAGER, "Coded."))
    assert played.work.steps == 2


def test_an_agent_has_read_up_to_the_newest_version_that_it_was_called_with() -> None:
    work = team().work
    assert work.read(PROGRAMMER) == 0
    work.apply(Event(3, (), PROGRAMMER, 0))
    assert work.read(PROGRAMMER) == 0
    work.apply(Event(4, (), PROGRAMMER, 3))
    work.apply(Event(5, (), PROGRAMMER, 2))
    assert work.read(PROGRAMMER) == 3
    assert work.read(TESTER) == 0


def test_the_first_version_of_a_turn_is_read_like_every_other() -> None:
    played = team()
    work = Work(MANAGER, played.work.names, Limits())
    work.apply(Event(1, (Delivery(0, MANAGER, "Build it"),)))
    assert work.ready() == [MANAGER]


def test_at_the_end_a_manager_that_has_read_everything_is_not_called_again() -> None:
    played = team()
    played.close()
    played.write(Event(played.version + 1, (), MANAGER, played.version))
    assert played.ready == []


# Who is asked


def test_the_manager_owes_its_answer_to_the_end_user() -> None:
    assert team().work.askers(MANAGER) == (0,)


def test_others_owe_it_to_all_who_asked_each_once_or_to_the_manager() -> None:
    played = team()
    assert played.work.askers(PROGRAMMER) == (MANAGER,)
    played.says(MANAGER, (TESTER, "Tests?"))
    played.says(TESTER, (PROGRAMMER, "Code?"), (PROGRAMMER, "And docs?"))
    assert played.work.askers(PROGRAMMER) == (TESTER,)
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    assert played.work.askers(PROGRAMMER) == (TESTER, MANAGER)
    assert played.work.askers(TESTER) == (MANAGER,)


# What the manager is seen to do


def test_a_manager_thinks_unless_it_waits_for_somebody_or_searches() -> None:
    played = scene(PROGRAMMER, TESTER, readers=[MANAGER, PROGRAMMER])
    assert played.work.doing() is Status.THINKING
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    assert played.work.doing() is Status.WAITING
    played.says(PROGRAMMER, (LIBRARY, "python"))
    assert played.work.doing() is Status.WAITING
    played.says(MANAGER, (LIBRARY, "bread"))
    assert played.work.doing() is Status.SEARCHING
    played.close()
    assert played.work.doing() is Status.THINKING


def test_what_others_ask_is_not_what_the_manager_does() -> None:
    played = team()
    played.says(PROGRAMMER, (TESTER, "Tests?"))
    assert played.work.doing() is Status.THINKING


# Answers by hand


def test_what_somebody_outside_must_answer_is_the_oldest_question_to_another() -> None:
    played = manual(readers=(MANAGER,))
    assert played.work.awaited() is None
    played.says(MANAGER, (PROGRAMMER, "Code?"), (LIBRARY, "bread"))
    assert played.ready == []
    assert played.work.queries() == []
    assert played.work.awaited() == Question(MANAGER, PROGRAMMER, "Code?")
    by_hand(played, PROGRAMMER, MANAGER, "Coded.")
    assert played.work.awaited() == Question(MANAGER, LIBRARY, "bread")
    by_hand(played, LIBRARY, MANAGER, "Rye.")
    assert (played.ready, played.work.awaited()) == ([MANAGER], None)


def test_a_question_to_the_manager_is_its_own_to_answer() -> None:
    played = manual()
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    by_hand(played, TESTER, MANAGER, "What is it?")
    assert played.work.awaited() == Question(MANAGER, PROGRAMMER, "Code?")


def test_nobody_outside_is_waited_for_at_the_end_or_where_the_gateway_drives() -> None:
    played = manual()
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    played.work.manual = False
    played.call(PROGRAMMER)
    played.write(Event(played.version + 1, (), PROGRAMMER, played.version))
    assert (played.ready, played.work.awaited()) == ([], None)
    played.work.manual = True
    assert played.work.awaited() is not None
    played.close()
    played.write(Event(played.version + 1, (), MANAGER, played.version))
    assert (played.ready, played.work.awaited()) == ([], None)


def test_who_was_answered_for_has_nothing_left_to_read_once_it_owes_nothing() -> None:
    played = manual()
    played.says(MANAGER, (PROGRAMMER, "Code?"), (PROGRAMMER, "And docs?"))
    asked = played.work.read(PROGRAMMER)
    by_hand(played, PROGRAMMER, MANAGER, "Coded.")
    assert played.work.read(PROGRAMMER) == asked == 0
    by_hand(played, PROGRAMMER, MANAGER, "Written.")
    assert played.work.read(PROGRAMMER) == played.version
    played.work.manual = False
    assert played.ready == [MANAGER]


def test_what_the_end_user_and_agents_themselves_say_is_read_by_nobody_for_them() -> None:
    played = team()
    assert played.work.read(0) == 0
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    played.call(PROGRAMMER)
    before = played.version
    played.write(Event(played.version + 1, (Delivery(-2, PROGRAMMER, "Hurry."),)))
    played.says(PROGRAMMER, (MANAGER, "Coded."))
    assert played.work.read(PROGRAMMER) == before
    assert played.ready == [MANAGER, PROGRAMMER]
