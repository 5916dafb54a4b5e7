"""A value that is valid under a JSON schema, without a language model.

Pure. The work on any schema is bounded, and a value of a schema that refers to itself has an end.
What is understood: types, `enum`, `const`, bounds, `multipleOf`, `pattern`, common formats,
objects, arrays, `$ref` into the document, `allOf`, `anyOf`, `oneOf`, `if`. What is not (`not`, that
of `oneOf` only one holds, …) is met by luck, and by another turn for whoever finds that it was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from gateway.agency.model import Json
from gateway.agency.models.rehearsal.conjunction import Contradiction, both
from gateway.agency.models.rehearsal.scalars import number, text
from gateway.agency.models.rehearsal.schema import (
    LARGEST,
    Schema,
    Unfillable,
    count,
    member_of,
    members,
    of_kind,
    required,
    types,
    weight,
)

WORK: Final = 20_000
"""Members of schemas that are looked at for one value."""
FRACTIONS: Final = 2
"""From this turn on numbers are no whole ones, if they may be."""
DEEPEST: Final = 40
"""Objects and arrays in each other."""
GENEROUS: Final = 3
"""Down to this depth there is more than must be: optional members, an item of a list."""
_COMBINING: Final = frozenset(
    ("$ref", "allOf", "anyOf", "oneOf", "if", "then", "else", "$defs", "definitions")
)
_UNSURE: Final = ("not", "if", "oneOf", "dependentSchemas", "propertyNames", "maxProperties")
"""Who has one of these is given no optional members."""


_HINTS: Final = {
    "object": ("properties", "required", "additionalProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "contains"),
    "number": ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"),
}
_ANY: Final = ("string", "object", "integer", "array", "boolean")


class Exhausted(Exception):
    """A value of this schema takes too much work."""


def filled(schema: Schema, words: str, turn: int = 0) -> Json:
    """A value that should be valid under the schema; texts that may be any say `words`. Where it is
    not, the next `turn` makes another one. Raises Unfillable."""
    try:
        return _Filler(schema, words, turn, _Work()).fill(schema, _Place())
    except (Exhausted, RecursionError):
        raise Unfillable from None


@dataclass(slots=True)
class _Work:
    left: int = WORK

    def spend(self, members: int) -> None:
        self.left -= members
        if self.left < 0:
            raise Exhausted


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a value: how deep it is, the `nth` of its list, and inside which references."""

    depth: int = 0
    nth: int = 0
    inside: frozenset[str] = frozenset()

    def within(self, schema: Schema, nth: int | None = None) -> _Place:
        """A place one deeper, in a value of this schema."""
        if self.depth >= DEEPEST:
            raise Unfillable
        reference = schema.get("$ref")
        inside = self.inside | {reference} if isinstance(reference, str) else self.inside
        return _Place(self.depth + 1, self.nth if nth is None else nth, inside)

    def leads_back(self, schema: Json) -> bool:
        """Returns True if this place is inside of the reference."""
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        return isinstance(reference, str) and reference in self.inside


@dataclass(frozen=True, slots=True)
class _Filler:
    """Makes one value: `turn` says with which of several branches it begins."""

    root: Schema
    words: str
    turn: int
    work: _Work

    def fill(self, schema: Json, place: _Place) -> Json:
        """Raises Unfillable, Exhausted."""
        if not isinstance(schema, Mapping):
            if schema is False:
                raise Unfillable
            return self.words
        inside = place.within(schema)
        for settled in self._settled(schema, inside):
            try:
                return self._value(settled, inside)
            except Unfillable:
                continue
        raise Unfillable

    # ---- which schema ----------------------------------------------------------------------------

    def _settled(self, schema: Schema, place: _Place) -> Iterator[Schema]:
        """The schemas, without any that combine others, of which each value is valid here."""
        self.work.spend(len(schema) + len(members(schema, "properties")))
        if place.depth >= DEEPEST:
            raise Unfillable
        base = {name: value for name, value in schema.items() if name not in _COMBINING}
        return self._joined(base, self._clauses(schema, place), place)

    def _joined(
        self, base: Schema, clauses: Sequence[Sequence[Json]], place: _Place
    ) -> Iterator[Schema]:
        if not clauses:
            yield base
            return
        for branch in clauses[0]:
            if branch is False:
                continue
            part = branch if isinstance(branch, Mapping) else {}
            try:
                alternatives = self._settled(part, place.within(part))
                for settled in alternatives:
                    try:
                        joined = both(base, settled)
                    except Contradiction:
                        continue
                    self.work.spend(len(joined) + len(members(joined, "properties")))
                    yield from self._joined(joined, clauses[1:], place)
            except Unfillable:
                continue

    def _clauses(self, schema: Schema, place: _Place) -> list[Sequence[Json]]:
        """Returns what must hold as well: one branch of each clause."""
        clauses: list[Sequence[Json]] = []
        if isinstance(reference := schema.get("$ref"), str):
            clauses.append([self._target(reference)])
        for name in ("allOf", "anyOf", "oneOf"):
            branches = schema.get(name)
            if isinstance(branches, list) and branches:
                self.work.spend(len(branches))
                each = name == "allOf"
                clauses += [[one] for one in branches] if each else [self._order(branches, place)]
        if "if" in schema:
            then: Json = {"allOf": [schema["if"], schema.get("then", True)]}
            clauses.append(self._order([then, schema.get("else", True)], place))
        return clauses

    def _order(self, branches: Sequence[Json], place: _Place) -> list[Json]:
        """The branches in the order in which they are tried: those that lead back to where one is
        come last, and deep inside the simple ones come first."""
        first = self.turn % len(branches)
        turned = [*branches[first:], *branches[:first]]

        def cost(branch: Json) -> tuple[bool, int]:
            if not isinstance(branch, Mapping):
                return False, 0
            back = place.leads_back(branch)
            return back, weight(branch) if place.depth > GENEROUS else 0

        return sorted(turned, key=cost)

    def _target(self, reference: str) -> Json:
        """Raises Unfillable for what is not in the document."""
        fragment = unquote(reference.removeprefix("#"))
        if not reference.startswith("#") or (fragment and not fragment.startswith("/")):
            raise Unfillable
        found: Json = self.root
        for step in fragment.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            match found:
                case Mapping() if key in found:
                    found = found[key]
                case list() if key.isdecimal() and int(key) < len(found):
                    found = found[int(key)]
                case _:
                    raise Unfillable
        return found

    # ---- which value -----------------------------------------------------------------------------

    def _value(self, schema: Schema, place: _Place) -> Json:
        kinds = types(schema)
        if "const" in schema:
            return of_kind([schema["const"]], kinds)[0]
        if isinstance(choices := schema.get("enum"), list):
            fitting = of_kind(choices, kinds)
            return fitting[(place.nth + self.turn) % len(fitting)]
        kinds = self._guesses(schema) if kinds is None else kinds
        wanted = [kind for kind in kinds if kind != "null"] or kinds
        for kind in wanted:
            try:
                return self._of(kind, schema, place)
            except Unfillable:
                continue
        if "null" in kinds:
            return None
        raise Unfillable

    def _guesses(self, schema: Schema) -> list[str]:
        """The types that a schema may mean that names none: later tries begin with others."""
        hinted = [kind for kind, names in _HINTS.items() if any(name in schema for name in names)]
        first = self.turn % len(_ANY)
        return [*hinted[: None if first == 0 else 0], *_ANY[first:], *_ANY[:first]]

    def _of(self, kind: str, schema: Schema, place: _Place) -> Json:
        match kind:
            case "object":
                return self._object(schema, place)
            case "array":
                return self._array(schema, place)
            case "string":
                made = text(schema, self.words, place.nth)
                self.work.spend(len(made) // 50)
                return made
            case "integer" | "number":
                return self._number(schema, place, whole=kind == "integer")
            case "boolean":
                return (place.nth + self.turn) % 2 == 0
            case "null":
                return None
            case _:
                raise Unfillable

    def _number(self, schema: Schema, place: _Place, *, whole: bool) -> int | float:
        found = number(schema, place.nth + self.turn // 2, whole=whole)
        if whole or self.turn < FRACTIONS:
            return found
        try:
            apart = both(schema, {"exclusiveMinimum": found, "exclusiveMaximum": found + 1})
            return number(apart, place.nth, whole=False)
        except Unfillable:
            return found

    def _object(self, schema: Schema, place: _Place) -> Json:
        made: dict[str, Json] = {}
        names = required(schema)
        self.work.spend(len(names))
        for name in names:
            made[name] = self.fill(member_of(schema, name), place)
        if place.depth <= GENEROUS and not any(name in schema for name in _UNSURE):
            self._add_optional(made, schema, place)
        least = count(schema, "minProperties")
        for name in members(schema, "properties"):
            if len(made) < least and name not in made:
                made[name] = self.fill(member_of(schema, name), place)
        for extra in range(least - len(made)):
            self.work.spend(1)
            name = f"more{extra + 1}"
            made[name] = self.fill(member_of(schema, name), place)
        return made

    def _add_optional(self, made: dict[str, Json], schema: Schema, place: _Place) -> None:
        dependent = members(schema, "dependentRequired")
        for name, member in members(schema, "properties").items():
            if name in made or name in dependent or place.leads_back(member):
                continue
            try:
                made[name] = self.fill(member, place)
            except Unfillable:
                continue

    def _array(self, schema: Schema, place: _Place) -> Json:
        first, items = schema.get("prefixItems"), schema.get("items", True)
        if isinstance(items, list):  # a tuple, as drafts before 2020-12 write it
            first, items = items, schema.get("additionalItems", True)
        heads: Sequence[Json] = first if isinstance(first, list) else []
        contains = schema.get("contains")
        least = max(count(schema, "minItems"), count(schema, "minContains", 1) if contains else 0)
        most = count(schema, "maxItems", LARGEST)
        if least > most:
            raise Unfillable
        if place.depth <= GENEROUS and not place.leads_back(items):
            least = max(least, min(most, max(len(heads), 1)))
        made: list[Json] = []
        for nth in range(least):
            self.work.spend(1)
            item = heads[nth] if nth < len(heads) else items
            if contains is not None and nth >= len(heads):
                item = {"allOf": [item, contains]}
            try:
                made.append(self.fill(item, _Place(place.depth, nth, place.inside)))
            except Unfillable:
                if nth < max(count(schema, "minItems"), 1 if contains else 0):
                    raise
                break
        return made
