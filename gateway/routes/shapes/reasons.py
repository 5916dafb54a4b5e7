"""What is wrong with a body: everything at once, a reason for each field. Pure.

    read(b'{"owner": {"type": "team"}}', CreateConversation)

raises Violations with reasons such as `owner.type must be "user".` The rules are those of the
Struct: its types, and `Meta` with lengths, bounds and patterns. `Meta(extra={"reason": …})` gives a
field's violation a code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar, cast

import msgspec
from msgspec import inspect

from gateway.errors import InvalidRequest

MALFORMED = "malformed_body"
MISSING = "missing_field"
INVALID = "invalid_field"

KINDS: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}
"""What JSON values are called."""

Wanted = TypeVar("Wanted", bound=msgspec.Struct)
Found = Iterator["Reason"]


@dataclass(frozen=True, slots=True)
class Reason:
    """`code` is for programs; `message` is a sentence that names the field."""

    code: str
    message: str


class Violations(InvalidRequest):
    """A body that can't be understood, or breaks rules."""

    code = "invalid_request"

    def __init__(self, reasons: Sequence[Reason]) -> None:
        first, count = reasons[0].message, len(reasons)
        super().__init__(f"{first} ({count} reasons in all)" if count > 1 else first)
        self.reasons = tuple(reasons)


def read(body: bytes, wanted: type[Wanted]) -> Wanted:
    """The body as what it should be. Raises Violations."""
    try:
        value = _decoder(wanted).decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Violations(_reasons(body, wanted) or [Reason(INVALID, f"{error}.")]) from None
    # Postgres has no NUL. Only so written can a text hold one; what merely looks so is looked at.
    if b"\\u0000" in body and (reasons := _reasons(body, wanted)):
        raise Violations(reasons)
    return cast("Wanted", value)


@cache
def _decoder(wanted: type[Wanted]) -> msgspec.json.Decoder[Wanted]:
    return msgspec.json.Decoder(wanted)


def _reasons(body: bytes, wanted: type[msgspec.Struct]) -> list[Reason]:
    try:
        value: object = msgspec.json.decode(body)
    except UnicodeError:
        return [Reason(MALFORMED, "The body is not UTF-8.")]
    except RecursionError:
        return [Reason(MALFORMED, "The body is nested too deep.")]
    except msgspec.DecodeError as error:
        return [Reason(MALFORMED, f"The body is not JSON: {error}.")]
    return list(_of(inspect.type_info(wanted), value, ""))


def _of(wanted: inspect.Type, value: object, path: str) -> Found:
    match wanted:
        case inspect.Metadata():
            code = (wanted.extra or {}).get("reason")
            for reason in _of(wanted.type, value, path):
                yield replace(reason, code=code) if code else reason
        case inspect.StructType():
            yield from _of_object(wanted, value, path)
        case inspect.ListType():
            yield from _of_list(wanted, value, path)
        case inspect.UnionType():
            yield from _of_union(wanted, value, path)
        case _:
            yield from _of_leaf(wanted, value, path)


def _of_leaf(wanted: inspect.Type, value: object, path: str) -> Found:
    match wanted:
        case inspect.StrType():
            yield from _of_text(wanted, value, path)
        case inspect.IntType():
            yield from _of_number(wanted, value, path)
        case inspect.LiteralType():
            if value not in wanted.values:
                named = " or ".join(f'"{one}"' for one in wanted.values)
                yield _invalid(path, f"must be {named}")
        case inspect.BoolType():
            if not isinstance(value, bool):
                yield _not(value, path, "true or false")
        case _:
            raise TypeError(f"no rule for {wanted}")


def _of_object(wanted: inspect.StructType, value: object, path: str) -> Found:
    if not isinstance(value, dict):
        yield _not(value, path, "an object")
        return
    for field in wanted.fields:
        place = f"{path}.{field.encode_name}" if path else field.encode_name
        if field.encode_name in value:
            yield from _of(field.type, value[field.encode_name], place)
        elif field.required:
            yield Reason(MISSING, f"{place} is missing.")


def _of_list(wanted: inspect.ListType, value: object, path: str) -> Found:
    if not isinstance(value, list):
        yield _not(value, path, "a list")
    elif bound := _outside(len(value), wanted.min_length, wanted.max_length):
        yield _invalid(path, f"must hold {bound} items")
    else:
        for number, item in enumerate(value):
            yield from _of(wanted.item_type, item, f"{path}[{number}]")


def _of_union(wanted: inspect.UnionType, value: object, path: str) -> Found:
    """By the rule for a value of this kind; a value of a kind that has none breaks all of them."""
    if value is None and wanted.includes_none:
        return
    rules = [one for one in wanted.types if not isinstance(one, inspect.NoneType)]
    fitting = [one for one in rules if _name(one) == KINDS[type(value)]]
    if fitting or len(rules) == 1:
        yield from _of((fitting or rules)[0], value, path)
    else:
        yield _not(value, path, " or ".join(map(_name, rules)))


def _name(rule: inspect.Type) -> str:
    """What values are called that a rule is for."""
    match rule:
        case inspect.Metadata():
            return _name(rule.type)
        case inspect.StructType():
            return "an object"
        case inspect.ListType():
            return "a list"
        case inspect.StrType() | inspect.LiteralType():
            return "a string"
        case inspect.IntType():
            return "a number"
        case _:
            return "a boolean"


def _of_text(wanted: inspect.StrType, value: object, path: str) -> Found:
    if not isinstance(value, str):
        yield _not(value, path, "a string")
    elif "\0" in value:
        yield _invalid(path, "must not hold NUL characters")
    elif bound := _outside(len(value), wanted.min_length, wanted.max_length):
        yield _invalid(path, f"must hold {bound} characters")
    elif wanted.pattern is not None and not re.search(wanted.pattern, value):
        yield _invalid(path, f"must match {wanted.pattern}")


def _of_number(wanted: inspect.IntType, value: object, path: str) -> Found:
    if isinstance(value, bool) or not isinstance(value, int):
        yield _not(value, path, "a whole number")
    elif bound := _outside(value, wanted.ge, wanted.le):
        yield _invalid(path, f"must be {bound}")


def _outside(number: int, least: int | None, most: int | None) -> str | None:
    """The bound that a number breaks."""
    if least is not None and number < least:
        return f"at least {least}"
    return f"at most {most}" if most is not None and number > most else None


def _not(value: object, path: str, wanted: str) -> Reason:
    return _invalid(path, f"must be {wanted}, not {KINDS[type(value)]}")


def _invalid(path: str, rule: str) -> Reason:
    return Reason(INVALID, f"{path or 'The body'} {rule}.")
