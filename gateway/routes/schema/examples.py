"""An example of each body that a route takes, for `/schema`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from litestar.openapi.spec import Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition
from msgspec import Struct

from gateway.agency.teams.documents import AgencyDocument, AgencyPatch, AgentDocument, AgentPatch
from gateway.routes.agencies.session_wire import NewSession, SessionAnswer
from gateway.routes.channels.channels import TokenRequest
from gateway.routes.conversations.webhooks import NewWebhook
from gateway.routes.conversations.wire import (
    ConversationPatch,
    Excluded,
    MessagePatch,
    NewConversation,
    NewFork,
    NewMessage,
    NewParticipant,
    NewStatus,
    ParticipantPatch,
)
from gateway.routes.keys import NewKey
from gateway.routes.library.wire import NewCollection, Query
from gateway.routes.openai.chat.request import ChatCompletionRequest
from gateway.routes.openai.chat.stored_wire import Update
from gateway.routes.openai.embeddings import EmbeddingRequest
from gateway.routes.rpc_2025_02_12 import contract as rpc

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator

CONVERSATION = "conv_01a1fdb5b7da76c99daf42788df2d80b"
INTERACTION = "int_01a1fdb5b7da76c99daf427993aecf32"
SKILL_SET = "skill_01a1fdb5b9d077a2883f844404999fa7"
OWNER = {"type": "user", "identifier": "ann"}
ASKED = {"role": "user", "content": "A web page for a bakery?"}
OPTIONS = {"provider_id": "open_ai", "model_id": "agency/1"}
PROGRAMMER = {"name": "programmer", "instructions": "You write code."}
MANAGER = {"name": "manager", "instructions": "You lead the team.", "collections": ["handbook"]}
SKILLS = {"name": "Baker", "icon": "bread", "description": "Knows bread", "prompt": "Bake."}

EXAMPLES: Mapping[type[Struct], Mapping[str, object]] = {
    ChatCompletionRequest: {"model": "agency/1", "messages": [ASKED], "stream": True},
    Update: {"metadata": {"project": "bakery"}},
    EmbeddingRequest: {"model": "wordllama", "input": ["Bread and rolls", "Opening hours"]},
    NewSession: {"messages": [ASKED], "drive": "manual"},
    SessionAnswer: {"step": 1, "passages": [{"text": "We open at six.", "source": "handbook"}]},
    NewConversation: {
        "title": "A bakery",
        "participants": [{"kind": "agency", "identifier": "1"}],
        "drive": "auto",
    },
    NewParticipant: {"kind": "user", "identifier": "bob", "rights": ["add_message"]},
    ParticipantPatch: {"kind": "agency", "identifier": "1", "drive": "manual"},
    ConversationPatch: {"title": "A bakery", "drive": "manual"},
    NewMessage: {"content": "Which colours?"},
    MessagePatch: {"content": "Which colours, and why?"},
    Excluded: {"excluded": True},
    NewFork: {"at": INTERACTION, "content": "Which shapes?"},
    NewStatus: {"status": "writing"},
    NewWebhook: {"url": "https://example.com/hook", "events": ["message.created"]},
    AgencyDocument: {"name": "Studio", "manager": "manager", "agents": [MANAGER, PROGRAMMER]},
    AgencyPatch: {"shared": True, "settings": {"limits": {"model_calls": 12}}},
    AgentDocument: {
        "name": "stranger",
        "instructions": "You know colours.",
        "remote": "https://agents.example.com/api/agents/143",
    },
    AgentPatch: {"collections": ["handbook"]},
    NewCollection: {"name": "handbook"},
    Query: {"query": "When do we open?", "limit": 5, "where": {"lang": "en"}},
    NewKey: {"user": "ann", "scopes": ["chat", "conversations"]},
    TokenRequest: {"channel": CONVERSATION},
    rpc.CreateConversation: {
        "idempotency_key": "first",
        "owner": OWNER,
        "ai_relay_options": OPTIONS,
    },
    rpc.CreateConversationMessage: {
        "conversation_id": CONVERSATION,
        "idempotency_key": "second",
        "message_content": "A web page for a bakery?",
        "file_ids": [],
        "skill_set_ids": [],
        "owner": OWNER,
        "ai_relay_options": None,
        "options": {"use_streaming": False},
    },
    rpc.GetConversationWithInteractions: {"conversation_id": CONVERSATION},
    rpc.ListConversationsWithInteractions: {"owner": OWNER, "limit": 100},
    rpc.DeleteConversations: {"conversation_ids": [CONVERSATION]},
    rpc.DeleteInteractions: {"interaction_ids": [INTERACTION]},
    rpc.UpdateInteractionExcludedState: {"interaction_id": INTERACTION, "excluded": True},
    rpc.CreateSkillSet: {"owner": OWNER, **SKILLS},
    rpc.GetSkillSet: {"skill_set_id": SKILL_SET},
    rpc.GetManySkillSets: {"skill_set_ids": [SKILL_SET]},
    rpc.ListSkillSetsByOwner: {"owner": OWNER},
    rpc.UpdateSkillSet: {"skill_set_id": SKILL_SET, "prompt": "Bake slowly."},
    rpc.DeleteSkillSet: {"skill_set_id": SKILL_SET},
}


class Exemplified(OpenAPISchemaPlugin):
    """Describes these bodies as Litestar does, and adds the example."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        return field_definition.annotation in EXAMPLES

    def to_openapi_schema(
        self, field_definition: FieldDefinition, schema_creator: SchemaCreator
    ) -> Schema:
        usual = next(
            plugin
            for plugin in schema_creator.plugins
            if plugin is not self and schema_creator.plugin_supports_field(plugin, field_definition)
        )
        schema = usual.to_openapi_schema(field_definition, schema_creator)
        schema.examples = [dict(EXAMPLES[field_definition.annotation])]
        return schema
