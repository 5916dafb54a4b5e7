"""The tables of webhooks. Made by `piccolo_migrations/m0017_webhooks.py`."""

from __future__ import annotations

from piccolo.columns import (
    UUID,
    Array,
    BigInt,
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
from gateway.conversation.tables import Conversation

AGENCY = LazyTableReference("Agency", module_path="gateway.agency.tables")


class Webhook(Table):
    """Whom to tell of what. It stands for the key that made it: once that is revoked, or the user
    may no longer read a conversation, nothing is sent. `secret` signs what is sent; one that was
    told to stop is `disabled_at`."""

    id = UUID(primary_key=True)
    user = Text()
    key_id = ForeignKey(ApiKey, null=False)
    url = Text()
    events = Array(base_column=Text())
    conversation_id = ForeignKey(Conversation)
    agency_id: ForeignKey[Table] = ForeignKey(AGENCY)
    secret = Bytea(secret=True)
    created_at = Timestamptz()
    disabled_at = Timestamptz(null=True, default=None)

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s", columns=[cls.url])


class WebhookEvent(Table, tablename="webhook_event"):
    """Something that happened and that a webhook may ask for. Gone once it is a delivery for each
    that does. `subject_id` is a turn or an interaction, `name` a user who was invited."""

    id = BigInt(primary_key=True)
    event = Text()
    conversation_id = ForeignKey(Conversation, null=False)
    subject_id = UUID(null=True, default=None)
    name = Text(null=True, default=None)
    created_at = Timestamptz()


class WebhookDelivery(Table, tablename="webhook_delivery"):
    """What is sent to one webhook, byte for byte. It is due until it was delivered or has failed;
    `asked_at` is when somebody wanted it last, `status`, `answer` and `error` are of the last
    attempt."""

    id = UUID(primary_key=True)
    webhook_id = ForeignKey(references=Webhook, null=False)
    event = Text()
    body = Text()
    created_at = Timestamptz()
    asked_at = Timestamptz()
    due_at = Timestamptz(null=True, default=None)
    attempts = Integer()
    delivered_at = Timestamptz(null=True, default=None)
    failed_at = Timestamptz(null=True, default=None)
    answered_at = Timestamptz(null=True, default=None)
    status = SmallInt(null=True, default=None)
    answer = Text(null=True, default=None)
    error = Text(null=True, default=None)
