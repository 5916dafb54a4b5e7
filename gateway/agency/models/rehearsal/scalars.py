"""Texts and numbers that are valid under a JSON schema. Pure."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

from gateway.agency.models.rehearsal.pattern import Unreadable, matching
from gateway.agency.models.rehearsal.schema import LARGEST, Schema, Unfillable

FORMATS: Final = {
    "date-time": "2026-01-{day:02}T09:00:00Z",
    "date": "2026-01-{day:02}",
    "time": "09:{day:02}:00Z",
    "duration": "P{day}D",
    "email": "rehearsal{day}@example.com",
    "idn-email": "rehearsal{day}@example.com",
    "hostname": "host{day}.example.com",
    "idn-hostname": "host{day}.example.com",
    "ipv4": "192.0.2.{day}",
    "ipv6": "2001:db8::{day}",
    "uri": "https://example.com/{day}",
    "iri": "https://example.com/{day}",
    "uri-reference": "https://example.com/{day}",
    "iri-reference": "https://example.com/{day}",
    "uri-template": "https://example.com/{day}",
    "url": "https://example.com/{day}",
    "uuid": "00000000-0000-4000-8000-0000000000{day:02}",
    **{f"uuid{one}": f"00000000-0000-{one}000-8000-0000000000" + "{day:02}" for one in range(1, 9)},
    "json-pointer": "/{day}",
    "relative-json-pointer": "{day}",
    "regex": "a{{{day}}}",
    "json-string": "{day}",
    "ipv4network": "192.0.2.0/24",
    "ipv6network": "2001:db8::/32",
    "ipvanyaddress": "192.0.2.{day}",
    "ipvanynetwork": "192.0.2.0/24",
    "ipvanyinterface": "192.0.2.{day}/24",
    "multi-host-uri": "https://example.com/{day}",
    "base64": "AAAA",
    "base64url": "AAAA",
    "byte": "AAAA",
}
"""Examples by format; `day` counts from 1 to 28. Beside those of JSON Schema, those that pydantic
writes."""


def text(schema: Schema, words: str, nth: int) -> str:
    """The nth text; it says `words` if it may be any. Raises Unfillable."""
    least = _bound(schema, "minLength") or 0
    most = _bound(schema, "maxLength")
    if least > LARGEST or (most is not None and most < least):
        raise Unfillable
    if isinstance(pattern := schema.get("pattern"), str):
        try:
            return matching(pattern, least, most, nth)
        except Unreadable:
            raise Unfillable from None
    kind = schema.get("format")
    if isinstance(kind, str) and kind in FORMATS:
        example = FORMATS[kind].format(day=1 + nth % 28)
        if least <= len(example) and (most is None or len(example) <= most):
            return example
    said = words if nth == 0 else f"{nth + 1}. {words}"
    return said[:most].ljust(least, ".")


def number(schema: Schema, nth: int, *, whole: bool) -> int | float:
    """The nth number, beginning with the one that is nearest to 0. Raises Unfillable."""
    step = _exact(schema.get("multipleOf"))
    if step is not None and step <= 0:
        raise Unfillable
    if whole:
        step = Fraction(1) if step is None else Fraction(step.numerator)  # the least whole multiple
    low, high = _low(schema), _high(schema)
    if step is None:
        return _between(low, high, nth)
    lowest = None if low is None else _multiple(low[0], step, above=True, strictly=low[1])
    highest = None if high is None else _multiple(high[0], step, above=False, strictly=high[1])
    return _plain(_nearest(lowest, highest, step, nth))


def _nearest(
    lowest: Fraction | None, highest: Fraction | None, step: Fraction, nth: int
) -> Fraction:
    """The nth of the numbers from lowest to highest, so many apart, from the nearest to 0 on."""
    if lowest is not None and highest is not None and lowest > highest:
        raise Unfillable
    if lowest is not None and lowest > 0:
        first, towards = lowest, step
    elif highest is not None and highest < 0:
        first, towards = highest, -step
    else:
        first, towards = Fraction(0), step
    found = first + nth * towards
    fits = (lowest is None or found >= lowest) and (highest is None or found <= highest)
    return found if fits else first


_End = tuple[Fraction, bool]
"""Of a range, and whether it is outside of it."""


def _between(low: _End | None, high: _End | None, nth: int) -> int | float:
    """Returns a number of the range, a whole one if there is one."""
    try:
        return number_of(low, high, nth)
    except Unfillable:
        if low is None or high is None or low[0] >= high[0]:
            if low and high and low[0] == high[0] and not (low[1] or high[1]):
                return _plain(low[0])
            raise
        return float(low[0] + (high[0] - low[0]) / (2 + nth))


def number_of(low: _End | None, high: _End | None, nth: int) -> int | float:
    """A whole number of a range. Raises Unfillable."""
    one = Fraction(1)
    lowest = None if low is None else _multiple(low[0], one, above=True, strictly=low[1])
    highest = None if high is None else _multiple(high[0], one, above=False, strictly=high[1])
    return _plain(_nearest(lowest, highest, one, nth))


def _multiple(bound: Fraction, step: Fraction, *, above: bool, strictly: bool) -> Fraction:
    """The multiple of `step` that is next to a bound."""
    times = math.ceil(bound / step) if above else math.floor(bound / step)
    if strictly and times * step == bound:
        times += 1 if above else -1
    return times * step


def _low(schema: Schema) -> _End | None:
    ends = (_exact(schema.get("minimum")), False), (_exact(schema.get("exclusiveMinimum")), True)
    return max(((at, out) for at, out in ends if at is not None), default=None)


def _high(schema: Schema) -> _End | None:
    ends = (_exact(schema.get("maximum")), False), (_exact(schema.get("exclusiveMaximum")), True)
    found = [(at, out) for at, out in ends if at is not None]
    return min(found, key=lambda end: (end[0], not end[1]), default=None)


def _exact(value: object) -> Fraction | None:
    """A number as it was written: 0.1 is a tenth."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return Fraction(str(value))


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)


def _bound(schema: Schema, name: str) -> int | None:
    value = _exact(schema.get(name))
    return None if value is None else int(value)
