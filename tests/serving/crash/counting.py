"""A team whose words follow from the question alone, and the log of its model calls.

The manager asks both others at once and quotes both in its answer. So whatever befell a turn, its
answer and its messages are known beforehand, and the same step shows as the same call made again.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.scripted import ScriptedUpstream, say, say_many, text
from tests.scripted.exchange import ANONYMOUS, Call
from tests.scripted.replies import Reply
from tests.serving.crash.processes import Process
from tests.team import Team, make_team

MANAGER, OTHERS = "manager", ("programmer", "designer")
NAMES = (MANAGER, *OTHERS)
LIBRARY = "library"
HOLD_S = 0.15
"""The longest time until an answer begins."""
PACE_S = 0.02
"""The longest time between two pieces of it."""
PATIENCE = 20.0
"""Seconds until a call that is waited for was not made."""


def view(agent: str, question: str) -> str:
    """What one of the others thinks."""
    return f"The {agent} has thought about {question!r} and sees no obstacle \N{BICYCLE} to it."


@dataclass(frozen=True)
class Asked:
    """A model call: `caller` is the life of a process that made it, `step` tells the same call when
    it is made again."""

    caller: str
    agent: str
    step: str
    call: Call


class Counting:
    """Has an upstream answer for a team. `seed` decides how long each answer takes, `steps` is how
    many model calls a turn needs: the manager's two, and one of each other."""

    steps = 4

    def __init__(self, upstream: ScriptedUpstream, seed: int = 0, *, slow: float = 1.0) -> None:
        self.upstream = upstream
        self.slow = slow
        """How many times as long as usual answers take."""
        self._chance = random.Random(seed)

    async def make(self, process: Process) -> Team:
        team = await self._make(process)
        for name, speak in self._voices(team).items():
            self.upstream.always(name, lambda call, speak=speak: self._spoken(speak(call)))
        self.upstream.always(ANONYMOUS, text("A title"))
        return team

    async def _make(self, process: Process) -> Team:
        return await make_team(process, *OTHERS)  # type: ignore[arg-type]

    def _voices(self, team: Team) -> dict[str, Callable[[Call], Reply]]:
        others = {name: lambda call: self._other(team, call) for name in OTHERS}
        return {MANAGER: lambda call: self._manager(team, call), **others}

    def _manager(self, team: Team, call: Call) -> Reply:
        question, heard = since(call, 0)
        if not heard:
            return say_many(*((team[name], question) for name in OTHERS))
        return say(0, quoting(question, *(heard[team[name]] for name in OTHERS)))

    def _other(self, team: Team, call: Call) -> Reply:
        _, question = call.inbound[-1]
        return say(team[MANAGER], view(call.agent, question))

    # ---- what comes of it ------------------------------------------------------------------------

    def answer(self, question: str) -> str:
        """What the end user is told in the end."""
        return quoting(question, *(view(name, question) for name in OTHERS))

    def letters(self, question: str) -> Sequence[tuple[str, str, str]]:
        """What is said among the agents and with the library: who, to whom, what."""
        asked = [(MANAGER, name, question) for name in OTHERS]
        return [*asked, *((name, MANAGER, view(name, question)) for name in OTHERS)]

    def _spoken(self, reply: Reply) -> Reply:
        delay = self.slow * self._chance.uniform(0, HOLD_S)
        pace = self.slow * self._chance.uniform(0, PACE_S)
        chunk = self._chance.randint(8, 20)
        return Reply(reply.content, delay=delay, pace=pace, chunk=chunk)

    # ---- the log ---------------------------------------------------------------------------------

    @property
    def log(self) -> list[Asked]:
        """The calls of agents, oldest first."""
        return [_asked(call) for call in self.upstream.calls if call.agent != ANONYMOUS]

    def open_calls(self, process: Process) -> list[Asked]:
        return [one for one in self.log if one.call.open and one.caller == process.caller]

    async def next_call(
        self,
        process: Process | None = None,
        skip: int = 0,
        like: Callable[[Call], bool] | None = None,
    ) -> Asked:
        """The next one that this life of the process makes, or of anyone's, after so many."""
        seen = len(self.upstream.calls)
        while True:
            seen += 1
            asked = _asked(await self.upstream.arrived(count=seen, within=PATIENCE))
            if asked.agent == ANONYMOUS or (process and asked.caller != process.caller):
                continue
            if like is not None and not like(asked.call):
                continue
            if not skip:
                return asked
            skip -= 1

    def check(self, processes: Iterable[Process], *, interrupted: int = 0) -> None:
        """No life of a process makes a call twice, and only what a lost one made is made again.
        What was `interrupted` otherwise may be made again so many times. One that was frozen as it
        began a call goes on with that when it wakes up, and with nothing after it."""
        lost = {caller for process in processes for caller in process.lost}
        made_by: defaultdict[str, list[str]] = defaultdict(list)
        late: Counter[tuple[str, str, str]] = Counter()  # by life, agent and conversation
        for one in self.log:
            made = made_by[f"{one.agent} {one.step}"]
            if one.caller in lost and not lost.issuperset(made):
                _, began = one.call.inbound[0]
                late[one.caller, one.agent, began] += 1
            else:
                made.append(one.caller)
        problems = []
        for step, callers in made_by.items():
            doubled = len(callers) - len(set(callers))
            needless = sum(caller not in lost for caller in callers[:-1])
            if max(doubled, needless) > interrupted:
                problems.append(f"{step[:20]} was called by {callers}; {lost} were lost")
        problems += [f"{who} woke up and went on" for who, count in late.items() if count > 1]
        assert not problems, "\n".join(problems)


def since(call: Call, sender: int) -> tuple[str, dict[int, str]]:
    """What this one said last, and who said what after that."""
    asked = [at for at, (who, _) in enumerate(call.inbound) if who == sender]
    return call.inbound[asked[-1]][1], dict(call.inbound[asked[-1] + 1 :])


def quoting(question: str, *views: str) -> str:
    """The answer to the end user."""
    return " ".join((f"You asked {question!r}.", *views))


def _asked(call: Call) -> Asked:
    caller = call.headers["authorization"].removeprefix("Bearer ")
    step = hashlib.sha256(json.dumps(call.messages).encode()).hexdigest()
    return Asked(caller, call.agent, step, call)
