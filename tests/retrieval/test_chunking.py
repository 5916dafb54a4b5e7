"""Chunks cover a text, in order, within their bounds."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.retrieval.documents.chunking import OVERLAP, SIZE, chunk

WORDS = st.lists(
    st.sampled_from(["a", "word", "Sentence.", "What?", "\n", "\n\n", "  ", "x" * 70, "。", "ü"]),
    max_size=300,
).map(" ".join)
TEXTS = st.one_of(WORDS, st.text(max_size=500), st.text(" \n", max_size=50))
SIZES = st.integers(4, 200).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, size // 4))
)


@given(TEXTS, SIZES)
def test_every_character_is_in_one_chunk_or_two(text: str, sizes: tuple[int, int]) -> None:
    size, overlap = sizes
    chunks = chunk(text, size, overlap)
    covered = [0] * len(text)
    for one in chunks:
        assert one.text == text[one.position : one.position + len(one.text)]
        for at in range(one.position, one.position + len(one.text)):
            covered[at] += 1
    assert set(covered) <= ({1, 2} if text.strip() else {0})


@given(TEXTS, SIZES)
def test_chunks_are_in_order_and_within_bounds(text: str, sizes: tuple[int, int]) -> None:
    size, overlap = sizes
    chunks = chunk(text, size, overlap)
    assert all(1 <= len(one.text) <= size for one in chunks)
    for before, after in pairwise(chunks):
        end = before.position + len(before.text)
        assert before.position < after.position <= end
        assert end - after.position <= overlap
        assert len(before.text) >= size // 2


def test_a_text_is_cut_between_paragraphs_if_it_can_be() -> None:
    first, second = "First. " * 90, "Second. " * 60
    chunks = chunk(f"{first.strip()}\n\n{second.strip()}")
    assert chunks[0].text == f"{first.strip()}\n\n"
    assert chunks[1].text.endswith(f"\n\n{second.strip()}")


def test_else_between_sentences_and_the_next_one_begins_with_a_whole_sentence() -> None:
    text = " ".join(f"This is sentence number {n} of them all." for n in range(100))
    chunks = chunk(text)
    for one in chunks[1:]:
        assert one.text.startswith("This is sentence")
    assert all(one.text.rstrip().endswith("all.") for one in chunks)


def test_else_between_words_and_a_torn_thought_is_whole_in_one_of_two() -> None:
    text = " ".join(f"word{n}" for n in range(1000))
    chunks = chunk(text)
    words = [one.text.split() for one in chunks]
    assert {word for some in words for word in some} == set(text.split())
    for before, after in pairwise(chunks):
        shared = before.position + len(before.text) - after.position
        assert OVERLAP - 10 <= shared <= OVERLAP


def test_a_text_that_cannot_be_cut_well_is_cut_anyway() -> None:
    assert [len(one.text) for one in chunk("x" * 2500)] == [SIZE, SIZE, 500]


def test_without_words_there_are_no_chunks() -> None:
    assert chunk("") == chunk(" \n\t ") == []
