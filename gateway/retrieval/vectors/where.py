"""Filters on metadata: read once, and said in the words of both halves of a search.

Postgres is asked too for what Chroma finds, so what a filter means is what `to_jsonpath` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TypeAlias, assert_never

import msgspec

from gateway.errors import InvalidRequest

Scalar: TypeAlias = str | float | bool
Metadata: TypeAlias = Mapping[str, Scalar]

MOST_KEYS = 32
MOST_TERMS = 64
MOST_DEEP = 8
MOST_TEXT = 1_000
"""Characters of a value."""
EXACT = 2**53
"""A number of JSON beyond it means another one to everybody who reads it."""

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,63}")
_EACH = {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte"}
_ORDER = {"$gt", "$gte", "$lt", "$lte"}
_SIGNS = {"$eq": "==", "$ne": "==", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison; `$in` and `$nin` have several values of one type, the others one."""

    key: str
    operator: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """All of the parts, or any of them. There is at least one."""

    all: bool
    parts: tuple[Where, ...]


Where: TypeAlias = Term | Group


def metadata(given: object) -> dict[str, Scalar]:
    """A document's metadata. Raises InvalidRequest. Whole numbers become floats, as in JSON."""
    if not isinstance(given, dict):
        raise _bad("metadata is an object.", "metadata")
    if len(given) > MOST_KEYS:
        raise _bad(f"metadata has at most {MOST_KEYS} keys.", "metadata")
    return {_key(key, "metadata"): _scalar(value, "metadata") for key, value in given.items()}


def read(given: object) -> Where | None:
    """The filter of a request; None for an empty one. Raises InvalidRequest."""
    if given is None or given == {}:
        return None
    found = _read(given, MOST_DEEP)
    if _size(found) > MOST_TERMS:
        raise _many()
    return found


def _few(parts: Sized) -> None:
    """Before they are read: each is a comparison at least."""
    if len(parts) > MOST_TERMS:
        raise _many()


def _many() -> InvalidRequest:
    return _bad(f"where has at most {MOST_TERMS} comparisons.")


def _read(given: object, deep: int) -> Where:
    if not isinstance(given, dict) or not given:
        raise _bad("where is an object of keys and values.")
    if deep == 0:
        raise _bad(f"where nests at most {MOST_DEEP} deep.")
    _few(given)
    parts = [part for key, value in given.items() for part in _entry(key, value, deep)]
    return parts[0] if len(parts) == 1 else Group(True, tuple(parts))


def _entry(key: object, value: object, deep: int) -> list[Where]:
    if key in ("$and", "$or"):
        if not isinstance(value, list) or not value:
            raise _bad(f"{key} takes a list of filters.")
        _few(value)
        return [Group(key == "$and", tuple(_read(part, deep - 1) for part in value))]
    name = _key(key, "where")
    if not isinstance(value, dict):
        return [Term(name, "$eq", (_scalar(value, "where"),))]
    if not value:
        raise _bad(f"{name} is compared with nothing.")
    _few(value)
    return [_term(name, operator, operand) for operator, operand in value.items()]


def _term(key: str, operator: object, operand: object) -> Term:
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list) or not 1 <= len(operand) <= MOST_TERMS:
            raise _bad(f"{operator} takes a list of 1 to {MOST_TERMS} values.")
        values = tuple(_scalar(value, "where") for value in operand)
        if len({type(value) for value in values}) > 1:
            raise _bad(f"The values of {operator} are of one type.")
        return Term(key, str(operator), values)
    if operator not in _EACH:
        known = ", ".join(sorted(_EACH | {"$in", "$nin"}))
        raise _bad(f"{str(operator)[:32]!r} is no comparison; there are {known}.")
    value = _scalar(operand, "where")
    if operator in _ORDER and not isinstance(value, float):
        raise _bad(f"{operator} compares numbers.")
    return Term(key, str(operator), (value,))


def _key(key: object, param: str) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise _bad("A key has 1 to 64 of: letters, digits, _ . - and spaces.", param)
    return key


def _scalar(value: object, param: str) -> Scalar:
    match value:
        case bool():
            return value
        case int() | float() if abs(value) <= EXACT:
            return float(value)
        case str() if len(value) <= MOST_TEXT and "\0" not in value:
            return value
    raise _bad(
        f"A value is a text of at most {MOST_TEXT} characters, true, false, or a number up to "
        "2^53.",
        param,
    )


def _size(where: Where) -> int:
    return 1 if isinstance(where, Term) else sum(_size(part) for part in where.parts)


def _bad(sentence: str, param: str = "where") -> InvalidRequest:
    return InvalidRequest(sentence, param=param)


# ---- in the words of each half ------------------------------------------------------------------


def to_chroma(where: Where) -> dict[str, object]:
    match where:
        case Term(key, "$in" | "$nin" as operator, values):
            return {key: {operator: list(values)}}
        case Term(key, operator, values):
            return {key: {operator: values[0]}}
        case Group(_, (only,)):
            return to_chroma(only)
        case Group(every, parts):
            return {"$and" if every else "$or": [to_chroma(part) for part in parts]}
        case never:
            assert_never(never)


def to_jsonpath(where: Where) -> str:
    """Returns a JSON path. As in Chroma, a document without the key is unequal to every value."""
    match where:
        case Term(key, "$in" | "$nin" as operator, values):
            found = _any(key, "==", values)
            return f"!({found})" if operator == "$nin" else f"({found})"
        case Term(key, operator, values):
            found = _any(key, _SIGNS[operator], values)
            return f"!({found})" if operator == "$ne" else f"({found})"
        case Group(every, parts):
            return f"({(' && ' if every else ' || ').join(map(to_jsonpath, parts))})"
        case never:
            assert_never(never)


def _any(key: str, sign: str, values: Sequence[Scalar]) -> str:
    """`exists` is never unknown, as a comparison of two types is: then its reverse is true."""
    tests = " || ".join(f"@ {sign} {msgspec.json.encode(value).decode()}" for value in values)
    return f"exists($.{msgspec.json.encode(key).decode()} ? ({tests}))"
