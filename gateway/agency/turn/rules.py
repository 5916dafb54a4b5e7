"""The rules of a turn: who is called next, and what an agent's answer causes.

Pure: `Work` is rebuilt from the rows of a turn by `apply`, the same function that a running turn
uses, so whoever takes a turn up decides as the one before would have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.agency.speech.envelope import Envelope, Malformed, Said
from gateway.agency.speech.prompt import END_USER, GATEWAY, LIBRARY
from gateway.agency.speech.thoughts import spoken
from gateway.agency.teams.team import AgencySpec, Limits
from gateway.agency.turn.events import (
    Answer,
    Deliver,
    Delivery,
    Event,
    GiveUp,
    Question,
    Verdict,
)
from gateway.conversation.rooms.participants import Status

RETURNS = 3
"""How often in a row an answer goes back to the agent that gave it."""

ANSWER_NOW = "Answer the end user now, from what you know: send your answer to 0."
NOBODY = "Nobody answered. Go on without, or ask again."
UNDELIVERABLE = "Too many of your messages could not be delivered."
SPEECHLESS = "The manager gave no answer."
EMPTY = 'Your message to 0 has an empty "context". Say something to the end user.'


@dataclass(slots=True)
class Work:
    """The state of a turn: who has read what, who waits for whom, and what has been used up."""

    entry: int
    names: Mapping[int, str]
    """Every agent of the team and its label, `#143 (programmer)`."""
    limits: Limits
    readers: frozenset[int] = frozenset()
    """Who may search the library."""
    manual: bool = False
    """Whether somebody outside answers in the place of the library and of all but `entry`."""
    silence: bool = False
    """Whether an empty answer says that there is nothing to say, as it does in rooms."""
    plain: bool = False
    """True if a plain model answers. Its answer is taken as it is, and it is told nothing."""
    served: bool = False
    """Whether somebody outside answers in the place of `entry` itself, so that nobody is called."""
    steps: int = 0
    searches: int = 0
    """How many have been answered."""
    closing: int | None = None
    """The version of the note that told the entry agent to answer now."""
    _newest: dict[int, int] = field(default_factory=dict)
    _read: dict[int, int] = field(default_factory=dict)
    _questions: list[Question] = field(default_factory=list)
    """Oldest first."""
    _returned: Counter[int] = field(default_factory=Counter)
    _said: Counter[Delivery] = field(default_factory=Counter)
    _inputs: list[str] = field(default_factory=list)
    _asked_to_speak: bool = False
    """An empty answer has been sent back: the next one is taken."""

    def apply(self, event: Event) -> None:
        """Take in what was written."""
        if event.agent is not None:
            self.steps += 1
            self._read[event.agent] = max(event.read, self._read.get(event.agent, 0))
            if event.failed:
                self._questions = [q for q in self._questions if q.asked != event.agent]
            self._count_returns(event.agent, event.deliveries)
        for delivery in event.deliveries:
            self._deliver(delivery, event.version)
            if event.agent is None and delivery.sender > END_USER:
                self._read_by_hand(delivery.sender, event.version)

    def _read_by_hand(self, agent: int, version: int) -> None:
        """Somebody answered in an agent's place: once it owes no answer any more, there is nothing
        left that it would have to read."""
        if all(question.asked != agent for question in self._questions):
            self._read[agent] = version

    def _count_returns(self, agent: int, deliveries: Sequence[Delivery]) -> None:
        if any(d.sender == GATEWAY and d.recipient == agent for d in deliveries):
            self._returned[agent] += 1
        else:
            self._returned[agent] = 0

    def _deliver(self, delivery: Delivery, version: int) -> None:
        if delivery.recipient != LIBRARY:
            self._newest[delivery.recipient] = version
        if delivery.sender == GATEWAY:
            if delivery.text.startswith(ANSWER_NOW):
                self.closing = version
            elif delivery.text == NOBODY:
                self._questions.clear()
            elif delivery.text == EMPTY:
                self._asked_to_speak = True
            return
        if delivery.sender == END_USER:
            self._inputs.append(delivery.text)
            return
        self._said[delivery] += 1
        self._answer_or_ask(delivery)

    def _answer_or_ask(self, delivery: Delivery) -> None:
        if delivery.sender == LIBRARY:
            self.searches += 1
        if answered := self.question(delivery.recipient, delivery.sender):
            self._questions.remove(answered)
        elif delivery.sender != LIBRARY:
            asked = Question(delivery.sender, delivery.recipient, delivery.text)
            self._questions.append(asked)

    def question(self, asker: int, asked: int) -> Question | None:
        """The oldest open one of these two."""
        return next((q for q in self._questions if (q.asker, q.asked) == (asker, asked)), None)

    def queries(self) -> list[Question]:
        """Returns what the library is asked now: the oldest question of each, as each is answered
        in the order of asking."""
        if not self.readers or self.manual or self.closing is not None:
            return []
        oldest: dict[int, Question] = {}
        for question in self._questions:
            if question.asked == LIBRARY:
                oldest.setdefault(question.asker, question)
        return list(oldest.values())

    def awaited(self) -> Question | None:
        """Returns what somebody outside must answer before the turn can go on."""
        if self.served:
            return Question(END_USER, self.entry, "\n\n".join(self._inputs))
        if not self.manual or self.closing is not None or self.ready():
            return None
        return next((q for q in self._questions if q.asked != self.entry), None)

    def doing(self) -> Status:
        """Returns what the entry agent is seen to do, unless it speaks."""
        asked = {question.asked for question in self._questions if question.asker == self.entry}
        if not asked or self.closing is not None:
            return Status.THINKING
        return Status.SEARCHING if LIBRARY in asked else Status.WAITING

    def ready(self, busy: Collection[int] = ()) -> list[int]:
        """The agents to call now. `busy` are being called already."""
        if self.served:
            return []
        if self.closing is not None:
            return [self.entry] if self._unread(self.entry) and self.entry not in busy else []
        unread = [agent for agent in self._newest if self._unread(agent) and agent not in busy]
        waiting = {question.asker for question in self._questions}
        free = [agent for agent in unread if agent not in waiting]
        if self.manual:
            return [agent for agent in free if agent == self.entry]
        return free if free or busy or self.queries() else unread

    def _unread(self, agent: int) -> bool:
        return self._newest.get(agent, 0) > self._read.get(agent, 0)

    def allowed(self, agent: int) -> tuple[int, ...]:
        """Returns whom an agent may address now."""
        if self.closing is not None and agent == self.entry:
            return (END_USER,)
        others = tuple(other for other in self.names if other != agent)
        others = (END_USER, *others) if agent == self.entry else others or (self.entry,)
        return (*others, LIBRARY) if agent in self.readers else others

    def judge(self, agent: int, said: Said, raw: str, *, read: int) -> Verdict:
        """Returns what an agent's answer means. It changes nothing: the verdict is written, then
        applied."""
        last = self.closed_for(agent, read)
        match said:
            case Malformed():
                return self._malformed(agent, said, spoken(raw).strip(), last=last)
            case _:
                return self._spoken(agent, said, last=last)

    def unfit(self, agent: int, reason: str, *, read: int) -> Verdict:
        """Returns what becomes of an answer that is not in the format that the client wants."""
        if self._may_return(agent, last=self.closed_for(agent, read)):
            return Deliver((_returned(agent, reason),))
        return GiveUp("The manager's answer is not in the format that 'response_format' asks for.")

    def closed_for(self, agent: int, read: int) -> bool:
        """Returns True if an agent that has read so far has been told to answer now."""
        return agent == self.entry and self.closing is not None and read >= self.closing

    def _may_return(self, agent: int, *, last: bool) -> bool:
        return not last and self._returned[agent] < RETURNS

    def _malformed(self, agent: int, said: Malformed, raw: str, *, last: bool) -> Verdict:
        if self._may_return(agent, last=last):
            return Deliver((_returned(agent, said.reason),))
        if agent != self.entry:
            return Deliver((Delivery(agent, self._asker(agent), raw or "(no answer)"),))
        if said.prose:
            return Answer(said.prose, prose=True)
        return GiveUp(SPEECHLESS) if last else Deliver((self.closing_note(UNDELIVERABLE),))

    def _spoken(self, agent: int, envelopes: Sequence[Envelope], *, last: bool) -> Verdict:
        if agent == self.entry:
            for envelope in envelopes:
                if envelope.to == END_USER:
                    return self._answered(envelope.context, last=last)
            if last:
                return GiveUp("The team reached a limit, and the manager still gave no answer.")
        if self.closing is not None:
            return Deliver(())
        return Deliver(tuple(self._unrepeated(self._addressed(agent, envelopes))))

    def _answered(self, context: str, *, last: bool) -> Verdict:
        taken = context.strip() or self.plain or self.silence or self._asked_to_speak
        if taken or not self._may_return(self.entry, last=last):
            return Answer(context)
        return Deliver((Delivery(GATEWAY, self.entry, EMPTY),))

    def _unrepeated(self, deliveries: Iterable[Delivery]) -> Iterable[Delivery]:
        repeated = False
        for delivery in dict.fromkeys(deliveries):  # saying it twice in one answer adds nothing
            if delivery.sender != GATEWAY and self._said[delivery] >= self.limits.repeats:
                repeated = True
            else:
                yield delivery
        if repeated:
            yield self.closing_note("The same was said too often.")

    def closing_note(self, reason: str) -> Delivery:
        return Delivery(GATEWAY, self.entry, f"{ANSWER_NOW} {reason}")

    def _addressed(self, agent: int, envelopes: Iterable[Envelope]) -> Iterable[Delivery]:
        unknown = []
        for envelope in envelopes:
            to = self.entry if envelope.to == END_USER else envelope.to
            if to == LIBRARY and agent in self.readers:
                yield Delivery(agent, to, envelope.context)
            elif to == agent or to not in self.names:
                unknown.append(envelope)
            else:
                yield Delivery(agent, to, envelope.context)
        if not unknown:
            return
        if self._may_return(agent, last=False):
            yield Delivery(GATEWAY, agent, self._no_such(agent, unknown))
        elif agent == self.entry:
            yield self.closing_note(UNDELIVERABLE)
        else:
            yield from (Delivery(agent, self._asker(agent), e.context) for e in unknown)

    def _no_such(self, agent: int, unknown: Sequence[Envelope]) -> str:
        numbers = ", ".join(sorted({str(envelope.to) for envelope in unknown}))
        known = ", ".join(str(number) for number in self.allowed(agent))
        return f"Your message to {numbers} was not delivered. You can write to: {known}."

    def _asker(self, agent: int) -> int:
        """Returns who has waited longest for this agent."""
        return next((q.asker for q in self._questions if q.asked == agent), self.entry)

    def askers(self, agent: int) -> tuple[int, ...]:
        """Returns whom an agent owes an answer, the end user if it is the entry agent."""
        if agent == self.entry:
            return (END_USER,)
        waiting = dict.fromkeys(q.asker for q in self._questions if q.asked == agent)
        return tuple(waiting) or (self.entry,)

    def read(self, agent: int) -> int:
        """The version up to which an agent has read in this turn; 0 if it has not yet."""
        return self._read.get(agent, 0)

    def unreachable(self, agent: int, why: str) -> tuple[Delivery, ...]:
        """Returns what is told to those who wait for an agent whose model call failed."""
        askers = {q.asker for q in self._questions if q.asked == agent} or {self.entry}
        # Who was taken out of the team since it was asked has no name any more.
        note = f"{self.names.get(agent, f'#{agent}')} can't answer: {why}"
        return tuple(Delivery(GATEWAY, asker, note) for asker in sorted(askers))

    def exhausted(self, *, calls: int, tokens: int, seconds: float) -> str | None:
        """Returns why the turn must come to its end, or None. `calls` counts those that are to be
        made, and searches like the calls of models."""
        if self.plain or self.closing is not None:
            return None
        if calls > self.limits.model_calls:
            return f"The limit of {self.limits.model_calls} model calls is reached."
        if seconds >= self.limits.seconds:
            return f"The limit of {self.limits.seconds:g} seconds is reached."
        if self.limits.tokens is not None and tokens >= self.limits.tokens:
            return f"The limit of {self.limits.tokens} tokens is reached."
        return None


def _returned(agent: int, reason: str) -> Delivery:
    return Delivery(GATEWAY, agent, f"Your answer was not delivered. {reason}")


def begin(
    agency: AgencySpec,
    limits: Limits,
    *,
    manual: bool = False,
    silence: bool = False,
    served: bool = False,
) -> Work:
    """The work of a fresh turn of an agency."""
    names = {int(agent.id): agent.label for agent in agency.agents}
    readers = frozenset(int(agent.id) for agent in agency.agents if agent.collections)
    return Work(
        int(agency.manager_id),
        names,
        limits,
        readers,
        manual=manual,
        silence=silence,
        served=served and not agency.plain,
        plain=agency.plain,
    )
