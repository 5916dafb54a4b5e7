"""The document that an export is. Ids in it link its parts; an import gives each a new one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from gateway.conversation.rooms.participants import ParticipantKind

FORMAT: Final = "agency-gateway/conversation"
FORMAT_VERSION: Final = 1

Count = Annotated[int, Meta(ge=0, lt=2**62)]
Agent = Annotated[int, Meta(ge=-(2**62), lt=2**62)]
Name = Annotated[str, Meta(max_length=1000)]
Role = Literal["system", "user", "assistant"]


class WriterPart(msgspec.Struct):
    type: Literal["user", "bot", "agent", "agency", "model"]
    identifier: Annotated[str, Meta(max_length=256)]


class ConversationPart(msgspec.Struct, kw_only=True):
    id: str
    title: Annotated[str, Meta(max_length=200)] | None
    owner: WriterPart
    drive: Literal["auto", "manual"]
    provider_id: Name | None
    model_id: Name | None
    version: Count
    created_at: datetime
    updated_at: datetime


class ParticipantPart(msgspec.Struct, kw_only=True):
    kind: ParticipantKind
    identifier: Annotated[str, Meta(max_length=256)]
    joined_at: datetime | None
    left_at: datetime | None


class FilePart(msgspec.Struct, kw_only=True):
    """A file that messages name; `content` is in Base64."""

    id: str
    filename: Name
    purpose: Name
    content: bytes
    created_at: datetime


class EditionPart(msgspec.Struct, kw_only=True):
    """What a message said before an edit. `version` is the one that it had then."""

    version: Count
    owner: WriterPart
    content: str
    written_at: datetime


class MessagePart(msgspec.Struct, kw_only=True):
    """`ordinal` is its place. One that is `silent` is a reply without a word, and not shown."""

    id: str
    ordinal: Annotated[int, Meta(ge=1, lt=2**62)]
    owner: WriterPart
    content: str
    parts: list[object] | None = None
    file_ids: list[str] = []
    provider_id: Name | None = None
    model_id: Name | None = None
    errors: list[object] = []
    silent: bool = False
    outdated: bool = False
    marked_as_excluded_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime
    edited_at: datetime | None = None
    edited_by: WriterPart | None = None
    version: Count
    history: list[EditionPart] = []


class TurnPart(msgspec.Struct, kw_only=True):
    """What one responder did about one message. `request` is how the answer was wanted."""

    id: str
    responder: Name
    input_interaction_id: str
    reply_interaction_id: str
    system_message_id: str | None = None
    state: Literal["completed", "failed", "cancelled"]
    attempt: Annotated[int, Meta(ge=0, le=1000)] = 1
    attended: bool = False
    request: object = None
    finish_reason: Name | None = None
    error: object = None
    prompt_tokens: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    completion_tokens: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None
    version: Count


class StepPart(msgspec.Struct, kw_only=True):
    """One model call of one agent."""

    id: str
    turn_id: str
    agent_id: Agent | None
    attempt: Annotated[int, Meta(ge=0, le=1000)] = 1
    model: Name
    provider: Name | None = None
    read_version: Count
    output: str | None = None
    prompt_tokens: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    completion_tokens: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    error: object = None
    started_at: datetime
    completed_at: datetime
    version: Count


class ContextPart(msgspec.Struct, kw_only=True):
    """One entry of one agent's context. Its text is that of `interaction_id` if that is named."""

    id: str
    turn_id: str | None = None
    step_id: str | None = None
    interaction_id: str | None = None
    linked_message_id: str | None = None
    agent_id: Agent
    role: Role
    from_id: Agent | None = None
    to_id: Agent | None = None
    text: str | None = None
    ordinal: Annotated[int, Meta(ge=0, lt=2**31)]
    version: Count
    created_at: datetime


class ExportedConversation(msgspec.Struct, kw_only=True):
    """`format` and `format_version` say what it is."""

    format: str
    format_version: int
    exported_at: datetime
    conversation: ConversationPart
    participants: list[ParticipantPart]
    files: list[FilePart]
    messages: list[MessagePart]
    turns: list[TurnPart]
    steps: list[StepPart]
    contexts: list[ContextPart]


PARTS: Final[dict[str, type[msgspec.Struct]]] = {
    "participants": ParticipantPart,
    "files": FilePart,
    "messages": MessagePart,
    "turns": TurnPart,
    "steps": StepPart,
    "contexts": ContextPart,
}
"""The lists of a document, in the order in which they are written and read."""
