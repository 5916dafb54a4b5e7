"""The rules of a turn, without a model and without rows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.agency.speech.envelope import Envelope, Said
from gateway.agency.turn.events import Answer, Deliver, Delivery, Event, GiveUp, Question
from gateway.agency.turn.rules import (
    ANSWER_NOW,
    EMPTY,
    NOBODY,
    RETURNS,
    SPEECHLESS,
    UNDELIVERABLE,
    Work,
)
from tests.agency.scene import (
    BROKEN,
    DESIGNER,
    LIBRARY,
    MANAGER,
    PROGRAMMER,
    TESTER,
    Scene,
    prose,
    scene,
    team,
)

UNFIT = GiveUp("The manager's answer is not in the format that 'response_format' asks for.")

# An answer without words


def test_an_empty_answer_is_sent_back_once() -> None:
    played = team()
    assert played.says(MANAGER, (0, " \n")) == Deliver((Delivery(-2, MANAGER, EMPTY),))
    assert played.ready == [MANAGER]
    assert played.says(MANAGER, (0, "")) == Answer("")


def test_a_manager_that_is_sent_back_may_go_on_working() -> None:
    played = team()
    played.says(MANAGER, (0, ""))
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    played.says(PROGRAMMER, (MANAGER, "Coded."))
    assert played.says(MANAGER, (0, "Done.")) == Answer("Done.")


def test_whoever_takes_the_turn_up_knows_that_it_was_sent_back() -> None:
    played = team()
    played.says(MANAGER, (0, ""))
    other = team()
    for event in played.events[1:]:
        other.write(event)
    assert other.says(MANAGER, (0, "")) == Answer("")


def test_an_empty_last_answer_is_taken() -> None:
    played = team()
    played.close()
    assert played.says(MANAGER, (0, "")) == Answer("")


def test_where_silence_means_something_an_empty_answer_is_one() -> None:
    played = team()
    played.work.silence = True
    assert played.says(MANAGER, (0, "")) == Answer("")


# Who is called


def test_the_manager_hears_the_end_user_first() -> None:
    assert team().ready == [MANAGER]


def test_whoever_is_asked_is_called_and_the_manager_waits() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    assert played.ready == [PROGRAMMER]


def test_parallel_envelopes_are_delivered_at_the_same_time() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"), (TESTER, "Tests?"))
    assert played.ready == [PROGRAMMER, TESTER]


def test_the_manager_goes_on_when_all_have_answered_and_not_before() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"), (TESTER, "Tests?"), (DESIGNER, "Looks?"))
    played.call(PROGRAMMER, TESTER, DESIGNER)
    played.says(TESTER, (MANAGER, "Tested."))
    assert played.work.ready(busy={PROGRAMMER, DESIGNER}) == []
    played.says(PROGRAMMER, (MANAGER, "Coded."))
    assert played.work.ready(busy={DESIGNER}) == []
    played.says(DESIGNER, (MANAGER, "Drawn."))
    assert played.ready == [MANAGER]


def test_a_question_may_be_asked_before_another_is_answered() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    played.says(PROGRAMMER, (TESTER, "How is it tested?"))
    assert played.ready == [TESTER]
    played.says(TESTER, (PROGRAMMER, "By hand."))
    assert played.ready == [PROGRAMMER]
    played.says(PROGRAMMER, (MANAGER, "Coded and tested."))
    assert played.ready == [MANAGER]


def test_an_envelope_answers_the_oldest_open_question_and_is_else_a_question_itself() -> None:
    played = team()
    played.says(MANAGER, (TESTER, "One?"), (PROGRAMMER, "Two?"))
    played.call(TESTER, PROGRAMMER)
    played.says(PROGRAMMER, (TESTER, "Three?"))  # a question: the tester had asked nothing
    played.says(TESTER, (MANAGER, "First."))
    assert played.ready == [TESTER]  # the manager still waits for the programmer, who waits too
    played.says(TESTER, (PROGRAMMER, "Third."))
    assert played.ready == [PROGRAMMER]
    played.says(PROGRAMMER, (MANAGER, "Second."))
    assert played.ready == [MANAGER]


def test_who_waits_in_a_circle_is_called_anyway() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"), (TESTER, "Tests?"))
    played.call(PROGRAMMER, TESTER)
    played.says(PROGRAMMER, (TESTER, "After you."))
    assert played.work.ready(busy={TESTER}) == []
    played.says(TESTER, (DESIGNER, "Who begins?"))
    played.says(DESIGNER, (PROGRAMMER, "You do."))
    assert played.ready == [PROGRAMMER, TESTER]


def test_two_envelopes_to_one_agent_in_one_answer_do_not_block() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"), (PROGRAMMER, "And quickly?"))
    assert played.ready == [PROGRAMMER]
    played.says(PROGRAMMER, (MANAGER, "Both."))
    assert played.ready == [MANAGER]


def test_the_same_envelope_twice_in_one_answer_is_one() -> None:
    played = team(repeats=1)
    said = played.says(MANAGER, (PROGRAMMER, "Code?"), (PROGRAMMER, "Code?"))
    assert said == Deliver((Delivery(MANAGER, PROGRAMMER, "Code?"),))


def test_if_nobody_answers_the_manager_can_be_told_and_goes_on() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    played.write(Event(played.version + 1, (), PROGRAMMER, played.version))
    assert played.ready == []
    played.note(NOBODY)
    assert played.ready == [MANAGER]
    played.says(MANAGER, (TESTER, "You then?"))
    assert played.ready == [TESTER]


def test_who_was_told_something_while_being_called_is_called_again() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"), (TESTER, "Tests?"))
    played.call(PROGRAMMER, TESTER)
    played.says(TESTER, (PROGRAMMER, "Mind the tests."), (MANAGER, "Tested."))
    played.says(PROGRAMMER, (MANAGER, "Coded."))
    assert played.ready == [MANAGER, PROGRAMMER]


# Who may say what to whom


def test_the_manager_alone_speaks_with_the_end_user() -> None:
    played = team()
    assert played.work.allowed(MANAGER) == (0, PROGRAMMER, TESTER, DESIGNER)
    assert played.work.allowed(PROGRAMMER) == (MANAGER, TESTER, DESIGNER)
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    said = played.says(PROGRAMMER, (0, "Hello user!"))
    assert said == Deliver((Delivery(PROGRAMMER, MANAGER, "Hello user!"),))


def test_the_first_envelope_to_the_end_user_ends_the_turn_and_its_siblings_are_not_delivered() -> (
    None
):
    said = team().says(MANAGER, (PROGRAMMER, "Code?"), (0, "Done."), (0, "Really."))
    assert said == Answer("Done.")


def test_an_unknown_address_goes_back_to_the_sender_with_the_known_ones() -> None:
    played = team()
    said = played.says(MANAGER, (99, "Hello?"), (PROGRAMMER, "Code?"))
    assert said == Deliver(
        (
            Delivery(MANAGER, PROGRAMMER, "Code?"),
            Delivery(
                -2,
                MANAGER,
                "Your message to 99 was not delivered. You can write to: 0, 2, 3, 4.",
            ),
        )
    )


def test_nobody_can_write_to_itself() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    said = played.says(PROGRAMMER, (PROGRAMMER, "Think!"))
    assert said == Deliver(
        (
            Delivery(
                -2,
                PROGRAMMER,
                "Your message to 2 was not delivered. You can write to: 1, 3, 4.",
            ),
        )
    )
    assert played.ready == [PROGRAMMER]


def test_an_agent_that_keeps_writing_to_nobody_is_heard_by_who_asked_it() -> None:
    played = team()
    played.says(MANAGER, (TESTER, "Tests?"))
    played.says(TESTER, (PROGRAMMER, "Code?"))
    for _ in range(RETURNS):
        played.says(PROGRAMMER, (99, "Here it is."))
    assert played.says(PROGRAMMER, (99, "Here it is.")) == Deliver(
        (Delivery(PROGRAMMER, TESTER, "Here it is."),)
    )


def test_a_manager_that_keeps_writing_to_nobody_must_answer_now() -> None:
    played = team()
    for _ in range(RETURNS):
        said = played.says(MANAGER, (99, "Hello?"))
        assert isinstance(said, Deliver)
        assert "was not delivered" in said.deliveries[0].text
    said = played.says(MANAGER, (99, "Hello?"))
    assert said == Deliver((Delivery(-2, MANAGER, f"{ANSWER_NOW} {UNDELIVERABLE}"),))
    assert played.work.allowed(MANAGER) == (0,)
    assert played.says(MANAGER, (99, "Hello?")) == GiveUp(
        "The team reached a limit, and the manager still gave no answer."
    )


# What is no envelope


def test_what_is_no_envelope_goes_back_three_times_with_the_reason() -> None:
    played = team()
    for _ in range(RETURNS):
        said = played.answers(MANAGER, BROKEN)
        assert isinstance(said, Deliver)
        (back,) = said.deliveries
        assert (back.sender, back.recipient) == (-2, MANAGER)
        assert BROKEN.reason in back.text
        assert played.ready == [MANAGER]


def test_a_manager_that_then_still_answers_in_prose_is_taken_at_its_word() -> None:
    played = team()
    for _ in range(RETURNS):
        assert isinstance(played.answers(MANAGER, prose("Hi!")), Deliver)
    assert played.answers(MANAGER, prose("Hi!")) == Answer("Hi!", prose=True)


def test_a_broken_envelope_is_never_taken_for_prose() -> None:
    played = team()
    for _ in range(RETURNS):
        played.answers(MANAGER, BROKEN, '{"to": 143}')
    told = played.answers(MANAGER, BROKEN, '{"to": 143}')
    assert told == Deliver((Delivery(-2, MANAGER, f"{ANSWER_NOW} {UNDELIVERABLE}"),))
    assert played.answers(MANAGER, BROKEN, '{"to": 143}') == GiveUp(SPEECHLESS)


def test_an_envelope_in_between_starts_the_count_again() -> None:
    played = team()
    for _ in range(RETURNS):
        played.answers(MANAGER, prose("Hi!"))
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    played.says(PROGRAMMER, (MANAGER, "Coded."))
    for _ in range(RETURNS):
        assert isinstance(played.answers(MANAGER, prose("Hi!")), Deliver)
    assert isinstance(played.answers(MANAGER, prose("Hi!")), Answer)


def test_what_others_are_told_of_a_failure_is_not_counted_as_sent_back() -> None:
    played = team()
    for _ in range(RETURNS):
        played.says(MANAGER, (PROGRAMMER, "Code?"))
        played.fails(PROGRAMMER, "It is down.")
    played.says(MANAGER, (PROGRAMMER, "Code, please?"))
    said = played.answers(PROGRAMMER, BROKEN)
    assert isinstance(said, Deliver)
    assert said.deliveries[0].recipient == PROGRAMMER


def test_an_empty_answer_is_taken_from_a_manager_that_was_sent_back_too_often() -> None:
    played = team()
    for _ in range(RETURNS):
        played.answers(MANAGER, BROKEN)
    assert played.says(MANAGER, (0, "")) == Answer("")


def test_who_was_asked_nothing_is_heard_by_the_manager() -> None:
    played = team()
    for _ in range(RETURNS):
        played.answers(PROGRAMMER, prose("Well."))
    assert played.answers(PROGRAMMER, prose("Well."), "Well.") == Deliver(
        (Delivery(PROGRAMMER, MANAGER, "Well."),)
    )


def test_several_unknown_addresses_are_named_together() -> None:
    said = team().says(MANAGER, (99, "Hello?"), (98, "Hello?"))
    assert isinstance(said, Deliver)
    assert [d.text for d in said.deliveries] == [
        "Your message to 98, 99 was not delivered. You can write to: 0, 2, 3, 4."
    ]


def test_the_prose_of_another_agent_goes_to_who_asked_it() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    for _ in range(RETURNS):
        played.answers(PROGRAMMER, prose("Well."), "Well.")
    assert played.answers(PROGRAMMER, prose("Well."), " Well. ") == Deliver(
        (Delivery(PROGRAMMER, MANAGER, "Well."),)
    )
    assert played.ready == [MANAGER]


def test_an_agent_that_says_nothing_at_all_does_not_hold_up_who_asked_it() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"))
    for _ in range(RETURNS + 1):
        played.answers(PROGRAMMER, prose(""), "")
    assert played.ready == [MANAGER]
    assert played.events[-1].deliveries == (Delivery(PROGRAMMER, MANAGER, "(no answer)"),)


def test_a_manager_that_says_nothing_at_all_is_asked_once_more_and_then_given_up() -> None:
    played = team()
    for _ in range(RETURNS + 1):
        played.answers(MANAGER, prose(""))
    assert played.work.closing is not None
    assert isinstance(played.answers(MANAGER, prose("")), GiveUp)


def test_an_answer_in_the_wrong_format_goes_back_three_times_and_then_fails() -> None:
    played = team()
    for _ in range(RETURNS):
        verdict = played.work.unfit(MANAGER, "No JSON.", read=played.version)
        assert verdict == Deliver(
            (Delivery(-2, MANAGER, "Your answer was not delivered. No JSON."),)
        )
        played.write(Event(played.version + 1, verdict.deliveries, MANAGER, played.version))
    assert played.work.unfit(MANAGER, "No JSON.", read=played.version) == UNFIT


def test_an_answer_in_the_wrong_format_is_not_sent_back_at_the_end() -> None:
    played = team()
    before = played.version
    played.close()
    assert isinstance(played.work.unfit(MANAGER, "No JSON.", read=before), Deliver)
    assert played.work.unfit(MANAGER, "No JSON.", read=played.version) == UNFIT


# Failures


def test_a_failure_is_told_to_whoever_asked() -> None:
    played = team()
    played.says(MANAGER, (TESTER, "Tests?"))
    played.says(TESTER, (PROGRAMMER, "Code?"))
    told = played.fails(PROGRAMMER, "It is down.")
    assert told == (Delivery(-2, TESTER, "#2 (programmer) can't answer: It is down."),)
    assert played.ready == [TESTER]


def test_a_failure_of_one_of_several_lets_the_others_go_on() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"), (TESTER, "Tests?"))
    played.call(PROGRAMMER, TESTER)
    played.fails(PROGRAMMER, "It is down.")
    assert played.work.ready(busy={TESTER}) == []
    assert played.work.question(MANAGER, PROGRAMMER) is None
    assert played.work.question(MANAGER, TESTER) == Question(MANAGER, TESTER, "Tests?")
    played.says(TESTER, (MANAGER, "Tested."))
    assert played.ready == [MANAGER]


def test_an_agent_that_left_the_team_can_still_be_told_of() -> None:
    played = scene(PROGRAMMER)
    played.write(Event(3, (Delivery(MANAGER, TESTER, "Tests?"),), MANAGER, 2))
    assert played.ready == [TESTER]
    assert played.fails(TESTER, "It is gone.") == (
        Delivery(-2, MANAGER, "#3 can't answer: It is gone."),
    )
    assert played.ready == [MANAGER]


# Limits


def test_two_agents_that_thank_each_other_for_ever_are_stopped() -> None:
    played = team(repeats=2)
    for _ in range(2):
        played.says(MANAGER, (PROGRAMMER, "Thanks!"))
        played.says(PROGRAMMER, (MANAGER, "Thank you!"))
    said = played.says(MANAGER, (PROGRAMMER, "Thanks!"))
    assert isinstance(said, Deliver)
    enough = f"{ANSWER_NOW} The same was said too often."
    assert said == Deliver((Delivery(-2, MANAGER, enough),))
    assert played.work.allowed(MANAGER) == (0,)
    assert played.ready == [MANAGER]


def test_each_limit_is_named_when_it_is_reached() -> None:
    work = scene(model_calls=3, seconds=10, tokens=100).work
    assert work.exhausted(calls=3, tokens=99, seconds=9.9) is None
    assert "3 model calls" in (work.exhausted(calls=4, tokens=0, seconds=0) or "")
    assert "10 seconds" in (work.exhausted(calls=1, tokens=0, seconds=10) or "")
    assert "100 tokens" in (work.exhausted(calls=1, tokens=100, seconds=0) or "")


def test_at_the_end_only_the_manager_is_called_and_only_the_end_user_may_be_addressed() -> None:
    played = team()
    played.says(MANAGER, (PROGRAMMER, "Code?"), (TESTER, "Tests?"))
    played.close()
    assert played.ready == [MANAGER]
    assert played.work.ready(busy={MANAGER}) == []
    assert played.work.allowed(MANAGER) == (0,)
    assert played.work.exhausted(calls=999, tokens=0, seconds=999) is None
    assert played.hears(MANAGER, (Envelope(0, "That much."),)) == Answer("That much.")
    assert isinstance(played.hears(MANAGER, (Envelope(PROGRAMMER, "More?"),)), GiveUp)


def test_who_was_called_before_the_end_was_told_is_not_blamed_for_it() -> None:
    played = team()
    played.call(MANAGER)
    played.close()
    assert played.says(MANAGER, (PROGRAMMER, "Code?")) == Deliver(())
    assert played.ready == [MANAGER]
    assert isinstance(played.says(MANAGER, (PROGRAMMER, "Code?")), GiveUp)


def test_prose_is_taken_at_once_when_there_is_no_time_to_send_it_back() -> None:
    played = team()
    played.close()
    assert played.answers(MANAGER, prose("So far so good.")) == Answer("So far so good.", True)


# The library


def queries(played: Scene) -> list[tuple[int, str]]:
    return [(query.asker, query.text) for query in played.work.queries()]


def test_who_asks_the_library_waits_for_it_and_is_called_no_sooner() -> None:
    played = scene(readers=[MANAGER])
    played.says(MANAGER, (LIBRARY, "bread"))
    assert (played.ready, queries(played)) == ([], [(MANAGER, "bread")])
    played.finds("Rye.")
    assert (played.ready, queries(played), played.work.searches) == ([MANAGER], [], 1)
    played.says(MANAGER, (LIBRARY, "cake"))
    assert played.work.searches == 1
    played.finds("Plum.")
    assert (played.work.searches, played.work.steps) == (2, 2)


def test_one_that_asks_several_things_is_answered_in_the_order_of_asking() -> None:
    played = scene(PROGRAMMER, readers=[MANAGER, PROGRAMMER])
    played.says(MANAGER, (LIBRARY, "bread"), (PROGRAMMER, "Code?"), (LIBRARY, "cake"))
    played.says(PROGRAMMER, (LIBRARY, "python"))
    assert queries(played) == [(MANAGER, "bread"), (PROGRAMMER, "python")]
    played.finds("Rye.")
    assert queries(played) == [(MANAGER, "cake"), (PROGRAMMER, "python")]
    assert played.ready == []


def test_a_search_of_one_does_not_keep_the_others_back() -> None:
    played = scene(PROGRAMMER, readers=[MANAGER])
    played.says(MANAGER, (LIBRARY, "bread"), (PROGRAMMER, "Code?"))
    assert played.ready == [PROGRAMMER]
    played.says(PROGRAMMER, (MANAGER, "Coded."))
    assert played.ready == []


def test_the_library_may_be_addressed_by_its_readers_alone() -> None:
    played = scene(PROGRAMMER, readers=[PROGRAMMER])
    assert played.work.allowed(MANAGER) == (0, PROGRAMMER)
    assert played.work.allowed(PROGRAMMER) == (MANAGER, LIBRARY)
    verdict = played.says(MANAGER, (LIBRARY, "bread"))
    assert isinstance(verdict, Deliver)
    assert [d.sender for d in verdict.deliveries] == [-2]
    assert queries(played) == []


def test_at_the_end_nothing_is_searched_for() -> None:
    played = scene(readers=[MANAGER])
    played.says(MANAGER, (LIBRARY, "bread"))
    played.close()
    assert (played.ready, queries(played)) == ([MANAGER], [])
    assert played.work.allowed(MANAGER) == (0,)


# Whatever they say


RECIPIENTS = st.sampled_from([0, 1, 2, 3, 4, 99, LIBRARY])
READERS = st.sets(st.sampled_from([1, 2, 3]))
ENVELOPES = st.builds(Envelope, RECIPIENTS, st.sampled_from(["a", "b", "thanks"]))
SAID: st.SearchStrategy[Said | None] = st.one_of(
    st.lists(ENVELOPES, min_size=1, max_size=3).map(tuple),
    st.lists(ENVELOPES.filter(lambda e: e.to != 0), min_size=1, max_size=3).map(tuple),
    st.sampled_from([BROKEN, prose(""), prose("Well."), None]),  # None: the model call failed
)
TEAMS = st.sampled_from([(), (PROGRAMMER,), (PROGRAMMER, TESTER), (PROGRAMMER, TESTER, DESIGNER)])


@dataclass
class Simulation:
    """Plays a turn as `Turn` does, with answers that hypothesis thinks of."""

    played: Scene
    data: st.DataObject
    busy: set[int] = field(default_factory=set)
    ended: bool = False

    def run(self) -> None:
        while not self.ended:
            self.round()

    def round(self) -> None:
        work = self.played.work
        ready = work.ready(self.busy)
        assert not set(ready) & self.busy
        queries = work.queries()
        made = work.steps + work.searches
        if work.exhausted(
            calls=made + len(self.busy) + len(ready) + len(queries), tokens=0, seconds=0
        ):
            self.busy &= {MANAGER}
            self.played.close()
        elif queries and (not (ready or self.busy) or self.data.draw(st.booleans())):
            self.played.finds("Found.")
        elif ready or self.busy:
            self.call(ready)
            done = self.data.draw(st.sets(st.sampled_from(sorted(self.busy)), min_size=1))
            self.settle(sorted(done))
        else:
            self.played.note(NOBODY)

    def call(self, ready: Sequence[int]) -> None:
        self.played.call(*ready)
        self.busy |= set(ready)

    def settle(self, done: Sequence[int]) -> None:
        for agent in done:
            self.busy.discard(agent)
            said = self.data.draw(SAID)
            if said is None and agent != MANAGER:
                self.played.fails(agent, "It is down.")
            elif said is None or not isinstance(self.played.answers(agent, said, "raw"), Deliver):
                self.ended = True
                return


@settings(max_examples=400, deadline=None)
@given(TEAMS, READERS, st.integers(1, 12), st.integers(1, 3), st.data())
def test_a_turn_always_ends_within_its_limits_whatever_is_said(
    others: tuple[int, ...],
    readers: set[int],
    model_calls: int,
    repeats: int,
    data: st.DataObject,
) -> None:
    played = scene(*others, readers=sorted(readers), model_calls=model_calls, repeats=repeats)
    Simulation(played, data).run()
    # One last answer, and the one that was under way when the end was told.
    assert played.work.steps + played.work.searches <= model_calls + 2
    assert len(played.events) <= 2 * (model_calls + 2) + 2


@settings(max_examples=200, deadline=None)
@given(TEAMS, READERS, st.data())
def test_work_that_is_rebuilt_from_any_prefix_of_its_events_equals_the_live_one(
    others: tuple[int, ...], readers: set[int], data: st.DataObject
) -> None:
    played = scene(*others, readers=sorted(readers), model_calls=12)
    blank = Work(MANAGER, played.work.names, played.work.limits, played.work.readers)
    Simulation(played, data).run()
    whole = deepcopy(blank)
    for count, event in enumerate(played.events, 1):
        whole.apply(event)
        again = deepcopy(blank)
        for earlier in played.events[:count]:
            # As the rows give it: lists in place of tuples.
            again.apply(replace(earlier, deliveries=list(earlier.deliveries)))
        assert again == whole
    assert whole == played.work
