"""The manager's answer on its way out: what the client's `stop`, `max_tokens` and
`response_format` mean for it. They bound the answer, not the envelope around it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import jsonschema
import msgspec
from referencing import Registry
from referencing.exceptions import Unresolvable

from gateway.agency.model import FinishReason, Json
from gateway.agency.prompt import CHARACTERS_PER_TOKEN
from gateway.agency.request import Ask


class Release:
    """Lets an answer through up to its bounds; `finish_reason` is set once one is met.

    A beginning stop sequence is held back until it is clear whether it is one. Tokens are
    estimated at four characters each.
    """

    def __init__(self, ask: Ask) -> None:
        self._stop = tuple(stop for stop in ask.stop if stop)
        self._hold = max((len(stop) for stop in self._stop), default=1) - 1
        self._room = None if ask.max_tokens is None else ask.max_tokens * CHARACTERS_PER_TOKEN
        self._held = ""
        self.finish_reason: FinishReason | None = None

    @property
    def bounded(self) -> bool:
        """Whether there is anything to look out for."""
        return bool(self._stop) or self._room is not None

    def feed(self, text: str) -> str:
        """What may go out now."""
        if not self.bounded:
            return text
        if self.finish_reason is not None:
            return ""
        text = self._held + text
        found = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if found:
            self._held = ""
            self.finish_reason = "stop"
            return self._fitting(text[: min(found)])
        keep = self._beginning(text)
        self._held = text[len(text) - keep :]
        return self._fitting(text[: len(text) - keep])

    def close(self) -> str:
        """What was held back and turns out to be no stop sequence."""
        held, self._held = self._held, ""
        return self._fitting(held) if self.finish_reason is None else ""

    def _beginning(self, text: str) -> int:
        """The length of the longest end of `text` that a stop sequence begins with."""
        for length in range(min(self._hold, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0

    def _fitting(self, text: str) -> str:
        if self._room is None:
            return text
        if len(text) > self._room:
            self.finish_reason = "length"
            text = text[: self._room]
        self._room -= len(text)
        return text


def misfit(text: str, response_format: Mapping[str, Json]) -> str | None:
    """Why an answer is not in the format that the client wants; None if it is."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return f"The end user's program wants JSON, but your context is not: {error}"
    match response_format.get("json_schema"):
        case {"schema": dict(schema)}:
            return _violation(value, schema)
        case _ if not isinstance(value, dict):
            return "The end user's program wants one JSON object as your context."
        case _:
            return None


def _violation(value: Json, schema: Mapping[str, Json]) -> str | None:
    # The registry is empty: a `$ref` to somewhere else must not make this server fetch it.
    validator = jsonschema.Draft202012Validator(schema, registry=Registry())
    try:
        error = next(validator.iter_errors(value), None)
    except (Unresolvable, re.error) as broken:
        return f"The wanted JSON schema can't be checked: {broken}"
    if error is None:
        return None
    return f"Your context does not fit the wanted JSON schema at {error.json_path}: {error.message}"


def unusable_schema(schema: Mapping[str, Json]) -> str | None:
    """Why a client's schema can't be used; None if it can."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return error.message
    return None
