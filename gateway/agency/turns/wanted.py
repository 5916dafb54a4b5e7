"""The format that a client wants of its answer (`response_format`): can it be used, is it met.

A client's schema is as foreign as a model's answer, and together they could keep this process busy
for ever. So nothing is fetched, time is short, and what may take more than linear time is told to
the model but not checked: `pattern`, `patternProperties` and `uniqueItems`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from time import perf_counter
from typing import TypeAlias

import msgspec
from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.validators import create
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from gateway.agency.model import Json

MAX_SCHEMA = 64_000
"""Bytes of a client's schema."""
MAX_SECONDS = 0.25
"""For one check: nothing else runs meanwhile."""
MAX_TOLD = 500
"""Characters of a violation that are told to the model."""


def misfit(text: str, response_format: Mapping[str, Json]) -> str | None:
    """Why an answer is not in the format that the client wants; None if it is."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return f"The end user's program wants JSON, but your context is not: {error}"
    match response_format.get("json_schema"):
        case {"schema": dict(schema)}:
            return _violation(value, schema)
        case _ if not isinstance(value, dict):
            return "The end user's program wants one JSON object as your context."
        case _:
            return None


def unusable_schema(schema: Mapping[str, Json]) -> str | None:
    """Why a client's schema can't be used; None if it can."""
    encoded = msgspec.json.encode(schema)
    if len(encoded) > MAX_SCHEMA:
        return f"It is longer than {MAX_SCHEMA:,} bytes."
    return _unusable(encoded)


@lru_cache(maxsize=256)
def _unusable(encoded: bytes) -> str | None:
    schema = msgspec.json.decode(encoded)
    try:
        Draft202012Validator.check_schema(schema)
        resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
        for reference in _references(schema):
            resolver.lookup(reference)
    except SchemaError as error:
        return error.message[:MAX_TOLD]
    except Unresolvable:
        return f"There is nothing at {reference[:MAX_TOLD]!r}, which it refers to."
    return None


def _references(schema: Json) -> Iterator[str]:
    match schema:
        case dict():
            for name, member in schema.items():
                if name in ("$ref", "$dynamicRef") and isinstance(member, str):
                    yield member
                yield from _references(member)
        case list():
            for item in schema:
                yield from _references(item)
        case _:
            pass


class _TooLong(Exception):
    """A check takes too much time."""


_Keyword: TypeAlias = Callable[
    [object, object, Json, Mapping[str, object]], Iterator[ValidationError]
]
_deadline: ContextVar[float] = ContextVar("deadline")


def _in_time(keyword: _Keyword) -> _Keyword:
    def check(
        validator: object, value: object, instance: Json, schema: Mapping[str, object]
    ) -> Iterator[ValidationError]:
        if perf_counter() > _deadline.get():
            raise _TooLong
        return keyword(validator, value, instance, schema)

    return check


_Checker = create(
    meta_schema=Draft202012Validator.META_SCHEMA,
    validators={k: _in_time(check) for k, check in Draft202012Validator.VALIDATORS.items()},
    type_checker=Draft202012Validator.TYPE_CHECKER,
)


def _violation(value: Json, schema: Mapping[str, Json]) -> str | None:
    token = _deadline.set(perf_counter() + MAX_SECONDS)
    try:
        checker = _Checker(_members(schema), registry=Registry())
        error = next(checker.iter_errors(value), None)
    except (_TooLong, RecursionError, Unresolvable):
        return "Your context, or the wanted JSON schema, is too intricate to be checked."
    finally:
        _deadline.reset(token)
    if error is None:
        return None
    told = f"at {error.json_path}: {error.message}"[:MAX_TOLD]
    return f"Your context does not fit the wanted JSON schema {told}"


def _members(schema: Mapping[str, Json]) -> dict[str, Json]:
    """A schema without what is not checked. `$schema` would bring in another checker."""
    return {k: _checkable(v) for k, v in schema.items() if not _unchecked(k, v, schema)}


def _checkable(schema: Json) -> Json:
    match schema:
        case dict():
            return _members(schema)
        case list():
            return [_checkable(item) for item in schema]
        case _:
            return schema


def _unchecked(name: str, value: Json, siblings: Mapping[str, Json]) -> bool:
    match name:
        case "$schema" | "pattern":
            return isinstance(value, str)  # else it is the name of a property
        case "uniqueItems":
            return isinstance(value, bool)
        case "patternProperties":
            return True
        case "additionalProperties" | "unevaluatedProperties":
            return "patternProperties" in siblings
        case _:
            return False
