"""A turn that is to be run: all that its runner starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.agency.ledger.rows import Lease
from gateway.agency.model import Usage
from gateway.agency.speech.prompt import Entry
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turn.request import Ask
from gateway.agency.turn.rules import Work


@dataclass(slots=True)
class Plan:
    """A turn to be run. `contexts` holds what has been read already, by agent; an agent that is
    missing is read from the rows unless the conversation is `fresh`. `chain` is the hash of the
    public history up to the input. `used` are the seconds that were used before this run."""

    lease: Lease
    agency: AgencySpec
    ask: Ask
    work: Work
    system: str | None
    chain: bytes | None
    contexts: dict[int, list[Entry]] = field(default_factory=dict)
    fresh: bool = False
    usage: Usage = field(default_factory=Usage)
    used: float = 0.0
