"""The format that a client wants: whether it can be used, and whether an answer has it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from time import process_time

import psutil
import pytest
import pytest_asyncio

from gateway.agency.model import Json
from gateway.agency.run.checks import FormatChecks
from gateway.agency.run.examiner import CPU_S
from gateway.agency.turn.answer_format import MAX_MEMBERS, MAX_SCHEMA, MAX_TOLD, outsize

POINT: dict[str, Json] = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}


class Asking:
    """What the gateway asks of its checks."""

    def __init__(self, checks: FormatChecks) -> None:
        self.checks = checks

    async def unfit(self, text: str, schema: dict[str, Json] | None = None) -> str | None:
        if schema is None:
            return await self.checks.misfit(text, {"type": "json_object"})
        wanted: dict[str, Json] = {"type": "json_schema", "json_schema": {"schema": schema}}
        return await self.checks.misfit(text, wanted)

    async def unusable(self, schema: dict[str, Json]) -> str | None:
        wanted: dict[str, Json] = {"type": "json_schema", "json_schema": {"schema": schema}}
        return outsize(schema) or await self.checks.unusable(wanted)


@pytest_asyncio.fixture
async def asking() -> AsyncIterator[Asking]:
    async with FormatChecks() as checks:
        yield Asking(checks)


@pytest.mark.parametrize("text", ["{}", ' {"a": [1]}\n'])
async def test_one_json_object_is_what_json_object_wants(asking: Asking, text: str) -> None:
    assert await asking.unfit(text) is None


@pytest.mark.parametrize(
    "text", ["", "Hello", "[]", "1", '{"a": 1', "```json\n{}\n```", "[" * 2000]
)
async def test_anything_else_is_not(asking: Asking, text: str) -> None:
    assert await asking.unfit(text)
    assert await asking.unfit(text, {"type": "object"})


async def test_an_answer_is_checked_against_the_schema(asking: Asking) -> None:
    assert await asking.unfit('{"x": 1, "y": 2}', POINT) is None
    assert "$.x" in (await asking.unfit('{"x": "one"}', POINT) or "")
    assert '"x" is a required property' in (await asking.unfit("{}", POINT) or "")
    assert await asking.unfit('{"x": 1, "z": 2}', POINT)


@pytest.mark.parametrize(
    ("schema", "fits", "fails"),
    [
        ({"pattern": r"^\d{4}-\d{2}$"}, '"2026-11"', '"2026"'),
        ({"pattern": r"^(?!\.)[a-z.]+@[a-z]+$"}, '"a.b@c"', '".b@c"'),  # zod's for e-mail begins so
        ({"patternProperties": {"^n": {"type": "integer"}}}, '{"n": 1}', '{"n": "1"}'),
        ({"uniqueItems": True}, '[{"a": 1}, {"a": 2}]', '[{"a": 1}, {"a": 1}]'),
        ({"additionalProperties": False, "patternProperties": {"^x": {}}}, '{"x": 1}', '{"y": 1}'),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "items": [{"type": "string"}],
                "additionalItems": False,
            },
            '["a"]',
            '["a", 1]',
        ),
        ({"$schema": "https://example.com/mine", "type": "integer"}, "1", "1.5"),
    ],
)
async def test_every_keyword_counts(
    asking: Asking, schema: dict[str, Json], fits: str, fails: str
) -> None:
    assert await asking.unusable(schema) is None
    assert await asking.unfit(fits, schema) is None
    assert await asking.unfit(fails, schema)


async def test_a_schema_may_refer_to_itself(asking: Asking) -> None:
    tree: dict[str, Json] = {
        "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "$ref": "#/$defs/node",
    }
    assert await asking.unusable(tree) is None
    assert await asking.unfit("[[], [[]]]", tree) is None
    assert await asking.unfit("[[], [1]]", tree)


def nested(levels: int) -> dict[str, Json]:
    schema: dict[str, Json] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"required": "x"},
        {"pattern": "("},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/missing"},
        {"properties": {"x": {"$ref": "#nowhere"}}},
        {"description": "x" * MAX_SCHEMA},
        {"type": [{str(n): 0} for n in range(1_500)]},
        {"properties": {"x": {"enum": [{"n": n} for n in range(1_500)]}}},
        {"required": ["x"] * MAX_MEMBERS},
        nested(200),
        nested(900),
    ],
)
async def test_a_schema_that_can_never_be_checked_is_refused(
    asking: Asking, schema: dict[str, Json]
) -> None:
    why = await asking.unusable(schema)
    assert why
    assert len(why) < MAX_TOLD


async def test_a_reference_to_elsewhere_is_told_in_one_sentence(asking: Asking) -> None:
    why = await asking.unusable({"$ref": "https://example.com/schema.json"})
    assert why == (
        "There is nothing at 'https://example.com/schema.json': a schema can only refer to itself."
    )


async def test_properties_may_have_the_names_of_keywords(asking: Asking) -> None:
    names: dict[str, Json] = {
        name: {"type": "integer"}
        for name in ("pattern", "$schema", "uniqueItems", "$ref", "enum", "type")
    }
    schema: dict[str, Json] = {"type": "object", "properties": names}
    assert await asking.unusable(schema) is None
    for name in names:
        assert await asking.unfit(json.dumps({name: 1}), schema) is None
        assert await asking.unfit(json.dumps({name: "one"}), schema)


def doubling(levels: int, by: str = "allOf") -> dict[str, Json]:
    defs: dict[str, Json] = {
        f"n{level}": {by: [{"$ref": f"#/$defs/n{level + 1}"}] * 2} for level in range(levels)
    }
    return {"$ref": "#/$defs/n0", "$defs": {**defs, f"n{levels}": {"type": "integer"}}}


BRANCHING: dict[str, Json] = {"anyOf": [{"items": {"$ref": "#"}}] * 2, "type": "array"}
BOMBS: list[tuple[dict[str, Json], str]] = [
    (doubling(50), "1"),
    (doubling(15, "anyOf"), '"x"'),  # quick to find, slow to explain
    (doubling(50, "oneOf"), "1"),
    ({"$ref": "#"}, "1"),
    (BRANCHING, "[" * 60 + "1" + "]" * 60),
    ({"type": "string", "pattern": "^(a+)+$"}, json.dumps("a" * 60 + "!")),
    ({"pattern": r"^(?=(a+)+$)\1"}, json.dumps("a" * 60 + "!")),
    ({"pattern": r"(\w{1,200}){1,4}x"}, json.dumps("a" * 300_000)),
    ({"uniqueItems": True}, json.dumps([{"n": n} for n in range(20_000)])),
    ({"patternProperties": {"^(a+)+$": {}}}, json.dumps({"a" * 60 + "!": 1})),
    ({"items": {"enum": [{"n": n} for n in range(1_000)]}}, json.dumps([{"n": 999}] * 30_000)),
]


@pytest.mark.parametrize(("schema", "text"), BOMBS)
async def test_no_schema_can_keep_the_process_busy(
    asking: Asking, schema: dict[str, Json], text: str
) -> None:
    began = process_time()
    assert await asking.unusable(schema) is None
    await asking.unfit(text, schema)
    assert process_time() - began < CPU_S


@pytest.mark.parametrize("bomb", [(doubling(50), "1"), (doubling(50, "anyOf"), '"x"')])
async def test_a_check_that_takes_too_long_is_given_up_and_the_next_one_is_made(
    asking: Asking, bomb: tuple[dict[str, Json], str]
) -> None:
    schema, text = bomb
    why = await asking.unfit(text, schema)
    assert why is not None
    assert "too intricate" in why
    assert await asking.unfit('{"x": 1}', POINT) is None
    assert await asking.unfit('{"x": "one"}', POINT)


async def test_a_schema_that_takes_too_long_to_prepare_is_refused(asking: Asking) -> None:
    patterns: list[Json] = [{"pattern": rf"\w{{{n}}}\w{{1,99}}\p{{L}}{{99}}"} for n in range(1_500)]
    assert await asking.unusable({"allOf": patterns})


async def test_a_check_outlives_the_process_that_makes_it(asking: Asking) -> None:
    assert await asking.unfit('{"x": 1}', POINT) is None
    os.kill(examiners()[0], signal.SIGKILL)
    assert await asking.unfit('{"x": "one"}', POINT)


async def test_a_check_that_was_cancelled_leaves_no_answer_to_the_next(asking: Asking) -> None:
    assert await asking.unfit('{"x": 1}', POINT) is None
    slow = asyncio.create_task(asking.unfit("1", doubling(50)))
    await asyncio.sleep(0.02)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert await asking.unfit('{"x": 1}', POINT) is None


async def test_checks_leave_no_process_behind() -> None:
    async with FormatChecks() as checks:
        assert await Asking(checks).unfit('{"x": 1}', POINT) is None
        assert len(examiners()) == 1
    assert not examiners()


def examiners() -> list[int]:
    """The processes that this one has started for checks."""
    return [
        child.pid
        for child in psutil.Process().children()
        if any("examiner" in argument for argument in child.cmdline())
    ]


async def test_what_is_told_to_the_model_is_short_and_says_what_is_wrong(asking: Asking) -> None:
    told = await asking.unfit(json.dumps({"x": "y" * 100_000}), POINT) or ""
    assert len(told) < MAX_TOLD + 100
    assert 'is not of type "integer"' in told
