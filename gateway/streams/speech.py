"""A reply as it grows, in a process that only listens: put together from its deltas."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from uuid import UUID

import msgspec

from gateway import ids
from gateway.streams.brokers.signals import Spoke
from gateway.streams.events import InteractionDelta

REMEMBERED = 64
"""Replies of one conversation that have ended lately: a delta that comes late finds them ended."""


class Speech:
    """The text of one reply so far, without holes. It is `known` once its readers have been told
    of the interaction itself."""

    def __init__(self, interaction_id: UUID) -> None:
        self.interaction_id = interaction_id
        self.known = False
        self.attempt = 0
        self.text = ""
        self._cached: tuple[int, int, int] = (0, 0, 0)
        self._encoded = b""

    def take(self, spoke: Spoke) -> bool:
        """Returns True if nothing is missing before it. What is known already changes nothing."""
        if spoke.attempt < self.attempt:
            return True
        if spoke.attempt > self.attempt:
            if spoke.offset:
                return False
            self.attempt, self.text = spoke.attempt, ""
        known = len(self.text) - spoke.offset
        if known < 0:
            return False
        self.text += spoke.text[known:]
        return True

    def since(self, told: int) -> bytes:
        """The delta that continues what was told, as JSON. Readers who are at the same place, which
        is nearly all of them, share it."""
        wanted = (self.attempt, told, len(self.text))
        if wanted != self._cached or not self._encoded:
            shown = ids.show(ids.INTERACTION, self.interaction_id)
            delta = InteractionDelta(shown, self.attempt, told, self.text[told:])
            self._encoded = msgspec.json.encode(delta)
            self._cached = wanted
        return self._encoded


class Speeches:
    """The replies of one conversation that are being spoken."""

    def __init__(self) -> None:
        self.open: dict[UUID, Speech] = {}
        self._ended: OrderedDict[UUID, None] = OrderedDict()

    def take(self, spoke: Spoke) -> bool:
        """Returns True if nothing is missing before it."""
        if spoke.interaction_id in self._ended:
            return True
        speech = self.open.setdefault(spoke.interaction_id, Speech(spoke.interaction_id))
        return speech.take(spoke)

    def expect(self, still_open: Collection[UUID]) -> None:
        """These replies are not complete by the rows; there may be others."""
        for interaction_id in still_open:
            self._ended.pop(interaction_id, None)
            self.open.setdefault(interaction_id, Speech(interaction_id)).known = True

    def agree(self, still_open: Collection[UUID]) -> None:
        """These replies, and no others, are not complete by the rows."""
        self.expect(still_open)
        for interaction_id, speech in list(self.open.items()):
            if speech.known and interaction_id not in still_open:
                self._end(interaction_id)

    def _end(self, interaction_id: UUID) -> None:
        """The whole text is in the rows now."""
        self.open.pop(interaction_id, None)
        self._ended[interaction_id] = None
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
