"""The conversation room's tables. The migrations create them; a test holds the two together.

A column that names another row says so, for the admin's links; few of these links are constraints
of the database (`docs/decisions/0002`). What is `secret` is not shown there.
"""

from __future__ import annotations

from piccolo.columns import (
    JSONB,
    UUID,
    Array,
    BigInt,
    Boolean,
    Bytea,
    ForeignKey,
    Integer,
    Text,
    Timestamptz,
)
from piccolo.columns.readable import Readable
from piccolo.columns.reference import LazyTableReference
from piccolo.table import Table

TURN = LazyTableReference("Turn", module_path="gateway.agency.tables")
INTERACTION = LazyTableReference("Interaction", module_path="gateway.conversation.tables")


class Conversation(Table):
    """What its participants see: an ordered list of interactions, owned by a user.

    `version` rises by one with every transaction that changes the conversation; `length` counts
    the interactions ever made in it. `root_id` is shared by a conversation and all its forks. A
    fork left its parent at the reply of a turn, or at an interaction.
    `described_version` is that of the last change of its own columns; a trigger keeps it.
    """

    id = UUID(primary_key=True)
    owner_type = Text()
    owner_identifier = Text()
    title = Text(null=True, default=None)
    provider_id = Text(null=True, default=None)
    model_id = Text(null=True, default=None)
    drive = Text()
    version = BigInt()
    described_version = BigInt()
    length = BigInt()
    root_id: ForeignKey[Table] = ForeignKey("self", null=False)
    parent_id: ForeignKey[Table] = ForeignKey("self")
    forked_at_turn: ForeignKey[Table] = ForeignKey(TURN)
    forked_at_interaction: ForeignKey[Table] = ForeignKey(INTERACTION)
    created_at = Timestamptz()
    updated_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s (%s)", columns=[cls.title, cls.id])


class Interaction(Table):
    """One visible entry of a conversation: a person's message or a bot's reply.

    `parts` keeps the parts of a message that is more than text; `content` is then their text.
    `ordinal` orders the interactions of a conversation; `version` is that of its last change. One
    that is `silent` is a reply without a word so far, and not shown. A reply is `outdated` once
    what it answers was edited.
    """

    id = UUID(primary_key=True)
    conversation_id = ForeignKey(Conversation, null=False)
    ordinal = BigInt()
    owner_type = Text()
    owner_identifier = Text()
    content = Text()
    file_ids = Array(base_column=UUID(), null=True, default=None)
    skill_set_ids = Array(base_column=UUID(), null=True, default=None)
    parts = JSONB(null=True, default=None)
    provider_id = Text(null=True, default=None)
    model_id = Text(null=True, default=None)
    errors = JSONB(null=True, default=None)
    silent = Boolean()
    marked_as_excluded_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)
    completed_at = Timestamptz(null=True, default=None)
    edited_at = Timestamptz(null=True, default=None)
    edited_by_type = Text(null=True, default=None)
    edited_by_identifier = Text(null=True, default=None)
    deleted_by = Text(null=True, default=None)
    outdated = Boolean()
    version = BigInt()

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(
            template="%s %s (%s)", columns=[cls.owner_type, cls.owner_identifier, cls.id]
        )


class InteractionEdit(Table, tablename="interaction_edit"):
    """What an interaction said before an edit, and who had written that. `version` is the one that
    the interaction had then."""

    interaction_id = ForeignKey(Interaction, null=False, primary_key=True)
    version = BigInt()
    owner_type = Text()
    owner_identifier = Text()
    content = Text()
    written_at = Timestamptz()


class Participant(Table):
    """A member of a conversation: a user, an agent, an agency or a model.

    `ordinal` is its place among them, in which bots answer. `status` is what it does at the moment;
    one that must be renewed ends with `status_until`. A user with an open stream is taken to be
    there until `present_until`, and one who has said to be offline is `away`. A user is invited,
    by `invited_by`, until `joined_at`. A bot whose `drive` is manual is served by somebody
    outside.
    """

    conversation_id = ForeignKey(Conversation, null=False, primary_key=True)
    kind = Text()
    identifier = Text()
    ordinal = Integer()
    drive = Text(default="auto")
    status = Text()
    status_until = Timestamptz(null=True, default=None)
    present_until = Timestamptz(null=True, default=None)
    away = Boolean()
    invited_at = Timestamptz()
    invited_by = Text(null=True, default=None)
    joined_at = Timestamptz(null=True, default=None)
    left_at = Timestamptz(null=True, default=None)
    version = BigInt()


class ParticipantRight(Table, tablename="participant_right"):
    """What a user may do in a conversation. Its owner may do everything, without rows."""

    conversation_id = ForeignKey(Conversation, null=False, primary_key=True)
    kind = Text()
    identifier = Text()
    right = Text()
    granted_at = Timestamptz()


class IdempotencyKey(Table, tablename="idempotency_key"):
    """A request that must have its effect once. `turn_id` is the turn that it began, `response` the
    first answer to it, byte for byte."""

    user = Text(primary_key=True)
    endpoint = Text()
    key = Text()
    body_hash = Bytea(secret=True)
    turn_id: ForeignKey[Table] = ForeignKey(TURN)
    response = Bytea(null=True, default=None, secret=True)
    created_at = Timestamptz()


class File(Table):
    """A text file, whose `content` stands with the messages that name it. Deleting empties it."""

    id = UUID(primary_key=True)
    owner = Text()
    filename = Text()
    purpose = Text()
    bytes = BigInt()
    content = Bytea(secret=True)
    created_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s", columns=[cls.filename])


class SkillSet(Table, tablename="skill_set"):
    """A prompt with a name, given to the responder for the messages that name it."""

    id = UUID(primary_key=True)
    owner_type = Text()
    owner_identifier = Text()
    name = Text()
    icon = Text()
    description = Text()
    prompt = Text()
    created_at = Timestamptz()
    updated_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s", columns=[cls.name])
