"""A team that looks things up: what it says follows from the question and from the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.agency.turn.library import told
from tests.scripted import Call, say, say_many
from tests.scripted.replies import Reply
from tests.serving.crash.counting import (
    LIBRARY,
    MANAGER,
    OTHERS,
    Counting,
    quoting,
    since,
    view,
)
from tests.serving.crash.processes import Process
from tests.shelf import Passage, make_readers
from tests.team import Team

COLLECTION = "prices"
BIKE = Passage("A bicycle has two wheels and needs no fuel.", "bicycles.md")
"""All that the collection may hold, so that every search finds it."""
READERS = (MANAGER, "programmer")


def query(agent: str, question: str) -> str:
    return f"What does the {agent} have to know of {question!r}?"


def read(passages: str) -> str:
    """What is quoted of the library's answer."""
    return BIKE.text if BIKE.text in passages else "Nothing was found."


class Researching(Counting):
    """The manager asks the library and the programmer at once. The programmer asks the library
    itself, and then the designer. Both quote what they have found."""

    steps = 6

    async def _make(self, process: Process) -> Team:
        """The library must be open: see `BIKE`."""
        return await make_readers(process, *OTHERS, readers=READERS)  # type: ignore[arg-type]

    def _voices(self, team: Team) -> dict[str, Callable[[Call], Reply]]:
        return {
            MANAGER: lambda call: self._manager(team, call),
            "programmer": lambda call: self._programmer(team, call),
            "designer": lambda call: self._designer(team, call),
        }

    def _manager(self, team: Team, call: Call) -> Reply:
        question, heard = since(call, 0)
        if not heard:
            return say_many((-1, query(MANAGER, question)), (team["programmer"], question))
        return say(0, quoting(question, read(heard[-1]), heard[team["programmer"]]))

    def _programmer(self, team: Team, call: Call) -> Reply:
        question, heard = since(call, team[MANAGER])
        if not heard:
            return say(-1, query("programmer", question))
        if team["designer"] not in heard:
            return say(team["designer"], question)
        own = view("programmer", question)
        return say(team[MANAGER], " ".join((own, read(heard[-1]), heard[team["designer"]])))

    def _designer(self, team: Team, call: Call) -> Reply:
        question, _ = since(call, team["programmer"])
        return say(team["programmer"], view("designer", question))

    def answer(self, question: str) -> str:
        return quoting(question, BIKE.text, self._said(question))

    def letters(self, question: str) -> Sequence[tuple[str, str, str]]:
        searches = [(name, LIBRARY, query(name, question)) for name in READERS]
        found = [(LIBRARY, name, told(asked, [BIKE])) for name, _, asked in searches]
        return [
            *searches,
            *found,
            (MANAGER, "programmer", question),
            ("programmer", "designer", question),
            ("designer", "programmer", view("designer", question)),
            ("programmer", MANAGER, self._said(question)),
        ]

    def _said(self, question: str) -> str:
        return " ".join((view("programmer", question), BIKE.text, view("designer", question)))
