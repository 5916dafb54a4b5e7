"""Who is calling: API keys, the user behind each, and its scopes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cachetools import LRUCache
from piccolo.columns import Array, Bytea, Text, Timestamptz
from piccolo.columns.readable import Readable
from piccolo.table import Table

from gateway.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from gateway.postgres.database import Database, Row

ROOT = "root"
"""The root key's id and its user. It holds every scope and is made by the operator's setting."""
USER = re.compile(r"[A-Za-z0-9._@-]{1,128}")


class Scope(StrEnum):
    CHAT = "chat"
    CONVERSATIONS = "conversations"
    AGENCIES = "agencies"
    RETRIEVAL = "retrieval"
    ADMIN = "admin"
    ACT_AS = "act_as"


class ApiKey(Table, tablename="api_key"):
    """A key: looked up by its public id, compared by the SHA-256 of its whole text."""

    id = Text(primary_key=True)
    secret_hash = Bytea(secret=True)
    user = Text()
    scopes = Array(base_column=Text())
    created_at = Timestamptz()
    revoked_at = Timestamptz(null=True, default=None)

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s of %s", columns=[cls.id, cls.user])


@dataclass(frozen=True, slots=True)
class Principal:
    """The user behind a key, and what the key may do."""

    user: str
    scopes: frozenset[str]
    key_id: str

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    def require(self, scope: Scope) -> None:
        if scope not in self.scopes:
            raise Forbidden(f"This key lacks the scope {scope.value!r}.")


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key: all but its secret."""

    id: str
    user: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


_COLUMNS = 'id, "user", scopes, created_at, revoked_at'
_LIVE_KEY = """
    SELECT id, "user", scopes, secret_hash FROM api_key WHERE id = $1 AND revoked_at IS NULL
"""
_INSERT_KEY = f"""
    INSERT INTO api_key (id, secret_hash, "user", scopes) VALUES ($1, $2, $3, $4)
    RETURNING {_COLUMNS}
"""  # noqa: S608
_ROOT_KEY = """
    INSERT INTO api_key (id, secret_hash, "user", scopes) VALUES ($1, $2, $1, $3)
    ON CONFLICT (id) DO UPDATE
    SET secret_hash = excluded.secret_hash, scopes = excluded.scopes, revoked_at = NULL
"""
_LIST_KEYS = f"SELECT {_COLUMNS} FROM api_key ORDER BY created_at, id"  # noqa: S608
_REVOKE_KEY = f"""
    UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1
    RETURNING {_COLUMNS}
"""  # noqa: S608


class Callers:
    """The keys of one database.

    A key once proven is remembered, so that a turn needs no round trip for it: the turn's first
    statement checks that the key still lives.
    """

    REMEMBERED = 10_000

    def __init__(self, database: Database) -> None:
        self._database = database
        self._proven: LRUCache[bytes, Principal] = LRUCache(self.REMEMBERED)

    async def identify(self, token: str | None) -> Principal:
        """Raises Unauthenticated unless `token` is a live key."""
        if not token:
            raise Unauthenticated(
                "No API key was given. Send it as 'Authorization: Bearer <key>'.",
                code="missing_api_key",
            )
        given = _hash(token)
        row = await self._database.fetchrow(_LIVE_KEY, public_id(token))
        if row is None or not hmac.compare_digest(row["secret_hash"], given):
            self._proven.pop(given, None)
            raise Unauthenticated("The API key is not valid, or was revoked.")
        principal = Principal(row["user"], frozenset(row["scopes"]), row["id"])
        if self._proven.get(given) != principal:
            self._proven[given] = principal
        return self._proven[given]  # thousands of open streams share one

    async def recall(self, token: str | None) -> Principal:
        """Like `identify`, but a key that was proven before is believed. The caller checks it."""
        if token and (principal := self._proven.get(_hash(token))):
            return principal
        return await self.identify(token)

    async def create(self, user: str, scopes: Sequence[str]) -> tuple[KeyInfo, str]:
        """A new key and its text, which is shown this once."""
        unknown = sorted(set(scopes) - set(Scope))
        if unknown or not scopes:
            known = ", ".join(Scope)
            raise InvalidRequest(f"Scopes are some of: {known}.", param="scopes")
        if not USER.fullmatch(user):
            raise InvalidRequest(
                "A user name holds 1 to 128 characters of A-Z a-z 0-9 . _ @ -", param="user"
            )
        key_id = secrets.token_hex(8)
        token = make_token(key_id)
        row = await self._database.fetchrow(
            _INSERT_KEY, key_id, _hash(token), user, sorted(set(scopes))
        )
        return _info(_one(row)), token

    async def install_root(self, token: str) -> None:
        """Make `token` the root key, and the only one."""
        await self._database.execute(_ROOT_KEY, ROOT, _hash(token), list(Scope))

    async def keys(self) -> Sequence[KeyInfo]:
        return [_info(row) for row in await self._database.fetch(_LIST_KEYS)]

    async def revoke(self, key_id: str) -> KeyInfo:
        """Raises NotFound. A key that is revoked already stays so."""
        row = await self._database.fetchrow(_REVOKE_KEY, key_id)
        if row is None:
            raise NotFound(f"There is no key {key_id[:64]!r}.", code="key_not_found")
        return _info(row)


def make_token(key_id: str) -> str:
    return f"agw_{key_id}_{secrets.token_urlsafe(32)}"


def public_id(token: str) -> str:
    """The id inside a key. An operator's own root key may look like anything."""
    parts = token.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "agw" else ROOT


def _hash(token: str) -> bytes:
    # The secret has 256 random bits: nothing is gained by a slow hash.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _one(row: Row | None) -> Row:
    if row is None:
        raise LookupError("an INSERT … RETURNING returned nothing")
    return row


def _info(row: Row) -> KeyInfo:
    return KeyInfo(
        row["id"], row["user"], tuple(row["scopes"]), row["created_at"], row["revoked_at"]
    )
