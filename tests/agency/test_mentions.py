"""Whom a message addresses."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agency.speech.mentions import Addressable, addressed

BOTS = {
    "a": Addressable("programmer", "143"),
    "b": Addressable("Senior  Programmer", "14"),
    "c": Addressable("programmer", "15"),
    "d": Addressable("gpt-4"),
    "e": Addressable("gpt-4-mini"),
    "f": Addressable("Jürgen", "7"),
    "g": Addressable("C++", "8"),
    "h": Addressable("", "9"),
}


@pytest.mark.parametrize(
    ("text", "whom"),
    [
        ("@programmer, please", "ac"),
        ("Hi @Programmer!", "ac"),
        ("(@programmer)", "ac"),
        ("@senior_programmer", "b"),
        ("@senior programmer", ""),
        ("@programmers", ""),
        ("@programmer_", ""),
        ("@programmer.", "ac"),
        ("@programmer's", "ac"),
        ("me@programmer", ""),
        ("@@programmer", ""),
        ("#143", "a"),
        ("#14", "b"),
        ("#1431", ""),
        ("#143a", ""),
        ("ticket/#143", ""),
        ("&#143;", ""),
        ("@gpt-4", "d"),
        ("@GPT-4-mini: hi", "e"),
        ("@gpt-4-turbo", ""),
        ("@gpt-4 - hi", "d"),
        ("@JÜRGEN", "f"),
        ("@ju\u0308rgen", "f"),
        ("@c++?", "g"),
        ("@", ""),
        ("@ you", ""),
        ("# 143", ""),
        ("#9", "h"),
        ("`@programmer`", ""),
        ("``a ` @programmer``", ""),
        ("` @programmer", "ac"),
        ("`x` @programmer `y`", "ac"),
        ("```\n@programmer\n```", ""),
        ("```py\n@programmer\n", ""),
        ("~~~\n@programmer\n```\n#143\n~~~\n#14", "b"),
        ("````\n```\n@programmer\n````", ""),
        ("> @programmer", "ac"),
        ("@programmer and #7", "acf"),
        ("@nobody", ""),
    ],
)
def test_whom_a_text_addresses(text: str, whom: str) -> None:
    assert addressed(text, BOTS) == set(whom)


WORDS = st.text(st.sampled_from("ab_ `~@#1\n-.é"), max_size=40)


@given(WORDS, WORDS)
def test_what_stands_in_a_fence_addresses_nobody(before: str, inside: str) -> None:
    bots = {"x": Addressable("a"), "y": Addressable("b", "1")}
    fenced = inside.replace("~~~", "")
    text = before.replace("~", "").replace("`", "") + "\n~~~\n" + fenced + "\n~~~"
    assert addressed(text, bots) == addressed(before.replace("~", "").replace("`", ""), bots)


@given(WORDS)
def test_case_does_not_matter(text: str) -> None:
    bots = {"x": Addressable("a b"), "y": Addressable("B", "1"), "z": Addressable("Éa")}
    assert addressed(text.upper(), bots) == addressed(text, bots)


@pytest.mark.parametrize("bad", ["`", "``` `", "@a", "@ab", "#1", "~~~\n", "`` ` "])
def test_it_takes_linear_time(bad: str) -> None:
    bots = {number: Addressable(f"name {number}", f"{number}") for number in range(50)}
    began = time.perf_counter()
    addressed(bad * 100_000, bots)
    assert time.perf_counter() - began < 10
