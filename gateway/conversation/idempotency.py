"""Requests that come again: the first one acts, the others are given its answer.

A claim and what it is for are one transaction, so there is never the one without the other. Whoever
comes while that runs waits on the key's row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import msgspec

from gateway.errors import IdempotencyMismatch
from gateway.postgres.database import Database

KEPT = "24 hours"
"""How long a key is remembered. An older one may be used for something else."""

# $1 user, $2 endpoint, $3 key, $4 body hash. No row if the key is in use. `DO UPDATE` takes over
# one that is too old to count.
_CLAIM = f"""
    INSERT INTO idempotency_key ("user", endpoint, key, body_hash, turn_id)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT ("user", endpoint, key) DO UPDATE
    SET body_hash = $4, turn_id = $5, response = NULL, created_at = now()
    WHERE idempotency_key.created_at < now() - interval '{KEPT}'
    RETURNING true AS claimed
"""  # noqa: S608
# The lock makes those who come at once look one after the other.
_FIND = """
    SELECT body_hash, turn_id, response FROM idempotency_key
    WHERE "user" = $1 AND endpoint = $2 AND key = $3 FOR UPDATE
"""
_KEEP_TURN = """
    UPDATE idempotency_key SET turn_id = $4 WHERE "user" = $1 AND endpoint = $2 AND key = $3
"""
_KEEP_RESPONSE = """
    UPDATE idempotency_key SET response = coalesce(response, $4)
    WHERE "user" = $1 AND endpoint = $2 AND key = $3
    RETURNING response
"""
_FORGET_OLD = f"""
    DELETE FROM idempotency_key WHERE created_at < now() - interval '{KEPT}'
"""  # noqa: S608


Act: TypeAlias = Callable[[], Awaitable[bytes]]
"""Does the work, and returns the answer to it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What makes a request the same as another: its user, endpoint and key. The same key with
    another body is a mistake of the caller's."""

    user: str
    endpoint: str
    key: str
    body_hash: bytes

    @property
    def place(self) -> tuple[str, str, str]:
        return self.user, self.endpoint, self.key


@dataclass(frozen=True, slots=True)
class Seen:
    """The turn and the response that an earlier claim has led to."""

    turn_id: UUID | None
    response: bytes | None


def body_hash(body: object) -> bytes:
    """Hashes a request as it was understood: neither the order of keys nor white space matters."""
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()


class Idempotency:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, claim: Claim, turn_id: UUID | None = None) -> Seen | None:
        """Returns None if the claim is new: do the work, which is this turn if it is known already,
        in the same transaction. Raises IdempotencyMismatch."""
        while True:
            if await self._database.fetchrow(_CLAIM, *claim.place, claim.body_hash, turn_id):
                return None
            # The one who held it may have taken it back meanwhile.
            if row := await self._database.fetchrow(_FIND, *claim.place):
                break
        if row["body_hash"] != claim.body_hash:
            raise IdempotencyMismatch("This idempotency key was used before with another request.")
        return Seen(row["turn_id"], row["response"])

    async def keyed(
        self, user: str, endpoint: str, key: str | None, body: object, act: Act
    ) -> bytes:
        """The answer of the first one who sent this body with this key; without a key that of
        `act`. Raises IdempotencyMismatch."""
        if key is None:
            async with self._database.joined():
                return await act()
        return await self.once(Claim(user, endpoint, key, body_hash(body)), act)

    async def once(self, claim: Claim, act: Act) -> bytes:
        """The answer of the first one who made this claim. `act` runs in a transaction."""
        async with self._database.transaction():
            seen = await self.claim(claim)
            if seen is None:
                return await self.settle(claim, await act())
        if seen.response is None:
            raise LookupError("a claim without an answer")
        return seen.response

    async def began(self, claim: Claim, turn_id: UUID) -> None:
        """Keep the turn that the claim led to, in the same transaction."""
        await self._database.execute(_KEEP_TURN, *claim.place, turn_id)

    async def settle(self, claim: Claim, response: bytes) -> bytes:
        """Keep the answer, unless there is one: the one that is kept."""
        row = await self._database.fetchrow(_KEEP_RESPONSE, *claim.place, response)
        return response if row is None else bytes(row["response"])

    async def forget_old(self) -> None:
        await self._database.execute(_FORGET_OLD)
