"""What accepting a request writes: pure, from a request and the place where it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from gateway import ids
from gateway.agency.intake.accept import EntryMessage, NewInteraction, NewTurn
from gateway.agency.speech.parts import speaker
from gateway.agency.speech.prompt import END_USER, Entry
from gateway.agency.teams.team import AgencySpec
from gateway.agency.turn.events import Delivery
from gateway.agency.turn.request import ChatRequest, Public
from gateway.auth import Principal
from gateway.ids import TurnId

TITLE = 100
"""Characters of the first input that name a conversation at the chat door."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A request, whom it is put to, and who puts it."""

    request: ChatRequest
    agency: AgencySpec
    principal: Principal


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes on: the client's system message in force there, the part of the client's
    history that the conversation does not know, and the hash of the history up to the input."""

    conversation_id: UUID
    chain: bytes | None
    unknown: Sequence[Public] = ()
    system: str | None = None
    system_message_id: UUID | None = None


def draft(asked: Submission, place: Place) -> NewTurn:
    """The rows of a new turn."""
    request, agency, principal = asked.request, asked.agency, asked.principal
    entry = int(agency.manager_id)
    # A history that ends with an answer asks for another one: the input is then empty.
    inputs = request.dialogue.inputs or (Public("user", ""),)
    said = [*_said(asked, place.unknown, imported=True), *_said(asked, inputs, imported=False)]
    system_message_id, told = _system(request.dialogue.system, place, entry)
    return NewTurn(
        turn_id=TurnId(ids.new()),
        conversation_id=place.conversation_id,
        responder=request.responder,
        agency_id=int(agency.id),
        revision=agency.revision,
        entry=entry,
        key_id=principal.key_id,
        principal=principal.user,
        title=inputs[0].content.strip()[:TITLE],
        interactions=[*(interaction for interaction, _ in said), _reply(request.responder)],
        messages=[*told, *(message for _, message in said)],
        system_message_id=system_message_id,
        history_hash=place.chain,
        request_hash=request.digest,
        ask=request.ask,
        metadata=request.metadata,
    )


def _said(
    asked: Submission, pairs: Sequence[Public], *, imported: bool
) -> Iterable[tuple[NewInteraction, EntryMessage]]:
    entry = int(asked.agency.manager_id)
    for pair in pairs:
        interaction = _interaction(pair, asked.request.responder, asked.principal)
        yield interaction, _message(pair, interaction.id, entry, imported=imported)


def _system(system: str | None, place: Place, entry: int) -> tuple[UUID | None, list[EntryMessage]]:
    """The client's system message: its id, and its row unless it is the one in force."""
    if system is None:
        return None, []
    if system == place.system and place.system_message_id is not None:
        return place.system_message_id, []
    message = EntryMessage(ids.new(), "system", None, entry, text=system)
    return message.id, [message]


def inbound(turn: NewTurn) -> list[Delivery]:
    """Returns what the end user says to the entry agent in this turn."""
    texts = {i.id: i.content for i in turn.interactions}
    return [
        Delivery(END_USER, turn.entry, texts[message.interaction_id])
        for message in turn.messages
        if message.interaction_id is not None and not message.imported
    ]


def entries(turn: NewTurn, version: int) -> list[Entry]:
    """The same as entries of the entry agent's context, what was imported included."""
    said = {i.id: i for i in turn.interactions}
    return [
        Entry(
            role=message.role,
            from_id=message.from_id,
            to_id=message.to_id,
            text=said[message.interaction_id].content,
            version=version,
            turn_id=None if message.imported else turn.turn_id,
            parts=said[message.interaction_id].parts,
            by=speaker(said[message.interaction_id].parts),
        )
        for message in turn.messages
        if message.interaction_id is not None
    ]


def _interaction(pair: Public, responder: str, principal: Principal) -> NewInteraction:
    owner = ("bot", responder) if pair.role == "assistant" else ("user", principal.user)
    return NewInteraction(
        ids.new(), owner, pair.content, responder, pair.parts, file_ids=pair.file_ids
    )


def _reply(responder: str) -> NewInteraction:
    return NewInteraction(ids.new(), ("bot", responder), "", responder, done=False)


def _message(pair: Public, interaction_id: UUID, entry: int, *, imported: bool) -> EntryMessage:
    if pair.role == "assistant":
        return EntryMessage(ids.new(), "assistant", entry, None, interaction_id, imported=imported)
    return EntryMessage(ids.new(), "user", None, entry, interaction_id, imported=imported)
