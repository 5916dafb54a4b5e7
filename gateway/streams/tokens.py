"""Tokens for a browser's EventSource, which can't send a header: for one channel, one caller and a
few minutes. They are signed, not stored; the secret is the database's, so every process can tell.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from binascii import Error as NoBase64
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from piccolo.columns import Bytea, Text, Timestamptz
from piccolo.table import Table

from gateway.errors import Unauthenticated
from gateway.postgres.database import Database

LIFE_S = 300
"""A token opens a stream, and opens it again after a short break; then a page asks for a new one.
Streams that are open do not end with their token: their reader's rights are looked at all along."""
NAME = "stream tokens"


class Secret(Table, tablename="secret"):
    """Random bytes that the processes of one gateway share."""

    name = Text(primary_key=True)
    value = Bytea(secret=True)
    created_at = Timestamptz()


_MAKE_OR_READ = """
    WITH made AS (
        INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING value
    )
    SELECT value FROM made UNION ALL SELECT value FROM secret WHERE name = $1
"""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. `expires` is in seconds since 1970."""

    channel: str
    key_id: str
    expires: int


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    expires: int


class StreamTokens:
    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._secret: bytes | None = None
        self._reading = asyncio.Lock()

    async def issue(self, channel: str, key_id: str) -> Token:
        expires = int(self._clock()) + LIFE_S
        grant = msgspec.json.encode(Grant(channel, key_id, expires))
        signature = _signature(await self._key(), grant)
        return Token(f"{_text(grant)}.{_text(signature)}", expires)

    async def check(self, token: str, channel: str) -> str:
        """The id of the key that the token stands for. Raises Unauthenticated."""
        body, _, signed = token.partition(".")
        try:
            grant, signature = _bytes(body), _bytes(signed)
        except (NoBase64, ValueError):
            raise _refused() from None
        if not hmac.compare_digest(signature, _signature(await self._key(), grant)):
            raise _refused()
        found = msgspec.json.decode(grant, type=Grant)
        if found.channel != channel or found.expires <= self._clock():
            raise _refused()
        return found.key_id

    async def _key(self) -> bytes:
        async with self._reading:
            while self._secret is None:
                # Empty if another process makes it at this moment.
                row = await self._database.fetchrow(_MAKE_OR_READ, NAME, secrets.token_bytes(32))
                self._secret = None if row is None else bytes(row["value"])
            return self._secret


def _refused() -> Unauthenticated:
    return Unauthenticated("The stream token is not valid here, or has expired.", code="bad_token")


def _signature(key: bytes, grant: bytes) -> bytes:
    return hmac.new(key, grant, hashlib.sha256).digest()


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
