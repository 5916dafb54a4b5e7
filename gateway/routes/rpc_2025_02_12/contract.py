"""The RPC contract of 2025-02-12: what `POST /rpc/2025-02-12/<endpoint>` takes and answers.

The shapes are those of `svc_conversation`, and of skill sets in the same style. Every field of an
answer is always there, null where there is nothing to say. An answer of null has no shape here. A
contract that was published is not changed: a new one gets a new date.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

MOST_IDS = 1000
"""Of conversations or interactions in one request."""

UserName = Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9._@-]+(?!\n)$")]
ModelId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        description="A model of the upstream's, or `agency/<id>`.",
        examples=["gpt-4o-mini", "agency/1"],
    ),
]
Provider: TypeAlias = Literal["open_ai"]
ProviderId = Annotated[Provider, Meta(extra={"reason": "unknown_provider"})]
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=255)]
Id = Annotated[str, Meta(max_length=100)]
Ids = Annotated[list[Id], Meta(max_length=MOST_IDS)]
SomeIds = Annotated[list[Id], Meta(min_length=1, max_length=MOST_IDS)]
Attached = Annotated[list[Id], Meta(max_length=100)]


class ConversationOwner(Struct):
    type: Literal["user"]
    identifier: UserName


class AiRelayOptions(Struct):
    provider_id: ProviderId
    model_id: ModelId


class ShownAiRelayOptions(Struct):
    """`model_id` is empty where no model was chosen, as in conversations of the other doors."""

    provider_id: Provider
    model_id: str


class MessageOptions(Struct):
    use_streaming: bool


# ---- conversations -------------------------------------------------------------------------------


class CreateConversation(Struct):
    idempotency_key: IdempotencyKey
    owner: ConversationOwner
    ai_relay_options: AiRelayOptions


class CreateConversationMessage(Struct):
    """`ai_relay_options` of null stands for the conversation's."""

    conversation_id: Id
    idempotency_key: IdempotencyKey
    message_content: str
    file_ids: Attached
    skill_set_ids: Attached
    owner: ConversationOwner
    ai_relay_options: AiRelayOptions | None
    options: MessageOptions


class GetConversationWithInteractions(Struct):
    conversation_id: Id


class ListConversationsWithInteractions(Struct):
    """All at once; or, with a `limit`, page by page: the answer's `x-next-cursor` is the next
    page's `cursor`."""

    owner: ConversationOwner
    limit: Annotated[int, Meta(ge=1, le=1000)] | None = None
    cursor: Id | None = None


class DeleteConversations(Struct):
    conversation_ids: SomeIds


class DeleteInteractions(Struct):
    """`interaction_ids` is one id or a list of them."""

    interaction_ids: Id | SomeIds


class UpdateInteractionExcludedState(Struct):
    interaction_id: Id
    excluded: bool


class ErrorReason(Struct):
    code: str
    message: str


class RpcError(Struct):
    """Why there is no answer: of a request, or of an interaction."""

    code: str
    message: str
    reasons: list[ErrorReason]


class InteractionOwner(Struct):
    """`identifier` of a bot is its model."""

    type: Literal["user", "bot"]
    identifier: str


class ConversationInteraction(Struct):
    """`completed_at` is null while the text still grows."""

    id: str
    file_ids: list[str]
    skill_set_ids: list[str]
    marked_as_excluded_at: datetime | None
    message_content: str
    errors: list[RpcError]
    owner: InteractionOwner
    ai_relay_options: ShownAiRelayOptions
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    completed_at: datetime | None


class CreatedConversation(Struct):
    conversation_id: str
    owner: ConversationOwner
    ai_relay_options: ShownAiRelayOptions
    title: str | None
    stream_channel_id: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class CreatedConversationMessage(Struct):
    """`stream_channel_id` is the channel of the reply alone."""

    conversation_id: str
    input_interaction: ConversationInteraction
    response_interaction: ConversationInteraction
    stream_channel_id: str


class ConversationWithInteractions(Struct):
    conversation_id: str
    owner: ConversationOwner
    ai_relay_options: ShownAiRelayOptions
    title: str | None
    stream_channel_id: str
    interactions: list[ConversationInteraction]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class ListedConversation(Struct):
    id: str
    owner: ConversationOwner
    ai_relay_options: ShownAiRelayOptions
    title: str | None
    stream_channel_id: str
    interactions: list[ConversationInteraction]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class ConversationsWithInteractions(Struct):
    conversations: list[ListedConversation]


# ---- skill sets ----------------------------------------------------------------------------------

SkillSetName = Annotated[str, Meta(min_length=1, max_length=100)]
SkillSetIcon = Annotated[str, Meta(max_length=64)]
SkillSetDescription = Annotated[str, Meta(max_length=1_000)]
SkillSetPrompt = Annotated[str, Meta(max_length=20_000)]


class CreateSkillSet(Struct):
    owner: ConversationOwner
    name: SkillSetName
    icon: SkillSetIcon
    description: SkillSetDescription
    prompt: SkillSetPrompt
    idempotency_key: IdempotencyKey | None = None


class GetSkillSet(Struct):
    skill_set_id: Id


class GetManySkillSets(Struct):
    skill_set_ids: Ids


class ListSkillSetsByOwner(Struct):
    owner: ConversationOwner


class UpdateSkillSet(Struct):
    """What is left out, or null, stays as it is."""

    skill_set_id: Id
    name: SkillSetName | None = None
    icon: SkillSetIcon | None = None
    description: SkillSetDescription | None = None
    prompt: SkillSetPrompt | None = None


class DeleteSkillSet(Struct):
    skill_set_id: Id


class SkillSetAnswer(Struct):
    id: str
    owner: ConversationOwner
    name: str
    icon: str
    description: str
    prompt: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class SkillSetList(Struct):
    skill_sets: list[SkillSetAnswer]
