"""The copies of the agents' contexts that a running turn keeps."""

from __future__ import annotations

import asyncio
from uuid import UUID

from gateway.agency.run.contexts import Contexts
from gateway.agency.speech.prompt import Entry
from gateway.agency.turn.events import Delivery, Event

TURN, STEP = UUID(int=1), UUID(int=2)
MANAGER, PROGRAMMER, TESTER = 1, 2, 3


def stored(text: str, version: int) -> Entry:
    return Entry("user", MANAGER, PROGRAMMER, text, version)


class Rows:
    """A table that is read slowly: what it gives is told by the test."""

    def __init__(self) -> None:
        self.reads = 0
        self.answer: asyncio.Future[list[Entry]] = asyncio.Future()

    async def load(self, agent: int) -> list[Entry]:
        self.reads += 1
        return await self.answer

    def give(self, *entries: Entry) -> None:
        answer, self.answer = self.answer, asyncio.Future()
        answer.set_result(list(entries))


def contexts(rows: Rows, *, fresh: bool = False, version: int = 5) -> Contexts:
    return Contexts({}, rows.load, turn_id=TURN, version=version, fresh=fresh)


def texts(entries: list[Entry]) -> list[str]:
    return [entry.text for entry in entries]


async def test_a_context_is_read_once_and_then_kept_up_to_date() -> None:
    rows = Rows()
    known = contexts(rows)
    reading = asyncio.create_task(known.of(PROGRAMMER))
    await asyncio.sleep(0)
    rows.give(stored("Before", 3))
    assert texts(await reading) == ["Before"]
    event = Event(6, (Delivery(MANAGER, PROGRAMMER, "Code?"),), MANAGER)
    known.take_in(event, STEP)
    assert texts(await known.of(PROGRAMMER)) == ["Before", "Code?"]
    assert rows.reads == 1


async def test_what_is_written_while_a_context_is_read_stands_in_it_once() -> None:
    rows = Rows()
    known = contexts(rows)
    reading = asyncio.create_task(known.of(PROGRAMMER))
    await asyncio.sleep(0)
    # The rows of the next version are there before the turn has taken them in.
    rows.give(stored("Before", 3), stored("Code?", 6))
    assert texts(await reading) == ["Before"]
    known.take_in(Event(6, (Delivery(MANAGER, PROGRAMMER, "Code?"),), MANAGER), STEP)
    assert texts(await known.of(PROGRAMMER)) == ["Before", "Code?"]


async def test_a_context_that_was_read_too_early_is_read_again() -> None:
    rows = Rows()
    known = contexts(rows)
    reading = asyncio.create_task(known.of(PROGRAMMER))
    await asyncio.sleep(0)
    known.take_in(Event(6, (Delivery(MANAGER, PROGRAMMER, "Code?"),), MANAGER), STEP)
    rows.give(stored("Before", 3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rows.give(stored("Before", 3), stored("Code?", 6))
    assert texts(await reading) == ["Before", "Code?"]
    assert rows.reads == 2


async def test_in_a_fresh_conversation_nothing_is_read_at_all() -> None:
    rows = Rows()
    known = contexts(rows, fresh=True)
    known.take_in(Event(6, (Delivery(MANAGER, PROGRAMMER, "Code?"),), MANAGER), STEP)
    assert texts(await known.of(PROGRAMMER)) == ["Code?"]
    assert texts(await known.of(TESTER)) == []
    assert rows.reads == 0


async def test_who_speaks_remembers_it_as_said_and_who_listens_as_heard() -> None:
    known = contexts(Rows(), fresh=True)
    known.take_in(Event(6, (Delivery(MANAGER, PROGRAMMER, "Code?"),), MANAGER), STEP)
    (said,), (heard,) = await known.of(MANAGER), await known.of(PROGRAMMER)
    assert (said.role, said.step_id, said.to_id) == ("assistant", STEP, PROGRAMMER)
    assert (heard.role, heard.step_id, heard.from_id) == ("user", STEP, MANAGER)
    assert known.version == 6
