"""Where a request goes on: in a new conversation, in one that is known, or in a copy of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from gateway import ids
from gateway.agency.intake.accept import Begun, Intake, NewTurn
from gateway.agency.intake.draft import Place, Submission, draft
from gateway.agency.ledger.context_cache import ContextCache
from gateway.agency.speech.prompt import Entry
from gateway.agency.turn import lineage
from gateway.agency.turn.lineage import PROBED_FIRST, Begin, Chain, Continue, Decision, Fork, Match
from gateway.agency.turn.request import Public
from gateway.auth import Principal
from gateway.ids import TurnId


@dataclass(frozen=True, slots=True)
class Accepted:
    """A turn that is ours to run. `contexts` are those that are known, the entry agent's among
    them; if `fresh`, who has none has said and heard nothing. If it is `attended`, somebody waits
    for its reply."""

    asked: Submission
    turn: NewTurn
    begun: Begun
    contexts: Mapping[int, list[Entry]] = field(default_factory=dict)
    fresh: bool = False
    attended: bool = True

    @property
    def turn_id(self) -> TurnId:
        return self.turn.turn_id


class Reception:
    """Accepts chat completions. None from any of its methods: what the request rested on (key,
    agency, place in the conversation) has changed meanwhile, or it is suspended already."""

    def __init__(self, intake: Intake, cache: ContextCache) -> None:
        self._intake = intake
        self._cache = cache

    async def seen(self, asked: Submission, *, retry: bool) -> TurnId | None:
        """The turn that the same request began."""
        digest = asked.request.digest
        return await self._intake.seen(digest, asked.agency, asked.principal, retry=retry)

    async def rejoin(self, asked: Submission) -> Accepted | None:
        """Go on where the client's history ends."""
        request, dialogue = asked.request, asked.request.dialogue
        chain = lineage.chain(request.scope, dialogue.history, dialogue.inputs)
        decision, known = await self._decide(chain, dialogue.system, asked.principal)
        unknown = dialogue.history[known:]
        match decision:
            case Begin():
                return await self._begin(asked, Place(ids.new(), chain.whole, unknown))
            case Continue(match):
                return await self._continue(asked, match, chain.whole, unknown)
            case Fork():
                return await self._fork(asked, decision, chain.whole, unknown)

    async def _decide(
        self, chain: Chain, system: str | None, principal: Principal
    ) -> tuple[Decision, int]:
        """Returns what to do with a history, and how many of its messages are known."""
        for prefixes in (chain.prefixes[:PROBED_FIRST], chain.prefixes[PROBED_FIRST:]):
            if not prefixes:
                break
            found = await self._intake.matches([digest for digest, _ in prefixes], principal)
            for digest, count in prefixes:
                matches = [match for match in found if match.history_hash == digest]
                decision = lineage.decide(matches, system)
                if not isinstance(decision, Begin):
                    return decision, count
        return Begin(), 0

    async def _begin(self, asked: Submission, place: Place) -> Accepted | None:
        turn = draft(asked, place)
        begun = await self._intake.begin(turn)
        return None if begun is None else Accepted(asked, turn, begun, fresh=True)

    async def open(self, asked: Submission, drive: str, source: UUID | None) -> Accepted | None:
        """Begin a session, with all that was said before. `source` is the conversation that it
        answers."""
        turn = draft(asked, Place(ids.new(), None, asked.request.dialogue.history))
        begun = await self._intake.open(turn, drive, source)
        if begun is None:
            return None
        return Accepted(asked, turn, begun, fresh=True, attended=False)

    async def _continue(
        self, asked: Submission, match: Match, chain: bytes | None, unknown: Sequence[Public] = ()
    ) -> Accepted | None:
        turn = draft(
            asked,
            Place(match.conversation_id, chain, unknown, match.system, match.system_message_id),
        )
        entry = turn.entry
        known = self._cache.recall(match.conversation_id, match.version)
        unread = known is None or not (known.all or entry in known.contexts)
        begun = await self._intake.continue_(turn, match.version, read=unread)
        if begun is None:
            return None
        contexts = {} if known is None else dict(known.contexts)
        contexts.setdefault(entry, begun.context)
        return Accepted(asked, turn, begun, contexts, fresh=known is not None and known.all)

    async def _fork(
        self, asked: Submission, fork: Fork, chain: bytes, unknown: Sequence[Public]
    ) -> Accepted | None:
        try:
            async with self._intake.transaction():
                copy = await self._intake.fork(fork, ids.new())
                if copy and (accepted := await self._continue(asked, copy, chain, unknown)):
                    return accepted
                raise TakenBack
        except TakenBack:
            return None


class TakenBack(Exception):
    """Leaving a transaction by an exception takes back what was written."""
