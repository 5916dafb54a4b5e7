"""What a JSON schema says, read with tolerance: clients write anything. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from gateway.agency.model import Json

Schema: TypeAlias = Mapping[str, Json]

LARGEST: Final = 100_000
"""Items, members or characters that a schema may demand."""


class Unfillable(Exception):
    """No value that is valid was found."""


def types(schema: Schema) -> list[str] | None:
    """The types that it names; None if it names none."""
    match schema.get("type"):
        case str() as one:
            return [one]
        case list() as several:
            return [one for one in several if isinstance(one, str)]
        case _:
            return None


def members(schema: Schema, name: str) -> Schema:
    """A member that maps names to schemas; empty if there is none."""
    found = schema.get(name)
    return found if isinstance(found, Mapping) else {}


def of_kind(values: Sequence[Json], kinds: Sequence[str] | None) -> list[Json]:
    """Returns the values of these types. Raises Unfillable if there are none."""
    found = [one for one in values if kinds is None or _kind(one) & {*kinds}]
    if not found:
        raise Unfillable
    return found


def _kind(value: Json) -> set[str]:
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"integer", "number"} if value.is_integer() else {"number"}
        case str():
            return {"string"}
        case Mapping():
            return {"object"}
        case _:
            return {"array"}


def weight(branch: Schema) -> int:
    kinds = types(branch) or []
    if "$ref" in branch or "object" in kinds or "properties" in branch:
        return 2
    return 1 if "array" in kinds or "items" in branch else 0


def required(schema: Schema) -> list[str]:
    """The members that must be there, with those that they bring along."""
    given = schema.get("required")
    names = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
    dependent = members(schema, "dependentRequired")
    found: dict[str, None] = {}
    while names:
        name = names.pop(0)
        more = dependent.get(name)
        if name not in found and isinstance(more, list):
            names += [one for one in more if isinstance(one, str)]
        found[name] = None
    return list(found)


def member_of(schema: Schema, name: str) -> Json:
    """The schema of a member. Which pattern a name matches is not looked at: it is the first."""
    named = members(schema, "properties")
    if name in named:
        return named[name]
    patterns = list(members(schema, "patternProperties").values())
    return patterns[0] if patterns else schema.get("additionalProperties", True)


def count(schema: Schema, name: str, default: int = 0) -> int:
    """Raises Unfillable for a count that is too large."""
    value = schema.get(name, default)
    if not isinstance(value, int | float) or value > LARGEST:
        if name.startswith("max"):
            return LARGEST
        raise Unfillable
    return int(value)
