"""What an agent of another gateway is told. It knows neither envelopes nor this team. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from gateway.agency.model import ChatMessage, Json
from gateway.agency.speech.prompt import Entry, plain, wanted_format

MODEL: Final = "remote"
PROVIDER: Final = "agency"
"""The model and the provider of its steps."""


def system(instructions: str, custom: str | None, wanted: Mapping[str, Json] | None) -> str:
    """Returns the system message of one that answers the end user, with the client's own and its
    `response_format`."""
    told = (instructions.strip(), custom, None if wanted is None else wanted_format(wanted))
    return "\n\n".join(text for text in told if text)


def heard_last(context: Sequence[Entry], turn_id: UUID, read: int) -> list[Entry]:
    """A context in which all that the agent has not read (up to the version `read`) comes last:
    what came while it spoke stands before its answer, and a session answers what stands last."""

    def unread(entry: Entry) -> bool:
        return entry.role == "user" and entry.turn_id == turn_id and entry.version > read

    return sorted(context, key=unread)


def messages(system: str, entries: Iterable[Entry], budget: int) -> list[ChatMessage]:
    """Returns a chat: what the agent was told as the user's words, what it said as its own."""
    return plain(system, list(_each_once(entries)), budget)


def _each_once(entries: Iterable[Entry]) -> Iterable[Entry]:
    """An answer to several agents stands in the context once for each; it is sent once."""
    told: UUID | None = None
    for entry in entries:
        if entry.role != "assistant" or entry.step_id is None or entry.step_id != told:
            yield entry
        if entry.role == "assistant":
            told = entry.step_id
