"""What a database needs before it serves: the schema, the root key and the example agency.

All of it is there from the second start on, which is found with one connection and without loading
what would be needed to make it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import InvalidRequest
from gateway.postgres.connection import check_mode, connect
from gateway.postgres.migrate import migrate
from gateway.settings import Settings

KEY_FILE = "root_key"
_ROOT = "SELECT secret_hash FROM api_key WHERE id = 'root' AND revoked_at IS NULL"
_BLANK = "SELECT NOT EXISTS (SELECT FROM agency)"
_FIRST = "SELECT min(id) FROM agency WHERE deleted_at IS NULL"


@dataclass(frozen=True, slots=True)
class RootKey:
    """The key to show or to point at. `token` is None if another machine made it."""

    token: str | None
    file: Path | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """What whoever starts the gateway is told: the key, and an agency to call if there is one."""

    key: RootKey
    agency_id: int | None


async def prepare(settings: Settings, dsn: str) -> Start:
    """Make what is missing. Raises Unavailable, or InvalidRequest for an unusable root key."""
    if settings.database_url is not None:
        await check_mode(dsn)
    await migrate(dsn)
    connection = await connect(dsn)
    try:
        installed = await connection.fetchval(_ROOT)
        key = choose_root_key(settings, installed is not None)
        if key.token is not None and not _is_installed(key, installed, settings):
            await _install_root(dsn, key.token)
        if await connection.fetchval(_BLANK):
            await _apply_example(dsn)
        return Start(key, await connection.fetchval(_FIRST))
    finally:
        await connection.close()


def choose_root_key(settings: Settings, installed: bool) -> RootKey:
    """The operator's, else the one kept in the data dir, else a new one.

    A database that others share may have its root key from another machine: that one stays.
    """
    if settings.root_key is not None:
        if settings.root_key.count("_") > 1 and settings.root_key.startswith("agw_"):
            _check_form(settings.root_key)
        return RootKey(settings.root_key, settings.root_key_file)
    file = settings.data_dir.absolute() / KEY_FILE
    if file.exists():
        return RootKey(file.read_text().strip(), file)
    if installed and settings.database_url is not None:
        return RootKey(None)
    return RootKey(_write_new(file), file, fresh=True)


def _is_installed(key: RootKey, installed: bytes | None, settings: Settings) -> bool:
    if installed is None or key.token is None:
        return False
    shared = settings.root_key is None and settings.database_url is not None
    return shared or hmac.compare_digest(installed, hashlib.sha256(key.token.encode()).digest())


def _check_form(token: str) -> None:
    if token.split("_", 2)[1] != "root":
        raise InvalidRequest(
            "GATEWAY_ROOT_KEY must not look like a key made by the gateway, unless it begins "
            "with agw_root_."
        )


def _write_new(file: Path) -> str:
    from gateway.auth import ROOT, make_token

    token = make_token(ROOT)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(token + "\n")
    return token


async def _install_root(dsn: str, token: str) -> None:
    from gateway.auth import Callers
    from gateway.postgres.database import open_database

    async with open_database(dsn, pool_size=1) as database:
        await Callers(database).install_root(token)


async def _apply_example(dsn: str) -> None:
    from gateway.agency.teams.catalog import Catalog
    from gateway.cli.agency import apply_example
    from gateway.postgres.database import open_database

    async with open_database(dsn, pool_size=1) as database:
        await apply_example(Catalog(database))
