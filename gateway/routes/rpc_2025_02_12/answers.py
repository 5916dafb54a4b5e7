"""Rows as the contract of 2025-02-12 shows them."""

from __future__ import annotations

from typing import cast

import msgspec

from gateway import ids
from gateway.agency.intake.queue import Posting
from gateway.conversation.assets.skill_sets import SkillSet
from gateway.conversation.store import Conversation, Interaction, Whole
from gateway.routes.rpc_2025_02_12.contract import (
    ConversationInteraction,
    ConversationOwner,
    ConversationWithInteractions,
    CreatedConversation,
    CreatedConversationMessage,
    InteractionOwner,
    ListedConversation,
    Provider,
    RpcError,
    ShownAiRelayOptions,
    SkillSetAnswer,
)


class _Stored(msgspec.Struct):
    """An error as it stands with an interaction."""

    message: str
    code: str | None = None


_errors = msgspec.json.Decoder(list[_Stored])


def created(made: Conversation) -> CreatedConversation:
    shown = ids.show(ids.CONVERSATION, made.id)
    return CreatedConversation(
        conversation_id=shown,
        owner=ConversationOwner("user", made.owner),
        ai_relay_options=_options(made),
        title=made.title,
        stream_channel_id=shown,
        created_at=made.created_at,
        updated_at=made.updated_at,
        deleted_at=made.deleted_at,
    )


def with_interactions(whole: Whole) -> ConversationWithInteractions:
    conversation = whole.conversation
    shown = ids.show(ids.CONVERSATION, conversation.id)
    return ConversationWithInteractions(
        conversation_id=shown,
        owner=ConversationOwner("user", conversation.owner),
        ai_relay_options=_options(conversation),
        title=conversation.title,
        stream_channel_id=shown,
        interactions=_interactions(whole),
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        deleted_at=conversation.deleted_at,
    )


def listed(whole: Whole) -> ListedConversation:
    conversation = whole.conversation
    shown = ids.show(ids.CONVERSATION, conversation.id)
    return ListedConversation(
        id=shown,
        owner=ConversationOwner("user", conversation.owner),
        ai_relay_options=_options(conversation),
        title=conversation.title,
        stream_channel_id=shown,
        interactions=_interactions(whole),
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        deleted_at=conversation.deleted_at,
    )


def message(
    conversation: Conversation, posting: Posting, said: Interaction, reply: Interaction
) -> CreatedConversationMessage:
    shown = ids.show(ids.CONVERSATION, posting.conversation_id)
    answer = interaction(reply, conversation)
    return CreatedConversationMessage(
        conversation_id=shown,
        input_interaction=interaction(said, conversation),
        response_interaction=answer,
        stream_channel_id=f"{shown}.{answer.id}",
    )


def interaction(one: Interaction, conversation: Conversation) -> ConversationInteraction:
    """People are users; whatever else there is in a conversation is a bot."""
    return ConversationInteraction(
        id=ids.show(ids.INTERACTION, one.id),
        file_ids=ids.show_all(ids.FILE, one.file_ids),
        skill_set_ids=ids.show_all(ids.SKILL_SET, one.skill_set_ids),
        marked_as_excluded_at=one.excluded_at,
        message_content=one.content,
        errors=_errors_of(one),
        owner=InteractionOwner("user" if one.owner_type == "user" else "bot", one.owner),
        ai_relay_options=_options(conversation, one),
        created_at=one.created_at,
        updated_at=one.updated_at,
        deleted_at=one.deleted_at,
        completed_at=one.completed_at,
    )


def skill_set(found: SkillSet) -> SkillSetAnswer:
    return SkillSetAnswer(
        id=ids.show(ids.SKILL_SET, found.id),
        owner=ConversationOwner("user", found.owner),
        name=found.name,
        icon=found.icon,
        description=found.description,
        prompt=found.prompt,
        created_at=found.created_at,
        updated_at=found.updated_at,
        deleted_at=None,
    )


def _interactions(whole: Whole) -> list[ConversationInteraction]:
    return [interaction(one, whole.conversation) for one in whole.interactions]


def _options(conversation: Conversation, one: Interaction | None = None) -> ShownAiRelayOptions:
    model_id = None if one is None else one.model_id
    provider = None if one is None else one.provider_id
    return ShownAiRelayOptions(
        cast("Provider", provider or conversation.provider_id), model_id or conversation.model_id
    )


def _errors_of(one: Interaction) -> list[RpcError]:
    if one.errors is None:
        return []
    return [
        RpcError(error.code or "server_error", error.message, [])
        for error in _errors.decode(one.errors)
    ]
