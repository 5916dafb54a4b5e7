"""Reading a body: all that is wrong with it, and nothing that is not."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from gateway.routes.shapes.reasons import Violations, read


class Inner(msgspec.Struct):
    kind: Literal["a", "b"]
    size: Annotated[int, Meta(ge=1, le=3)] | None = None


class Outer(msgspec.Struct):
    text: Annotated[str, Meta(min_length=2, max_length=4, pattern="^[a-z]*$")]
    flag: bool
    inner: Inner | None
    items: list[Inner]
    ids: str | Annotated[list[str], Meta(max_length=2)] = ""
    code: Annotated[Literal["x"], Meta(extra={"reason": "unknown_code"})] = "x"


GOOD = {"text": "abc", "flag": True, "inner": None, "items": []}


def told(**changes: object) -> list[tuple[str, str]]:
    with pytest.raises(Violations) as refused:
        read(json.dumps({**GOOD, **changes}).encode(), Outer)
    return [(reason.code, reason.message) for reason in refused.value.reasons]


def test_what_is_right_is_read() -> None:
    body = {**GOOD, "inner": {"kind": "b", "size": 3}, "ids": ["1", "2"], "more": {"a": [1]}}
    assert read(json.dumps(body).encode(), Outer) == Outer(
        "abc", True, Inner("b", 3), [], ["1", "2"]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": 1}, "text must be a string, not a number."),
        ({"text": None}, "text must be a string, not null."),
        ({"text": "a"}, "text must hold at least 2 characters."),
        ({"text": "abcde"}, "text must hold at most 4 characters."),
        ({"text": "AB"}, "text must match ^[a-z]*$."),
        ({"text": "a\0"}, "text must not hold NUL characters."),
        ({"flag": "yes"}, "flag must be true or false, not a string."),
        ({"inner": []}, "inner must be an object, not a list."),
        ({"inner": {"kind": "c"}}, 'inner.kind must be "a" or "b".'),
        ({"inner": {"kind": "a", "size": 0}}, "inner.size must be at least 1."),
        ({"inner": {"kind": "a", "size": 4}}, "inner.size must be at most 3."),
        ({"inner": {"kind": "a", "size": 1.5}}, "inner.size must be a whole number, not a number."),
        (
            {"inner": {"kind": "a", "size": True}},
            "inner.size must be a whole number, not a boolean.",
        ),
        ({"items": {}}, "items must be a list, not an object."),
        ({"items": [{"kind": "a"}, 7]}, "items[1] must be an object, not a number."),
        ({"ids": ["1", "2", "3"]}, "ids must hold at most 2 items."),
        ({"ids": ["1", 2]}, "ids[1] must be a string, not a number."),
        ({"ids": {}}, "ids must be a string or a list, not an object."),
    ],
)
def test_what_is_wrong_is_told_in_words(changes: dict[str, object], message: str) -> None:
    assert told(**changes) == [("invalid_field", message)]


def test_a_field_may_have_a_code_of_its_own() -> None:
    assert told(code="y") == [("unknown_code", 'code must be "x".')]


def test_every_field_has_its_reason() -> None:
    assert told(text="a", inner={"size": 9}, items=[{}, {"kind": 1}], flag=None) == [
        ("invalid_field", "text must hold at least 2 characters."),
        ("invalid_field", "flag must be true or false, not null."),
        ("missing_field", "inner.kind is missing."),
        ("invalid_field", "inner.size must be at most 3."),
        ("missing_field", "items[0].kind is missing."),
        ("invalid_field", 'items[1].kind must be "a" or "b".'),
    ]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "b", "ab", "x", "\0", "\\u0000", "abcdef"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "size", "text"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    body=st.fixed_dictionaries(
        {},
        optional={
            name: VALUES | st.just(GOOD.get(name))
            for name in ("text", "flag", "inner", "items", "ids", "code", "more")
        },
    )
)
def test_it_takes_what_msgspec_takes_but_for_nul(body: dict[str, object]) -> None:
    content = json.dumps(body).encode()
    try:
        expected = msgspec.json.decode(content, type=Outer)
    except msgspec.ValidationError:
        expected = None
    try:
        found = read(content, Outer)
    except Violations as refused:
        nul = any("NUL" in reason.message for reason in refused.reasons)
        assert expected is None or nul
    else:
        assert found == expected
