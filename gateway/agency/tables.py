"""The agency room's tables. The migrations create them; a test holds the two together."""

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
    SmallInt,
    Text,
    Timestamptz,
)
from piccolo.columns.readable import Readable
from piccolo.columns.reference import LazyTableReference
from piccolo.table import Table

from gateway.auth import ApiKey
from gateway.conversation.tables import Conversation, Interaction

AGENT = LazyTableReference("Agent", module_path="gateway.agency.tables")
MESSAGE = LazyTableReference("Message", module_path="gateway.agency.tables")


class Agency(Table):
    """A team. `revision` rises with every change of it or of its agents, so a cached copy is
    checked by one comparison."""

    id = BigInt(primary_key=True)
    name = Text()
    manager_id: ForeignKey[Table] = ForeignKey(AGENT)
    owner = Text()
    shared = Boolean()
    settings = JSONB()
    revision = BigInt()
    created_at = Timestamptz()
    updated_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s (%s)", columns=[cls.name, cls.id])


class Agent(Table):
    id = BigInt(primary_key=True)
    agency_id = ForeignKey(Agency, null=False)
    name = Text()
    instructions = Text()
    model = Text(null=True, default=None)
    collections = Array(base_column=Text())
    params = JSONB()
    remote = Text(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s (%s)", columns=[cls.name, cls.id])


class Turn(Table):
    """One input and one responder's work on it. The unit of durability.

    `seq` is the ordinal of the reply. `history_hash` is the chained hash of the public history up
    to the input while the turn is open, and up to its answer once it is completed. `request_hash`
    tells the same request when it comes again. `fence` rises each time a process takes the turn.
    Unless it is `attended`, the work goes on whether or not anybody waits for it. `awaited` is the
    question `{asker, asked, text}` that a waiting turn waits for. `driven` stands for this turn
    where the conversation's drive does not: manual, or auto once its bot is driven by hand no more.
    """

    id = UUID(primary_key=True)
    conversation_id = ForeignKey(Conversation, null=False)
    responder = Text()
    seq = BigInt()
    input_interaction_id = ForeignKey(Interaction, null=False)
    reply_interaction_id = ForeignKey(Interaction, null=False)
    system_message_id: ForeignKey[Table] = ForeignKey(MESSAGE)
    state = Text()
    attended = Boolean()
    attempt = SmallInt()
    owner_node = Text(null=True, default=None)
    fence = BigInt()
    lease_until = Timestamptz(null=True, default=None)
    history_hash = Bytea(null=True, default=None, secret=True)
    request_hash = Bytea(null=True, default=None, secret=True)
    request = JSONB(secret=True)
    metadata = JSONB(null=True, default=None)
    principal = Text()
    key_id = ForeignKey(ApiKey)
    prompt_tokens = Integer()
    completion_tokens = Integer()
    finish_reason = Text(null=True, default=None)
    error = JSONB(null=True, default=None)
    awaited = JSONB(null=True, default=None)
    driven = Text(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()
    completed_at = Timestamptz(null=True, default=None)
    version = BigInt()

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s, %s (%s)", columns=[cls.responder, cls.state, cls.id])


class Step(Table):
    """One model call of one agent, written when it has ended.

    A plain model has no agent. `read_version`: the agent's context held every message up to this
    version. `output` is the raw text where the messages don't tell it: it was no envelope, or more
    than one.
    """

    id = UUID(primary_key=True)
    turn_id = ForeignKey(Turn, null=False)
    agent_id = ForeignKey(Agent)
    attempt = SmallInt()
    model = Text()
    provider = Text(null=True, default=None)
    read_version = BigInt()
    output = Text(null=True, default=None)
    prompt_tokens = Integer()
    completion_tokens = Integer()
    error = JSONB(null=True, default=None)
    started_at = Timestamptz()
    completed_at = Timestamptz()
    version = BigInt()


class Message(Table):
    """One entry of one agent's private context, ordered by (version, ordinal). Never changed.

    `text` is null where the message stands for an interaction, whose text it takes.
    """

    id = UUID(primary_key=True)
    conversation_id = ForeignKey(Conversation, null=False)
    turn_id = ForeignKey(Turn)
    step_id = ForeignKey(Step)
    interaction_id = ForeignKey(Interaction)
    linked_message_id: ForeignKey[Table] = ForeignKey("self")
    agent_id = ForeignKey(Agent, null=False)
    role = Text()
    from_id = BigInt(null=True, default=None)
    to_id = BigInt(null=True, default=None)
    text = Text(null=True, default=None)
    ordinal = Integer()
    version = BigInt()
    created_at = Timestamptz()


class PlainCall(Table, tablename="plain_call"):
    """One call of a plain model, and no words of it. Written when it begins, completed when it has
    ended: without `finished_at` it is under way, or its process was lost.

    `status` is the HTTP status that the client got (499 if it had gone) or, once an answer had
    begun, would have got; `error` is the code. `end_user` is the client's `user`. `cached_tokens`
    are a part of `input_tokens`. Tokens are null where no model was reached, and unless `counted`
    estimates of ours.
    """

    id = UUID(primary_key=True)
    key_id = ForeignKey(ApiKey, null=False)
    user = Text()
    end_user = Text(null=True, default=None)
    model = Text()
    provider = Text()
    streamed = Boolean()
    status = SmallInt(null=True, default=None)
    error = Text(null=True, default=None)
    input_tokens = Integer(null=True, default=None)
    cached_tokens = Integer(null=True, default=None)
    output_tokens = Integer(null=True, default=None)
    counted = Boolean()
    started_at = Timestamptz()
    finished_at = Timestamptz(null=True, default=None)
