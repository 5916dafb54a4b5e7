"""What the agents of a running turn have before them: a copy of the rows, kept up to date."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias
from uuid import UUID

from gateway.agency.ledger.context_cache import Remembered
from gateway.agency.speech.prompt import LIBRARY, Entry
from gateway.agency.turn.events import Delivery, Event

Load: TypeAlias = Callable[[int], Awaitable[list[Entry]]]
"""Reads an agent's context from the rows."""


class Contexts:
    """The contexts that were read so far. In a `fresh` conversation nothing was said before, so
    none is ever read. `version` is the newest that was taken in; where one is missing somebody else
    has changed the conversation, maybe what was said in it."""

    def __init__(
        self, known: dict[int, list[Entry]], load: Load, *, turn_id: UUID, version: int, fresh: bool
    ) -> None:
        self.version = version
        self._alone = True
        self._known = known
        self._load = load
        self._turn_id = turn_id
        self._fresh = fresh

    async def of(self, agent: int) -> list[Entry]:
        """The context as of `version`, which may have risen on the way."""
        while agent not in self._known:
            version = self.version
            entries = [] if self._fresh else await self._load(agent)
            if version == self.version:
                # Rows of a step that is written right now are added when it is taken in.
                self._known[agent] = [entry for entry in entries if entry.version <= version]
        return self._known[agent]

    def take_in(self, event: Event, step_id: UUID | None) -> None:
        """Add what was written to the contexts that are here. Others are read when they are
        needed."""
        self._move_on(event.version)
        for delivery in event.deliveries:
            heard = self._heard(delivery, step_id)
            if delivery.recipient != LIBRARY:
                self._add(delivery.recipient, heard)
            if delivery.sender == event.agent:
                self._add(delivery.sender, replace(heard, role="assistant"))

    def answered(self, entry: Entry) -> None:
        """The answer, which ends the turn. `entry` has the version that it was written at."""
        self._move_on(entry.version)
        if entry.from_id is not None:
            self._add(entry.from_id, entry)

    def remembered(self, rows: int) -> Remembered | None:
        """Returns the newest `rows` of each context for the next turn, or None if somebody else may
        have changed them."""
        # A file may be deleted, which makes no version.
        with_files = any(entry.files for entries in self._known.values() for entry in entries)
        if not self._alone or with_files:
            return None
        newest = {agent: entries[-rows:] for agent, entries in self._known.items()}
        return Remembered(self.version, newest, self._fresh)

    def _move_on(self, version: int) -> None:
        self._alone = self._alone and version == self.version + 1
        self.version = version

    def _heard(self, delivery: Delivery, step_id: UUID | None) -> Entry:
        return Entry(
            role="user",
            from_id=delivery.sender,
            to_id=delivery.recipient,
            text=delivery.text,
            version=self.version,
            turn_id=self._turn_id,
            step_id=step_id,
        )

    def _add(self, agent: int, entry: Entry) -> None:
        if agent in self._known:
            self._known[agent].append(entry)
        elif self._fresh:
            self._known[agent] = [entry]
