"""JSON Schema as generators of clients read it best.

Litestar writes each optional member as `oneOf` with a branch `null`. Several generators make a type
of its own of that, or none that compiles; all of them understand `type: ["string", "null"]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

LITERAL = frozenset({"example", "examples", "default", "enum", "const"})
"""Members that hold values, not schemas."""
NAMED = frozenset({"properties", "schemas", "paths", "responses", "headers", "content"})
"""Members whose own members are named by what is described."""
NULL: Mapping[str, object] = {"type": "null"}


def settled(node: object) -> object:
    """The same part of a document with its unions in their plainest form."""
    if isinstance(node, list):
        return [settled(one) for one in node]
    if not _is_object(node):
        return node
    parts = {name: _part(name, one) for name, one in node.items()}
    if isinstance(parts.get("in"), str) and _is_object(schema := parts.get("schema")):
        return parts | {"schema": _without_null(schema)}
    return _joined(parts)


def _is_object(node: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(node, Mapping)


def _part(name: str, part: object) -> object:
    if name in LITERAL:
        return part
    if name in NAMED and _is_object(part):
        return {key: settled(one) for key, one in part.items()}
    return settled(part)


def _joined(schema: Mapping[str, object]) -> dict[str, object]:
    """A union of one form, nullable or not, is that form."""
    branches = schema.get("oneOf")
    if not isinstance(branches, list):
        return dict(schema)
    rest = {name: one for name, one in schema.items() if name != "oneOf"}
    forms = [one for one in branches if one != NULL]
    if len(forms) != 1 or not _is_object(form := forms[0]):
        return {"anyOf": branches, **rest}
    if len(forms) == len(branches):
        return {**form, **rest}
    if "$ref" in form or not isinstance(kind := form.get("type"), str):
        return {"anyOf": branches, **rest}
    values = form.get("enum")
    enum = {"enum": [*values, None]} if isinstance(values, list) and None not in values else {}
    return {**form, **enum, "type": [kind, "null"], **rest}


def _without_null(schema: Mapping[str, object]) -> dict[str, object]:
    """A parameter is a text, and so never null: it is left out."""
    kept = dict(schema)
    if isinstance(kinds := schema.get("type"), list):
        kinds = [one for one in kinds if one != "null"]
        kept["type"] = kinds[0] if len(kinds) == 1 else kinds
    if isinstance(values := schema.get("enum"), list):
        kept["enum"] = [one for one in values if one is not None]
    if isinstance(branches := schema.get("anyOf"), list):
        del kept["anyOf"]
        kept |= _joined({"oneOf": [one for one in branches if one != NULL]})
    return kept
