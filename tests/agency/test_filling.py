"""What the rehearsal makes of a JSON schema."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import (
    UUID4,
    UUID7,
    AnyUrl,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    EmailStr,
    Field,
    TypeAdapter,
)

from gateway.agency.models.rehearsal.filling import filled
from gateway.agency.models.rehearsal.pattern import Unreadable, matching
from gateway.agency.models.rehearsal.schema import Unfillable
from gateway.agency.turn.rules import RETURNS

WORDS = "A rehearsal."


def check(schema: Any) -> Any:
    """What is made, at the latest of the answers that the engine sends back."""
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    made = [filled(schema, WORDS, turn) for turn in range(1 + RETURNS)]
    valid = [value for value in made if validator.is_valid(value)]
    assert valid, made
    return valid[0]


# ---- schemas as programs send them ---------------------------------------------------------------


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)]


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: Annotated[list[str], Field(min_length=2, max_length=3)]


class Node(BaseModel):
    name: str
    left: Node | None
    right: Node | None
    children: list[Node]


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, Field(min_length=3, max_length=8)]
    note: str | None
    price: Decimal
    share: Annotated[float, Field(gt=0, lt=1)]
    even: Annotated[int, Field(multiple_of=2, gt=10)]
    colour: Colour
    day: date
    at: datetime
    key: UUID
    mail: EmailStr
    page: AnyUrl
    address: IPv4Address
    code: Annotated[str, Field(pattern=r"^[A-Z]{2}-\d{4}$")]
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pair: tuple[int, str]
    tags: set[str]
    scores: dict[str, int]
    tree: Node
    flag: bool = False


@pytest.mark.parametrize("model", [Cat, Dog, Node, Everything])
def test_what_a_pydantic_model_asks_for_is_read_by_it(model: type[BaseModel]) -> None:
    model.model_validate(check(model.model_json_schema()))


@pytest.mark.parametrize("kind", [list[Cat], dict[str, Colour], int | str, Literal["a", 1]])
def test_what_is_no_object_is_read_too(kind: Any) -> None:
    adapter = TypeAdapter(kind)
    adapter.validate_python(check(adapter.json_schema()))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": ["null", "integer"], "minimum": 5},
        {"const": {"a": [1]}},
        {"enum": [None, 3]},
        {"type": "string", "enum": [1, "one"]},
        {"required": ["b", "a"], "additionalProperties": {"type": "integer"}},
        {"type": "object", "minProperties": 3},
        {"type": "object", "properties": {"a": False, "b": True}},
        {"type": "object", "required": ["S_1"], "patternProperties": {"^S_": {"type": "null"}}},
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": False, "minItems": 1},
        {"type": "array", "uniqueItems": True, "minItems": 5, "items": {"enum": [1, 2, 3, 4, 5]}},
        {"type": "array", "uniqueItems": True, "minItems": 4, "items": {"maxLength": 3}},
        {"type": "array", "minItems": 2, "contains": {"const": 7}},
        {"allOf": [{"minimum": 3}, {"type": "number", "maximum": 4}, {"multipleOf": 2}]},
        {"anyOf": [{"type": "string"}, {"type": "integer"}], "minimum": 4, "type": "integer"},
        {"oneOf": [{"type": "number"}, {"type": "integer"}]},
        {"not": {"type": "string"}},
        {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "type": "object"},
        {"dependentRequired": {"a": ["b"]}, "required": ["a"], "type": "object"},
        {
            "allOf": [
                {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"$ref": "#/$defs/b"}}, "required": ["b"]},
            ],
            "$defs": {"b": {"type": "string", "minLength": 40}},
        },
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "array", "items": {"$ref": "#"}}}},
        {"type": "string", "pattern": "^(GET|POST) /[a-z]+$", "minLength": 12},
        {"type": "string", "pattern": "\\d{3}", "maxLength": 3},
        {"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.2},
        {"type": "number", "multipleOf": 0.25, "minimum": 0.3},
        {"type": "integer", "maximum": -7},
        *({"type": "string", "format": one} for one in ("date", "ipv6", "uuid", "regex", "email")),
    ],
)
def test_what_a_schema_asks_for_is_made(schema: Any) -> None:
    check(schema)


@pytest.mark.parametrize(
    "more", [{}, {"additionalItems": False}, {"additionalItems": {"type": "null"}}]
)
def test_a_tuple_as_older_drafts_write_it_is_made(more: Any) -> None:
    items = [{"type": "string"}, {"type": "integer"}]
    schema = {"type": "array", "items": items, "minItems": 2, "maxItems": 2, **more}
    made = filled(schema, WORDS)
    Draft7Validator(schema).validate(made)
    assert made == [WORDS, 1]


class Encoded(BaseModel):
    key: UUID4
    time: UUID7
    data: Base64Bytes


def test_formats_that_pydantic_alone_writes_are_met() -> None:
    Encoded.model_validate(filled(Encoded.model_json_schema(), WORDS))


def test_members_that_may_be_left_out_are_filled_too() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    assert filled(schema, WORDS) == {"title": WORDS}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$ref": "https://example.com/schema"},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "string", "const": 1},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"type": "object", "minProperties": 10**9},
        {
            "$defs": {
                f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]}
                for n in range(40)
            },
            "$ref": "#/$defs/a0",
        },
        {
            "$defs": {
                f"a{n}": {
                    "required": ["x", "y"],
                    "properties": {
                        "x": {"$ref": f"#/$defs/a{n + 1}"},
                        "y": {"$ref": f"#/$defs/a{n + 1}"},
                    },
                }
                for n in range(30)
            },
            "$ref": "#/$defs/a0",
        },
        {"type": "string", "pattern": "((((x{9999}){9999}){9999}){9999})"},
        {"type": "string", "pattern": "(" * 5000},
    ],
)
def test_what_can_not_be_made_is_given_up_soon(schema: Any) -> None:
    began = time.thread_time()
    with pytest.raises(Unfillable):
        filled(schema, WORDS)
    assert time.thread_time() - began < 2


# ---- any schema ----------------------------------------------------------------------------------


def texts() -> st.SearchStrategy[Any]:
    patterns = st.sampled_from(["^[a-f0-9]{2,4}$", "^(a|b)+$", "^\\w+@\\w+\\.de$", "x?y*z"])
    lengths = st.fixed_dictionaries({}, optional={"minLength": st.integers(0, 9)})
    return st.one_of(
        st.builds(lambda more: {"type": "string", **more}, lengths),
        st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 9)),
        st.builds(lambda one: {"type": "string", "pattern": one}, patterns),
        st.sampled_from(["date-time", "time", "uri", "hostname"]).map(
            lambda one: {"type": "string", "format": one}
        ),
    )


@st.composite
def numbers(draw: st.DrawFn) -> Any:
    low = draw(st.integers(-50, 50))
    high = low + draw(st.integers(8, 60))
    schema: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number"]))}
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = high
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.integers(1, 4))
    return schema


NAMES = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.one_of(
    texts(),
    numbers(),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just(True),
    st.lists(st.integers() | st.text(max_size=3) | st.none(), min_size=1, max_size=4).map(
        lambda values: {"enum": values}
    ),
    st.just({"$ref": "#/$defs/node"}),
)


@st.composite
def objects(draw: st.DrawFn, inside: st.SearchStrategy[Any]) -> Any:
    properties = draw(st.dictionaries(NAMES, inside, max_size=4))
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if properties and draw(st.booleans()):
        schema["required"] = draw(
            st.lists(st.sampled_from(sorted(properties)), unique=True, max_size=4)
        )
    if draw(st.booleans()):
        schema["additionalProperties"] = False
    return schema


@st.composite
def arrays(draw: st.DrawFn, inside: st.SearchStrategy[Any]) -> Any:
    schema: dict[str, Any] = {"type": "array", "items": draw(inside)}
    if draw(st.booleans()):
        schema["minItems"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        schema["maxItems"] = draw(st.integers(3, 4))
    return schema


def combined(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inside, min_size=1, max_size=3)
    return st.one_of(
        objects(inside),
        arrays(inside),
        several.map(lambda branches: {"anyOf": branches}),
        inside.map(lambda one: {"allOf": [one]}),
        inside.map(lambda one: {"oneOf": [one, {"type": "object", "required": ["!"]}]}),
    )


NODE = {
    "type": "object",
    "properties": {
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "more": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
    "required": ["next", "more"],
    "additionalProperties": False,
}


@settings(max_examples=300)
@given(st.recursive(SCALARS, combined, max_leaves=12).filter(lambda one: one is not True))
def test_what_is_made_is_valid_under_any_schema(schema: Any) -> None:
    check({**schema, "$defs": {"node": NODE}})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *("type", "enum", "const", "properties", "required", "items", "allOf", "anyOf"),
                    *("oneOf", "$ref", "minimum", "maxLength", "pattern", "minItems", "if", "not"),
                    *("multipleOf", "format", "prefixItems", "additionalProperties", "contains"),
                ]
            ),
            inside,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "items", "anyOf"]), ANYTHING))
@example({"properties": {"type": {"$ref": []}}})
@example({"type": "array", "items": {"$ref": {}}})
@example({"anyOf": [{"$ref": []}, {}]})
def test_nonsense_does_no_harm(schema: dict[str, Any]) -> None:
    with suppress(Unfillable):
        filled(schema, WORDS)


@given(st.from_regex(r"[a-c\[\](){}|*+?.^$\\dw0-9,:-]{0,20}", fullmatch=True))
def test_no_pattern_does_harm(pattern: str) -> None:
    with suppress(Unreadable):
        matching(pattern)
