"""How often the passage that answers a question is among the first five: 200 passages, and two
hundred questions: most in words of their own, the others as one types them into a search box."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.retrieval.shelf import Shelf

HANDBOOK = Path(__file__).with_name("handbook.txt")
FIRST = 5


def read() -> tuple[list[str], list[tuple[str, str]]]:
    """The passages, and each question with the passage that answers it."""
    passages: list[str] = []
    questions: list[tuple[str, str]] = []
    for line in HANDBOOK.read_text().splitlines():
        if line.startswith("?"):
            questions.append((line[1:].strip(), passages[-1]))
        elif line and not line.startswith("#") and line[0].isupper():
            passages.append(line)
    return passages, questions


PASSAGES, QUESTIONS = read()


IN = Counter(word for text in PASSAGES for word in set(re.findall(r"\w+", text.lower())))
COMMON = len(PASSAGES) // 20


def by_overlap(question: str) -> list[str]:
    """What counting of shared words finds; words that stand everywhere are left out."""
    asked = {word for word in words(question) if IN[word] <= COMMON}
    shared = Counter({text: len(asked & set(words(text))) for text in PASSAGES})
    return [text for text, _ in shared.most_common(FIRST)]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def recall(found: Callable[[str], list[str]]) -> float:
    return sum(answer in found(question) for question, answer in QUESTIONS) / len(QUESTIONS)


def test_the_set_is_large_enough() -> None:
    assert len(set(PASSAGES)) == len(PASSAGES) == 200
    assert len(QUESTIONS) == 199


@pytest.mark.parametrize("chroma_url", ["embedded"], indirect=True)
async def test_a_search_finds_more_than_plain_words_do(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    await shelf.create()
    for text in PASSAGES:
        await shelf.add(text)
    library = shelf.gateway.resources.library
    async with asyncio.timeout(60):
        while await shelf.database.fetch("SELECT FROM document WHERE state <> 'ready'"):
            await asyncio.sleep(0.05)
    found = {
        question: [one.text for one in await library.search("ann", ["books"], question, FIRST)]
        for question, _ in QUESTIONS
    }
    hybrid, plain = recall(found.__getitem__), recall(by_overlap)
    with capsys.disabled():
        sys.stdout.write(
            f"\nrecall@{FIRST} of {len(QUESTIONS)} questions: {hybrid:.2f}, "
            f"by shared words {plain:.2f}\n"
        )
    assert hybrid > plain + 0.1
