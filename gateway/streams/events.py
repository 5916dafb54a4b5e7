"""What a channel tells: a closed set, each event with its name as `type`.

A reader upserts what comes as `*.created` or `*.updated`, by id, and removes what comes as
`*.deleted`. `interaction.delta` alone is not stored and has no place in the order of versions.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

Json: TypeAlias = msgspec.Raw
"""What is passed on as it stands in the rows."""


class Owner(msgspec.Struct, frozen=True):
    """`type` is user, agent, agency, model or bot."""

    type: str
    identifier: str


class Interaction(msgspec.Struct, frozen=True):
    """One visible entry of a conversation. `completed_at` is null while its text still grows. A
    reply is `outdated` if what it answers was edited since."""

    id: str
    owner: Owner
    content: str
    file_ids: list[str]
    skill_set_ids: list[str]
    provider_id: str | None
    model_id: str | None
    errors: list[Json]
    marked_as_excluded_at: datetime | None
    created_at: datetime
    updated_at: datetime
    edited_at: datetime | None
    outdated: bool
    completed_at: datetime | None
    version: int


class Participant(msgspec.Struct, frozen=True):
    """`kind` is user, agent, agency or model; only users have rights. A bot whose `drive` is
    manual is served by somebody outside. Who has been invited and has
    not joined has no `joined_at`."""

    kind: str
    identifier: str
    status: str
    drive: str
    rights: list[str]
    invited_at: datetime
    joined_at: datetime | None
    left_at: datetime | None
    version: int


class Awaits(msgspec.Struct, frozen=True):
    """Where a turn that waits is answered by hand: the session, and the number of the answer.
    `state` is search or call_agent. What is asked, the session tells."""

    session_id: str
    agent_id: int | None
    step: int
    state: str


class Turn(msgspec.Struct, frozen=True):
    """`state` is queued, running, waiting, suspended, completed, failed or cancelled. `awaits` is
    for those who may hear its agents, while it waits."""

    id: str
    responder: str
    state: str
    attempt: int
    input_interaction_id: str
    reply_interaction_id: str
    awaits: Awaits | None
    finish_reason: str | None
    error: Json
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    version: int


class Message(msgspec.Struct, frozen=True):
    """One entry of one agent's context. `from` is null if it came from the API, `to` is null if
    it goes there."""

    id: str
    turn_id: str | None
    agent_id: int
    role: str
    linked_message_id: str | None
    from_id: int | None = msgspec.field(name="from")
    to: int | None
    text: str
    created_at: datetime
    version: int


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation without what was said in it."""

    id: str
    title: str | None
    owner: Owner
    drive: str
    provider_id: str | None
    model_id: str | None
    parent_id: str | None
    stream_channel_id: str
    created_at: datetime
    updated_at: datetime
    version: int


class WholeConversation(Conversation, frozen=True, kw_only=True):
    """The body of a conversation's GET. `messages` are its interactions, oldest first."""

    participants: list[Participant]
    messages: list[Interaction]


class _Event(msgspec.Struct, frozen=True, tag_field="type"):
    pass


class Snapshot(_Event, frozen=True, tag="snapshot"):
    conversation: WholeConversation


class Reset(_Event, frozen=True, tag="reset"):
    """The position that was asked for can't be used: forget everything and begin here."""

    conversation: WholeConversation


class ConversationUpdated(_Event, frozen=True, tag="conversation.updated"):
    conversation: Conversation


class ConversationDeleted(_Event, frozen=True, tag="conversation.deleted"):
    conversation_id: str


class ParticipantUpdated(_Event, frozen=True, tag="participant.updated"):
    participant: Participant


class InteractionCreated(_Event, frozen=True, tag="interaction.created"):
    interaction: Interaction


class InteractionUpdated(_Event, frozen=True, tag="interaction.updated"):
    interaction: Interaction


class InteractionDeleted(_Event, frozen=True, tag="interaction.deleted"):
    interaction_id: str


class InteractionDelta(_Event, frozen=True, tag="interaction.delta"):
    """`text` stands at `offset`, in code points. A higher `attempt` begins the text anew."""

    interaction_id: str
    attempt: int
    offset: int
    text: str


class TurnUpdated(_Event, frozen=True, tag="turn.updated"):
    turn: Turn


class MessageCreated(_Event, frozen=True, tag="message.created"):
    message: Message


Change: TypeAlias = (
    ConversationUpdated
    | ConversationDeleted
    | ParticipantUpdated
    | InteractionCreated
    | InteractionUpdated
    | InteractionDeleted
    | TurnUpdated
    | MessageCreated
)
"""What a version can consist of."""

Event: TypeAlias = Change | Snapshot | Reset | InteractionDelta


def name_of(event: Event) -> str:
    return str(type(event).__struct_config__.tag)


def interaction_of(event: Event) -> str | None:
    """The interaction that an event is about, if it is about one."""
    match event:
        case InteractionCreated(interaction) | InteractionUpdated(interaction):
            return interaction.id
        case InteractionDeleted() | InteractionDelta():
            return event.interaction_id
        case _:
            return None


def as_replay(event: Change) -> Change:
    """Returns the change for a reader that catches up: it may have seen the row before, so the row
    is told as it stands, not as new."""
    if isinstance(event, InteractionCreated):
        return InteractionUpdated(event.interaction)
    return event
