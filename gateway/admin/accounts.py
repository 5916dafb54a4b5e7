"""Accounts of the admin pages. They are not API keys, and open nothing else."""

from __future__ import annotations

import secrets

from piccolo.apps.user.tables import BaseUser
from piccolo_api.session_auth.tables import SessionsBase

from gateway.auth import USER
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.postgres.database import Database

SHORTEST, LONGEST = 12, 128
"""Characters of a password."""

_CREATE = """
    INSERT INTO admin_user (username, password, active, admin, superuser)
    VALUES ($1, $2, true, true, true) ON CONFLICT DO NOTHING RETURNING id
"""
_SET_PASSWORD = "UPDATE admin_user SET password = $2 WHERE username = $1 RETURNING id"  # noqa: S105
_REMOVE = "DELETE FROM admin_user WHERE username = $1 RETURNING id"
_SIGN_OUT = "DELETE FROM admin_session WHERE user_id = $1"
_LIST = "SELECT username, last_login FROM admin_user ORDER BY username"


class AdminUser(BaseUser, tablename="admin_user"):
    """Who may sign in to the admin pages."""


class AdminSession(SessionsBase, tablename="admin_session"):
    """Who is signed in there."""


async def create(database: Database, name: str, password: str) -> None:
    """Raises InvalidRequest, and Conflict for a name that is there."""
    if not USER.fullmatch(name):
        raise InvalidRequest("A name has 1 to 128 characters of A-Z a-z 0-9 . _ @ -.")
    if await database.fetchrow(_CREATE, name, _hashed(password)) is None:
        raise Conflict(f"There is an account {name} already: `gateway admin password {name}`.")


async def set_password(database: Database, name: str, password: str) -> None:
    """Who is signed in with the old one is signed out. Raises InvalidRequest, NotFound."""
    row = await database.fetchrow(_SET_PASSWORD, name, _hashed(password))
    if row is None:
        raise NotFound(f"There is no account {name}.", code="account_not_found")
    await database.execute(_SIGN_OUT, row["id"])


async def remove(database: Database, name: str) -> None:
    """Raises NotFound."""
    row = await database.fetchrow(_REMOVE, name)
    if row is None:
        raise NotFound(f"There is no account {name}.", code="account_not_found")
    await database.execute(_SIGN_OUT, row["id"])


async def names(database: Database) -> list[str]:
    return [row["username"] for row in await database.fetch(_LIST)]


def new_password() -> str:
    return secrets.token_urlsafe(18)


def _hashed(password: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidRequest(f"A password has {SHORTEST} to {LONGEST} characters.")
    hashed: str = AdminUser.hash_password(password)
    return hashed
