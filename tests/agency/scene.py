"""A turn that is played by hand, without a model and without rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.agency.speech.envelope import Envelope, Malformed, Said
from gateway.agency.teams.team import Limits
from gateway.agency.turn.events import Deliver, Delivery, Event, Verdict
from gateway.agency.turn.rules import Work

MANAGER, PROGRAMMER, TESTER, DESIGNER = 1, 2, 3, 4
LIBRARY = -1
NAMES = {1: "#1 (manager)", 2: "#2 (programmer)", 3: "#3 (tester)", 4: "#4 (designer)"}
BROKEN = Malformed('Envelope 1 has no "context".')


def prose(text: str) -> Malformed:
    return Malformed("It is no JSON.", text)


@dataclass
class Scene:
    """A turn that is played by hand: each call of `says` is one step of one agent."""

    work: Work
    version: int = 1
    events: list[Event] = field(default_factory=list)
    reads: dict[int, int] = field(default_factory=dict)

    def write(self, event: Event) -> None:
        self.events.append(event)
        self.version = event.version
        self.work.apply(event)

    def call(self, *agents: int) -> None:
        """They are called now: what comes later they have not read."""
        for agent in agents:
            self.reads[agent] = self.version

    def hears(self, agent: int, said: Said, raw: str = "") -> Verdict:
        """What the agent's answer means; nothing is written."""
        read = self.reads.pop(agent, self.version)
        self.reads[agent] = read
        return self.work.judge(agent, said, raw, read=read)

    def answers(self, agent: int, said: Said, raw: str = "") -> Verdict:
        """The same, and it is written if the turn goes on."""
        verdict = self.hears(agent, said, raw)
        read = self.reads.pop(agent)
        if isinstance(verdict, Deliver):
            self.write(Event(self.version + 1, verdict.deliveries, agent, read))
        return verdict

    def says(self, agent: int, *envelopes: tuple[int, str]) -> Verdict:
        return self.answers(agent, tuple(Envelope(to, text) for to, text in envelopes))

    def fails(self, agent: int, why: str) -> tuple[Delivery, ...]:
        told = self.work.unreachable(agent, why)
        read = self.reads.pop(agent, self.version)
        self.write(Event(self.version + 1, told, agent, read, failed=True))
        return told

    def finds(self, text: str) -> None:
        """The library answers the first that asks it."""
        asker = self.work.queries()[0].asker
        self.write(Event(self.version + 1, (Delivery(LIBRARY, asker, text),)))

    def note(self, text: str) -> None:
        self.write(Event(self.version + 1, (Delivery(-2, MANAGER, text),)))

    def close(self) -> None:
        self.write(Event(self.version + 1, (self.work.closing_note("Enough."),)))

    @property
    def ready(self) -> list[int]:
        return sorted(self.work.ready())


def scene(*agents: int, readers: Sequence[int] = (), **limits: int) -> Scene:
    """A team of these beside the manager, which has just heard the end user."""
    names = {agent: NAMES[agent] for agent in (MANAGER, *agents)}
    played = Scene(Work(MANAGER, names, Limits(**limits), frozenset(readers)))
    played.write(Event(2, (Delivery(0, MANAGER, "Build it"),)))
    return played


def team(**limits: int) -> Scene:
    return scene(PROGRAMMER, TESTER, DESIGNER, **limits)
