"""What most tests here have in common: a team, whom it is asked by, and readers of its answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from gateway.postgres.database import Database
from tests.scripted import ScriptedUpstream
from tests.serving.crash.callers import DOORS, PATIENCE, Caller, Door
from tests.serving.crash.counting import Asked, Counting
from tests.serving.crash.invariants import (
    all_ended,
    check_reply,
    check_rows,
    check_transcripts,
)
from tests.serving.crash.processes import LEASE_S, Process
from tests.serving.crash.transcripts import SILENT_S, Transcript, transcribing
from tests.team import Team

EARLY = 0.25
"""The share of kills that don't wait for a model call."""
WITHIN_S = LEASE_S + 2
"""Until what a lost process did is done again. It takes as long as the lease still lasts, and a
third of a lease or a second until somebody looks, whichever is less. The rest is for machines that
do other things: two suites at once on two cores took half a second."""

_UNFINISHED = """
    SELECT i.content AS question, t.state, t.attempt, t.fence, t.attended, t.owner_node,
           t.created_at, t.updated_at, t.lease_until, now() AS now, t.error
    FROM turn t JOIN interaction i ON i.id = t.input_interaction_id
    WHERE t.state <> 'completed' ORDER BY t.created_at
"""


@dataclass
class Scene:
    processes: Sequence[Process]
    database: Database
    counting: Counting
    chance: random.Random
    team: Team
    door: Door
    silent: float
    """Seconds after which a reader leaves a gateway that says nothing."""
    conversations: list[str] = field(default_factory=list)
    transcripts: list[Transcript] = field(default_factory=list)
    loads: list[asyncio.Task[None]] = field(default_factory=list)
    hits: list[tuple[float, Asked]] = field(default_factory=list)
    """Model calls that were open when their process was lost, and when it was."""

    def ask(self, name: str, *, most: int = 2) -> None:
        """Something of its own in every conversation: a question, and perhaps more behind it."""
        for number, conversation in enumerate(self.conversations):
            chances = [self.chance.random() for _ in range(self.chance.randint(1, most))]
            load = self._ask(conversation, f"{name}, {number}", chances)
            self.loads.append(asyncio.create_task(load))

    async def _ask(self, conversation: str, name: str, chances: Sequence[float]) -> None:
        for part, chance in enumerate(chances):
            await asyncio.sleep(chance / 5)
            question = f"What of {name}.{part}?"
            await self.door.say(conversation, question, streamed=chance < 0.5)
            if channel := self.door.channels.get(question):
                self.loads.append(asyncio.create_task(self._listen(channel, question)))

    async def _listen(self, channel: str, question: str) -> None:
        """To one reply on its own channel, until that is over."""
        places = random.Random(question).sample(self.processes, len(self.processes))
        transcript = Transcript(channel, places, self.silent)
        await asyncio.wait_for(transcript.read(), PATIENCE)
        check_reply(transcript, self.counting.answer(question))

    async def answered(self) -> None:
        """Wait until everybody who asked has been answered."""
        while self.loads:
            await self.loads[0]
            self.loads.pop(0)

    async def titled(self, within: float = 20.0) -> None:
        """Wait until all have been answered, and each conversation has the title that follows."""
        await self.answered()
        async with asyncio.timeout(within):
            while await self.database.fetch("SELECT FROM conversation WHERE title IS NULL"):
                await asyncio.sleep(0.02)

    async def at_some_point(self) -> Process:
        """While questions come in, or while models are asked. Whom to kill then."""
        early, skip = self.chance.random() < EARLY, self.chance.randrange(8)
        pause, victim = self.chance.uniform(0, 0.3), self.chance.choice(self.processes)
        if not early:
            victim = self.life((await self.counting.next_call(skip=skip)).caller)
        await asyncio.sleep(pause)
        return victim

    def life(self, caller: str) -> Process:
        """The process that calls models by this key."""
        return next(process for process in self.processes if process.caller == caller)

    async def lose(self, victim: Process) -> None:
        self.note_hits(victim)
        await victim.kill()

    def note_hits(self, process: Process) -> None:
        now = asyncio.get_running_loop().time()
        self.hits += [(now, one) for one in self.counting.open_calls(process)]

    async def taken_up(self, process: Process, within: float = 20.0) -> None:
        """Wait until this process makes a call again that was hit."""
        hit = {one.step for _, one in self.hits}
        async with asyncio.timeout(within):
            while not any(one.step in hit for one in self.counting.open_calls(process)):
                await asyncio.sleep(0.005)

    def waits(self) -> list[float]:
        """Seconds from the loss of a process until each call that it had open was made again."""
        found = []
        for at, hit in self.hits:
            again = [one for one in self.counting.log if one.step == hit.step]
            later = [one.call.started_at - at for one in again if one.caller != hit.caller]
            found += [seconds for seconds in later if seconds > 0][:1]
        return found

    def check_waits(self) -> None:
        """Something was hit, and nobody waited for longer than was promised."""
        waits = self.waits()
        assert waits, "no kill hit a turn"
        assert max(waits) < WITHIN_S, waits

    async def check(self, *, interrupted: int = 0) -> None:
        """All that must hold in the end. See `Counting.check`."""
        await self.answered()
        await all_ended(self.database)
        await check_rows(self.database, self.counting, self.team, self.door.asked)
        await check_transcripts(self.database, self.transcripts)
        self.counting.check(self.processes, interrupted=interrupted)


@asynccontextmanager
async def staged(
    processes: Sequence[Process],
    upstream: ScriptedUpstream,
    database: Database,
    *,
    door: str = "rpc",
    seed: int = 0,
    conversations: int = 3,
    slow: float = 1.0,
    readers_at: Sequence[int] | None = None,
    silent: float = SILENT_S,
    playing: type[Counting] = Counting,
) -> AsyncIterator[Scene]:
    """Conversations with a team, each with a reader that goes to the gateways in an order of chance
    or to `readers_at`, by their places in `processes`."""
    counting = playing(upstream, seed, slow=slow)
    chance = random.Random(seed)
    team = await counting.make(processes[0])
    opened = DOORS[door](Caller(processes, seed), team)
    scene = Scene(processes, database, counting, chance, team, opened, silent)
    async with AsyncExitStack() as stack:
        for _ in range(conversations):
            conversation = await opened.open()
            places = readers_at or chance.sample(range(len(processes)), len(processes))
            transcript = Transcript(conversation, [processes[place] for place in places], silent)
            scene.conversations.append(conversation)
            scene.transcripts.append(transcript)
            await stack.enter_async_context(transcribing(transcript))
        try:
            yield scene
        except BaseException as error:
            error.add_note(await _story(scene))
            raise
        finally:
            for load in scene.loads:
                load.cancel()
            await asyncio.gather(*scene.loads, return_exceptions=True)


async def _story(scene: Scene) -> str:
    """How the turns stand that have not been completed, for whoever reads of a failure."""
    rows = await scene.database.fetch(_UNFINISHED)
    lives = [f"{one.name}: port {one.port}, lost {one.lost}" for one in scene.processes]
    met = f"callers met {dict(scene.door.caller.met)}"
    return "\n".join([*lives, met, *(str(dict(row)) for row in rows)])
