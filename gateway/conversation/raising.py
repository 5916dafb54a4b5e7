"""The version of a conversation: how it is raised, and how those who follow hear of it.

Whatever changes something that is shown raises the version, stamps the rows that it changes with
the new one, and announces it. Raising takes the row's lock, so that versions and commits have one
order.
"""

from __future__ import annotations

from functools import partial
from typing import Final
from uuid import UUID

from gateway.postgres.database import Database
from gateway.streams.announcer import Announcer

LOCK: Final = "SELECT FROM conversation WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE"
"""Keeps others from raising the version of a conversation. No row if it is not there."""
RAISE: Final = "UPDATE conversation SET version = version + 1"
"""How a statement begins that raises versions. Other columns and the condition follow."""


def announce(database: Database, announcer: Announcer, conversation_id: UUID, version: int) -> None:
    """Tell followers of a version that was made, once it is committed."""
    database.after_commit(partial(announcer.changed, conversation_id, version))
