"""What Piccolo's command line and admin know of us."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from gateway.admin.accounts import AdminSession, AdminUser
from gateway.agency.tables import Agency, Agent, Message, PlainCall, Step, Turn
from gateway.auth import ApiKey
from gateway.conversation.tables import (
    Conversation,
    File,
    IdempotencyKey,
    Interaction,
    InteractionEdit,
    Participant,
    ParticipantRight,
    SkillSet,
)
from gateway.conversation.webhooks.tables import Webhook, WebhookDelivery, WebhookEvent
from gateway.retrieval.tables import Collection, Document, Passage
from gateway.streams.tokens import Secret

MIGRATIONS = Path(__file__).resolve().parent.parent / "piccolo_migrations"

APP_CONFIG = AppConfig(
    app_name="gateway",
    migrations_folder_path=str(MIGRATIONS),
    table_classes=[
        AdminSession,
        AdminUser,
        Agency,
        Agent,
        ApiKey,
        Collection,
        Conversation,
        Document,
        File,
        IdempotencyKey,
        Interaction,
        InteractionEdit,
        Message,
        Participant,
        ParticipantRight,
        Passage,
        PlainCall,
        Secret,
        SkillSet,
        Step,
        Turn,
        Webhook,
        WebhookDelivery,
        WebhookEvent,
    ],
    migration_dependencies=[],
)
