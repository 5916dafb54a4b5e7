"""The format that a client wants of its answer (`response_format`): can it be used, is it met.

Pure, and as slow as a client's schema makes it: references that double, patterns and large enums
take exponential time together with an answer. `checks` runs it in a process of its own and bounds
its time. `outsize` alone is quick whatever it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NoReturn

import jsonschema_rs
import msgspec

from gateway.agency.model import Json

MAX_SCHEMA = 64_000
"""Bytes of a client's schema."""
MAX_DEPTH = 64
"""Levels of nesting."""
MAX_MEMBERS = 10_000
"""Members and items, all levels together."""
MAX_CHOICES = {"enum": 1_000, "type": 7}
"""Items of a list that a value is compared with one after the other. JSON has seven types."""
MAX_TOLD = 500
"""Characters of a violation that are told to the model."""
DRAFTS = ("draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12")
NOTHING = "There is nothing at"
INTRICATE = "Your context, or the wanted JSON schema, is too intricate to be checked."


def outsize(schema: Mapping[str, Json]) -> str | None:
    """Returns why a client's schema is too large to be looked at; None if it is not. Takes linear
    time."""
    left: list[tuple[dict[str, Json] | list[Json], int]] = [(dict(schema), 1)]
    members = 0
    while left:
        nested, depth = left.pop()
        members += len(nested)
        if depth > MAX_DEPTH:
            return f"It is nested more than {MAX_DEPTH} levels deep."
        if members > MAX_MEMBERS:
            return f"It has more than {MAX_MEMBERS:,} members and items."
        if isinstance(nested, dict):
            for name, most in MAX_CHOICES.items():
                if isinstance(choices := nested.get(name), list) and len(choices) > most:
                    return f"Its '{name}' lists more than {most:,}."
        values = nested.values() if isinstance(nested, dict) else nested
        left += [(value, depth + 1) for value in values if isinstance(value, (dict, list))]
    if len(msgspec.json.encode(schema)) > MAX_SCHEMA:
        return f"It is longer than {MAX_SCHEMA:,} bytes."
    return None


def unusable(schema: bytes) -> str | None:
    """Returns why a client's schema can't be used; None if it can."""
    try:
        _validator(schema)
    except ValueError as error:  # not valid itself, or it refers to what is not in it
        told = str(getattr(error, "message", error))
        return _short(told[max(0, told.find(NOTHING)) :])
    return None


def misfit(text: str, schema: bytes | None) -> str | None:
    """Returns why an answer is not in the format that the client wants; None if it is. Without a
    schema it wants a JSON object."""
    try:
        value: Json = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return f"The end user's program wants JSON, but your context is not: {error}"
    if schema is not None:
        return _violation(value, schema)
    if not isinstance(value, dict):
        return "The end user's program wants one JSON object as your context."
    return None


def _violation(value: Json, schema: bytes) -> str | None:
    try:
        validator = _validator(schema)
        if validator.is_valid(value):
            return None
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        told = f"at {_path(error.instance_path)}: {_short(error.message)}"
        return f"Your context does not fit the wanted JSON schema {told}"
    return INTRICATE


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> jsonschema_rs.Validator:
    """Returns the validator of the draft that the schema names. Any other name is passed over, and
    nothing is fetched. A `format` is not checked: by the standard it only tells."""
    members: dict[str, Json] = msgspec.json.decode(schema, type=dict)
    if not any(draft in str(members.get("$schema")) for draft in DRAFTS):
        members.pop("$schema", None)
    return jsonschema_rs.validator_for(members, retriever=_refuse, validate_formats=False)


def _refuse(address: str) -> NoReturn:
    raise ValueError(f"{NOTHING} {address!r}: a schema can only refer to itself.")


def _path(steps: list[str | int]) -> str:
    """`$.members[3].name`"""
    path = "$" + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)
    return path if len(path) <= MAX_TOLD // 4 else f"…{path[-MAX_TOLD // 4 :]}"


def _short(message: str) -> str:
    """Shortens a message, in which the fault stands last, behind a value that may be as long as the
    answer."""
    if len(message) <= MAX_TOLD // 2:
        return message
    return f"{message[: MAX_TOLD // 4]} … {message[-MAX_TOLD // 4 :]}"
