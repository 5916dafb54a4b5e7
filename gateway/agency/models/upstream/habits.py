"""What is known of how an upstream serves its models. Each process learns it anew, and again after
an hour: an upstream changes, and what was learned may be wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cachetools import TTLCache

from gateway.agency.models.upstream.adaptation import AS_ASKED, Adaptation
from gateway.agency.speech.thoughts import Thoughts

log = logging.getLogger(__name__)

MAX_MODELS = 1000
"""Rooms may name any model: the one that was used least lately is forgotten first."""
KEPT_S = 3600.0
"""Seconds after which a model's habits are forgotten."""
MAX_DROPPED = 64
"""Parts of one model's requests. What is dropped beyond them is found out again each time."""


@dataclass(slots=True)
class Habits:
    """How one model is served. `odd` are the paths of what was odd in its answers; `clear` says
    whether it marks where its thoughts begin, None if no answer has shown it."""

    model: str
    adaptation: Adaptation = AS_ASKED
    odd: set[str] = field(default_factory=set)
    clear: bool | None = None

    def adapt(self, adaptation: Adaptation, *, anew: bool = False) -> None:
        """Requests that were changed so were taken; `anew` says that what was known is outdated."""
        learned = adaptation if anew else self.adaptation | adaptation
        if learned == self.adaptation:
            return
        fields = learned.told(self.adaptation)
        log.warning("requests are adapted to a model", extra={"model": self.model, **fields})
        if len(learned.dropped) <= MAX_DROPPED:
            self.adaptation = learned

    def answered(self, thoughts: Thoughts) -> None:
        """Learn from an answer in plain words. Words that sound like thoughts and are none show
        that the model marks its thoughts."""
        if thoughts.unmarked and self.clear is not False:
            self.clear = False
            log.warning("a model does not mark where it thinks", extra={"model": self.model})
        elif thoughts.aloud and self.clear is None:
            self.clear = True

    def note(self, paths: Iterable[str]) -> None:
        """Log what does not keep to the API, once."""
        if new := [path for path in paths if path not in self.odd]:
            self.odd.update(new)
            log.warning(
                "a model's answer is oddly written", extra={"model": self.model, "odd": new}
            )


class Memory(TTLCache[str, Habits, float]):
    """The habits of an upstream's models, by name. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(MAX_MODELS, KEPT_S, clock)

    def __missing__(self, model: str) -> Habits:
        self[model] = habits = Habits(model)
        return habits
