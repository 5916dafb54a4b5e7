"""Keeps who is there: a user with an open stream is, and goes offline some time after the last one
has ended.

What people say to be doing ends when they do not say it again in time. Who has said to be offline
stays so until they say something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.conversation.raising import announce
from gateway.conversation.rooms import sql_presence as sql
from gateway.postgres.database import Database, Row
from gateway.streams.announcer import Announcer
from gateway.streams.source import Reader

OFFLINE_S: Final = 30.0
"""Seconds without a stream after which a user is offline, at the earliest."""
RENEWED_S: Final = 10.0
"""So much longer a user is taken to be there when that is stored, so that it need not be stored at
each look at who follows."""
AT_ONCE: Final = 100
"""Conversations that one sweep sees to."""


class Presence:
    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer

    async def seen(self, readers: Sequence[Reader]) -> None:
        """Take note of who follows a conversation now."""
        conversations = [one.conversation_id for one in readers]
        keys = [one.key_id for one in readers]
        lasts = OFFLINE_S + RENEWED_S
        back = await self._database.fetch(sql.SEEN, conversations, keys, lasts, OFFLINE_S)
        if back:
            found = [row["conversation_id"] for row in back]
            self._announce(await self._database.fetch(sql.BACK, found))

    async def sweep(self) -> None:
        """End what people have not said again in time, and the presence of those who have gone."""
        self._announce(await self._database.fetch(sql.SWEEP, AT_ONCE))

    def _announce(self, rows: Sequence[Row]) -> None:
        for row in rows:
            announce(self._database, self._announcer, row["id"], row["version"])
