"""Two JSON schemas as one: what is valid under both is valid under that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.agency.model import Json
from gateway.agency.models.rehearsal.schema import Schema, members, types

_LARGER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SMALLER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EACH: Final = ("patternProperties", "dependentSchemas")
_SCHEMAS: Final = ("items", "additionalProperties", "contains", "propertyNames")


class Contradiction(Exception):
    """No value is valid under both schemas."""


def both(one: Schema, other: Schema) -> Schema:
    """Raises Contradiction, where that is easily seen."""
    merged: dict[str, Json] = dict(one)
    for name, value in other.items():
        merged[name] = _together(name, merged[name], value) if name in merged else value
    if "properties" in one or "properties" in other:
        merged["properties"] = _properties(one, other)
    return merged


def _together(name: str, one: Json, other: Json) -> Json:
    if one == other:
        return one
    if name in _LARGER:
        return _chosen(max, one, other)
    if name in _SMALLER:
        return _chosen(min, one, other)
    if name in _SCHEMAS:
        return conjoined(one, other)
    if name in _EACH and isinstance(one, Mapping) and isinstance(other, Mapping):
        shared = {key: conjoined(one[key], other[key]) for key in one if key in other}
        return {**one, **other, **shared}
    return _listed(name, one, other)


def _listed(name: str, one: Json, other: Json) -> Json:
    match name, one, other:
        case "const", _, _:
            raise Contradiction
        case "type", _, _:
            return _common_types({"type": one}, {"type": other})
        case "enum", list(), list():
            return _some([value for value in one if value in other])
        case "required", list(), list():
            return list(dict.fromkeys(str(value) for value in (*one, *other)))
        case _:
            return one  # whoever checks the whole checks the other one


def conjoined(one: Json, other: Json) -> Json:
    """Two schemas, of which each may be true or false."""
    if one is False or other is False:
        return False
    if not isinstance(one, Mapping):
        return other
    return both(one, other) if isinstance(other, Mapping) else one


def _properties(one: Schema, other: Schema) -> Json:
    """A property that one schema names is additional for the other one, unless that names it,
    too."""
    mine, others = members(one, "properties"), members(other, "properties")
    merged: dict[str, Json] = {}
    for name in dict.fromkeys((*mine, *others)):
        left = mine[name] if name in mine else one.get("additionalProperties", True)
        right = others[name] if name in others else other.get("additionalProperties", True)
        try:
            merged[name] = conjoined(left, right)
        except Contradiction:
            merged[name] = False
    return merged


def _common_types(one: Schema, other: Schema) -> Json:
    left, right = types(one) or [], types(other) or []
    common = [kind for kind in left if kind in right]
    if "integer" not in common and "integer" in (*left, *right) and "number" in (*left, *right):
        common.append("integer")
    return list(_some(common))


def _some(values: list[Json] | list[str]) -> list[Json]:
    if not values:
        raise Contradiction
    return [*values]


def _chosen(choose: Callable[[float, float], float], one: Json, other: Json) -> Json:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return choose(one, other)
    return other
