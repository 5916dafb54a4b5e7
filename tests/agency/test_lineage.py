"""Which conversation a history continues: hashes and decisions."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import hypothesis.strategies as st
from hypothesis import given

from gateway.agency.turn.lineage import (
    BUSY,
    Begin,
    Continue,
    Fork,
    Match,
    chain,
    decide,
    extend,
    scope,
    within,
)
from gateway.agency.turn.request import Public

publics = st.builds(
    Public,
    role=st.sampled_from(["user", "assistant", "tool", "function"]),
    content=st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    parts=st.none() | st.lists(st.fixed_dictionaries({"type": st.text(max_size=3)}), max_size=2),
)


def match(number: int, root: int = 0, **changes: object) -> Match:
    made = Match(
        turn_id=UUID(int=number),
        conversation_id=UUID(int=number),
        root_id=UUID(int=root),
        seq=2,
        history_hash=b"h",
        followed=False,
        deleted=False,
        version=1,
        system_message_id=None,
        system=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@given(history=st.lists(publics, max_size=8), inputs=st.lists(publics, max_size=3))
def test_a_chain_has_one_prefix_for_each_answer_longest_first(
    history: list[Public], inputs: list[Public]
) -> None:
    start = scope("ann", "agency/1", None)
    made = chain(start, history, inputs)
    answers = [n for n, pair in enumerate(history, 1) if pair.role == "assistant"]
    assert [count for _, count in made.prefixes] == answers[::-1]
    for digest, count in made.prefixes:
        assert digest == extend(start, history[:count])
    assert made.whole == extend(start, [*history, *inputs])


@given(one=st.lists(publics, max_size=4), other=st.lists(publics, max_size=4))
def test_two_histories_share_a_hash_only_if_they_say_the_same(
    one: list[Public], other: list[Public]
) -> None:
    def said(history: list[Public]) -> list[tuple[str, str, str]]:
        return [(pair.role, pair.content.strip(), str(pair.parts)) for pair in history]

    assert (extend(b"", one) == extend(b"", other)) == (said(one) == said(other))


@given(st.lists(publics, min_size=1, max_size=4), st.text(" \n\t", max_size=3))
def test_white_space_at_the_ends_makes_no_difference(history: list[Public], space: str) -> None:
    padded = [replace(pair, content=f"{space}{pair.content}{space}") for pair in history]
    assert extend(b"", padded) == extend(b"", history)


def test_callers_responders_and_users_have_chains_of_their_own() -> None:
    scopes = [
        scope("ann", "agency/1", None),
        scope("ann", "agency/1", ""),
        scope("ann", "agency/1", "agency/1"),
        scope("ann", "agency/11", None),
        scope("anna", "agency/1", None),
        scope("ann", "agency/1", "=x"),
        scope("ann", "agency/1", "x"),
    ]
    assert len(set(scopes)) == len(scopes)
    assert within(b"d", UUID(int=1)) != within(b"d", UUID(int=2))


def test_what_is_known_to_nobody_begins() -> None:
    assert decide([], None) == Begin()


def test_what_nothing_follows_is_continued() -> None:
    assert decide([match(1)], "any system") == Continue(match(1))


def test_what_something_follows_is_forked() -> None:
    followed = match(1, followed=True)
    assert decide([followed], None) == Fork(followed)


def test_of_one_family_the_newest_end_is_continued() -> None:
    family = [match(1), match(2), match(3, followed=True)]
    assert decide(family, None) == Continue(match(2))


def test_of_several_families_none_is_joined_and_the_copy_founds_another() -> None:
    assert decide([match(1), match(2, root=2)], None) == Fork(match(2, root=2), related=False)


def test_the_copy_is_made_of_one_with_the_same_system_message() -> None:
    same = match(1, system="S")
    assert decide([same, match(2, root=2)], "S") == Fork(same, related=False)


def test_deleted_conversations_are_never_gone_on_with_but_count_as_families() -> None:
    gone = match(2, root=2, deleted=True)
    assert decide([gone], None) == Begin()
    assert decide([match(1), gone], None) == Fork(match(1), related=False)


def test_where_there_may_be_more_matches_than_were_read_none_is_joined() -> None:
    assert decide([match(n) for n in range(BUSY)], None) == Fork(match(BUSY - 1), related=False)
