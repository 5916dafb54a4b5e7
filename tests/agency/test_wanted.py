"""The format that a client wants: whether it can be used, and whether an answer has it."""

from __future__ import annotations

import json
from time import perf_counter

import pytest

from gateway.agency.model import Json
from gateway.agency.turns.wanted import MAX_SCHEMA, MAX_TOLD, misfit, unusable_schema

POINT: dict[str, Json] = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}


def unfit(text: str, schema: dict[str, Json] | None = None) -> str | None:
    if schema is None:
        return misfit(text, {"type": "json_object"})
    return misfit(text, {"type": "json_schema", "json_schema": {"schema": schema}})


@pytest.mark.parametrize("text", ["{}", ' {"a": [1]}\n'])
def test_one_json_object_is_what_json_object_wants(text: str) -> None:
    assert unfit(text) is None


@pytest.mark.parametrize(
    "text", ["", "Hello", "[]", "1", '{"a": 1', "```json\n{}\n```", "[" * 2000]
)
def test_anything_else_is_not(text: str) -> None:
    assert unfit(text)


def test_an_answer_is_checked_against_the_schema() -> None:
    assert unfit('{"x": 1, "y": 2}', POINT) is None
    assert "$.x" in (unfit('{"x": "one"}', POINT) or "")
    assert "'x' is a required property" in (unfit("{}", POINT) or "")
    assert unfit('{"x": 1, "z": 2}', POINT)


def test_a_schema_may_refer_to_itself() -> None:
    tree: dict[str, Json] = {
        "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "$ref": "#/$defs/node",
    }
    assert unusable_schema(tree) is None
    assert unfit("[[], [[]]]", tree) is None
    assert unfit("[[], [1]]", tree)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"required": "x"},
        {"pattern": "("},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"properties": {"x": {"$ref": "#nowhere"}}},
        {"description": "x" * MAX_SCHEMA},
    ],
)
def test_a_schema_that_can_never_be_checked_is_refused(schema: dict[str, Json]) -> None:
    assert unusable_schema(schema)


def test_properties_may_have_the_names_of_keywords() -> None:
    names: dict[str, Json] = {
        name: {"type": "integer"} for name in ("pattern", "$schema", "uniqueItems", "$ref")
    }
    schema: dict[str, Json] = {"type": "object", "properties": names}
    assert unusable_schema(schema) is None
    for name in names:
        assert unfit(json.dumps({name: 1}), schema) is None
        assert unfit(json.dumps({name: "one"}), schema)


def doubling(levels: int) -> dict[str, Json]:
    defs: dict[str, Json] = {
        f"n{level}": {"allOf": [{"$ref": f"#/$defs/n{level + 1}"}] * 2} for level in range(levels)
    }
    return {"$ref": "#/$defs/n0", "$defs": {**defs, f"n{levels}": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (doubling(50), "1"),
        ({"$ref": "#"}, "1"),
        ({"type": "string", "pattern": "^(a+)+$"}, json.dumps("a" * 60 + "!")),
        ({"uniqueItems": True}, json.dumps([{"n": n} for n in range(20_000)])),
        ({"patternProperties": {"^(a+)+$": {}}}, json.dumps({"a" * 60 + "!": 1})),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "^(a+)+$"},
            json.dumps("a" * 60 + "!"),
        ),
    ],
)
def test_no_schema_can_keep_the_process_busy(schema: dict[str, Json], text: str) -> None:
    assert unusable_schema(schema) is None
    began = perf_counter()
    unfit(text, schema)
    assert perf_counter() - began < 3


def test_what_is_told_to_the_model_is_short() -> None:
    assert len(unfit(json.dumps({"x": "y" * 100_000}), POINT) or "") < MAX_TOLD + 100
