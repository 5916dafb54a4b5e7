"""Sessions: one agent at work, step by step. Whoever drives one finds passages for it and answers
in the place of the others."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import msgspec

from gateway.agency.engine.engine import Engine, Stale
from gateway.agency.intake.draft import Submission
from gateway.agency.ledger.ledger import CONTEXT_ROWS, SESSION_WAIT
from gateway.agency.ledger.rows import MANUAL, StoredTurn, encoded, entries_of, message_columns
from gateway.agency.sessions import sql as sql
from gateway.agency.sessions.state import (
    Given,
    Nothing,
    Session,
    SessionProgress,
    SessionState,
    StepRefused,
    judge,
    stand,
)
from gateway.agency.speech.parts import kept
from gateway.agency.speech.prompt import END_USER, LIBRARY, Entry
from gateway.agency.teams.catalog import AgencySpec, Catalog
from gateway.agency.teams.register import BIGINT
from gateway.agency.turn.events import Delivery, Event, Question
from gateway.agency.turn.request import AGENCY, AGENT, Ask, ChatRequest, Dialogue, Public
from gateway.agency.turn.rules import Work, begin
from gateway.auth import Principal
from gateway.conversation.raising import announce
from gateway.conversation.turn_states import TurnState
from gateway.errors import InvalidRequest, NotFound, Unavailable
from gateway.ids import TurnId
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import FIRST, Page, id_in, page
from gateway.streams.announcer import Announcer

TRIES = 3
"""How often a session is begun again because its agency was changed meanwhile."""
MAX_HOPS = 4
"""How many gateways may hand a question on."""

STATES = {
    SessionState.THINKING: [TurnState.QUEUED, TurnState.RUNNING, TurnState.SUSPENDED],
    SessionState.SEARCH: [TurnState.WAITING],
    SessionState.CALL_AGENT: [TurnState.WAITING],
    SessionState.RESOLVED: [TurnState.COMPLETED],
    SessionState.FAILED: [TurnState.FAILED, TurnState.CANCELLED],
}
"""Those of a turn."""


class WrongStep(Exception):
    """An answer to a step that the session is not at. `session` is how it stands."""

    def __init__(self, reason: str, session: Session) -> None:
        super().__init__(reason)
        self.reason = reason
        self.session = session


@dataclass(frozen=True, slots=True)
class SessionPlace:
    """An agent, for a caller who may have it work."""

    agent_id: int
    agency: AgencySpec

    @property
    def manages(self) -> bool:
        return self.agency.manager_id == self.agent_id

    @property
    def names(self) -> list[str]:
        """Returns an agent's names as a responder."""
        own = f"{AGENT}{self.agent_id}"
        return [own, f"{AGENCY}{self.agency.id}"] if self.manages else [own]


class Sessions:
    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        engine: Engine,
        announcer: Announcer,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._ledger = engine.ledger
        self._engine = engine
        self._versions = engine.versions
        self._announcer = announcer

    # ---- beginning -------------------------------------------------------------------------------

    async def begin(
        self,
        agent_id: int,
        dialogue: Dialogue,
        principal: Principal,
        source: UUID | None = None,
        *,
        drive: str = MANUAL,
        hops: int = 0,
    ) -> UUID:
        """Have an agent answer. It begins with all that was said, in a conversation of its own.
        Raises NotFound, or InvalidRequest if too many gateways have handed the question on."""
        if hops > MAX_HOPS:
            raise InvalidRequest(
                f"This question was handed on by more than {MAX_HOPS} gateways: remote agents may "
                "be asking each other in a circle.",
                param="X-Gateway-Hops",
                code="too_many_hops",
            )
        name = f"{AGENT}{agent_id}"
        ask = Ask(model=name, store=False, hops=hops, silence=True)
        request = ChatRequest(name, b"", dialogue, ask, secrets.token_bytes(32))
        for _ in range(TRIES):
            place = await self._place(agent_id, principal)
            agency = place.agency.entered_by(agent_id)
            if agency is None:
                raise LookupError("an agent is not in its agency")
            try:
                return await self._engine.open(
                    Submission(request, agency, principal), drive, source
                )
            except Stale:
                continue
        raise Unavailable("The agency is being changed; try again.")

    async def dialogue(self, conversation_id: UUID, principal: Principal) -> Dialogue:
        """Returns what was said in a conversation of the caller's. Raises NotFound."""
        rows = await self._database.fetch(
            sql.SOURCE, conversation_id, BIGINT - 1, CONTEXT_ROWS, principal.user
        )
        if not rows:
            raise NotFound("There is no such conversation.", code="conversation_not_found")
        said = entries_of([row for row in rows if row["version"] is not None])
        public = [_public(entry) for entry in said]
        answers = [place for place, one in enumerate(public, 1) if one.role == "assistant"]
        known = answers[-1] if answers else 0
        return Dialogue(tuple(public[:known]), tuple(public[known:]))

    # ---- reading ---------------------------------------------------------------------------------

    async def read(
        self, agent_id: int, session_id: UUID, principal: Principal, *, wait: float
    ) -> Session:
        """Returns a session as it stands, but not as thinking before so many seconds have
        passed."""
        place = await self._place(agent_id, principal)
        return await self._settled(place, session_id, wait)

    async def page(
        self,
        agent_id: int,
        principal: Principal,
        *,
        limit: int,
        cursor: str | None = None,
        state: SessionState | None = None,
    ) -> Page[Session]:
        """An agent's sessions, in the order of their making."""
        place = await self._place(agent_id, principal)
        rows = await self._database.fetch(
            sql.PAGE,
            place.names[0],
            place.names[1] if place.manages else None,
            id_in(cursor) or FIRST,
            limit + 1,
            None if state is None else STATES[state],
            {SessionState.SEARCH: True, SessionState.CALL_AGENT: False}.get(state)
            if state
            else None,
        )
        return page(rows, limit, partial(session_of, place))

    async def _settled(self, place: SessionPlace, session_id: UUID, wait: float) -> Session:
        row = await self._row(place, session_id)
        session = session_of(place, row)
        clock: Callable[[], float] = asyncio.get_running_loop().time
        until = clock() + wait
        if wait <= 0 or session.state != SessionState.THINKING:
            return session
        async with self._versions.of(row["kept_in"]) as change:
            while True:
                session = await self._one(place, session_id)
                left = until - clock()
                if session.state != SessionState.THINKING or left <= 0 or self._engine.draining:
                    return session
                await change.wait(min(left, self._engine.runner.polls.replies))

    async def _one(self, place: SessionPlace, session_id: UUID) -> Session:
        return session_of(place, await self._row(place, session_id))

    async def _row(self, place: SessionPlace, session_id: UUID) -> Row:
        row = await self._database.fetchrow(sql.ONE, session_id, place.names)
        if row is None:
            raise _missing()
        return row

    async def _place(self, agent_id: int, principal: Principal) -> SessionPlace:
        return SessionPlace(agent_id, await self._catalog.around(agent_id, principal))

    # ---- answering -------------------------------------------------------------------------------

    async def answer(
        self, agent_id: int, session_id: UUID, given: Given, principal: Principal, *, wait: float
    ) -> Session:
        """Answer a step, or ask how it stands. The same answer to the same step may be sent again.
        Raises WrongStep, InvalidRequest, NotFound."""
        place = await self._place(agent_id, principal)
        if refused := await self._answer(place, TurnId(session_id), given):
            raise WrongStep(refused.reason, await self._one(place, session_id))
        return await self._settled(place, session_id, wait)

    async def _answer(
        self, place: SessionPlace, turn_id: TurnId, given: Given
    ) -> StepRefused | None:
        async with self._database.transaction():
            locked = await self._database.fetchrow(sql.LOCK, turn_id, place.names)
            turn = None if locked is None else await self._ledger.turn(turn_id)
            if turn is None:
                raise _missing()
            work = _work(place, turn)
            progress = await self._stand(turn, work)
            if turn.served and turn.state == TurnState.COMPLETED and given.context == turn.answer:
                return None  # the last answer, sent again
            match judge(progress, given):
                case StepRefused() as refused:
                    return refused
                case Nothing():
                    return None
                case Delivery() as delivery:
                    await self._write(turn, work, delivery)
                    return None

    async def _stand(self, turn: StoredTurn, work: Work) -> SessionProgress:
        past = await self._ledger.past(turn.id)
        return stand(work, past.events, waiting=turn.state == TurnState.WAITING)

    async def _write(self, turn: StoredTurn, work: Work, delivery: Delivery) -> None:
        if delivery.recipient == END_USER:
            await self._ledger.answered_outside(turn, delivery.sender, delivery.text)
            self._engine.begin_next(turn.conversation_id)
            return
        work.apply(Event(turn.version + 1, (delivery,)))
        following = work.awaited()
        row = await self._database.fetchrow(
            sql.ANSWER,
            turn.conversation_id,
            turn.id,
            None if following is None else encoded(following),
            SESSION_WAIT,
            *message_columns((delivery,)),
        )
        if row is None:
            raise LookupError("a locked conversation is gone")
        announce(self._database, self._announcer, turn.conversation_id, row["version"])
        if following is None:
            self._engine.go_on_with([turn.id])

    async def cancel(self, agent_id: int, session_id: UUID, principal: Principal) -> Session:
        """Cancel a session. One that has ended stays as it is."""
        place = await self._place(agent_id, principal)
        await self._one(place, session_id)
        await self._engine.cancel(TurnId(session_id))
        return await self._one(place, session_id)


def _public(entry: Entry) -> Public:
    """A message as a session begins with it. Its files stand in its text, since a session outlives
    them; who speaks stays apart from that."""
    return Public(entry.role, entry.told, kept(entry.parts, entry.by))


def _work(place: SessionPlace, turn: StoredTurn) -> Work:
    agency = place.agency.entered_by(place.agent_id) or place.agency
    return begin(agency, turn.ask.within(agency.limits), manual=True, served=turn.served)


def _missing() -> NotFound:
    return NotFound("There is no such session.", code="session_not_found")


def session_of(place: SessionPlace, row: Row) -> Session:
    """Reads the columns of `sql.SESSION`."""
    question = None
    if row["state"] == TurnState.WAITING and row["awaited"] is not None:
        question = msgspec.json.decode(row["awaited"], type=Question)
    state = _state(row["state"], question)
    asker = None if question is None else place.agency.agent(question.asker)
    return Session(
        id=row["id"],
        agent_id=place.agent_id,
        conversation_id=row["conversation_id"],
        state=state,
        step=row["answers"] + 1,
        question=question,
        collections=() if asker is None else asker.collections,
        message=row["answer"] if state == SessionState.RESOLVED else None,
        error=None if row["error"] is None else msgspec.json.decode(row["error"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _state(of_turn: str, question: Question | None) -> SessionState:
    if question is not None:
        return SessionState.SEARCH if question.asked == LIBRARY else SessionState.CALL_AGENT
    return next(state for state, ones in STATES.items() if of_turn in ones)
