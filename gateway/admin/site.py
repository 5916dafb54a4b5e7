"""The admin pages as an ASGI app. Made when they are first asked for: it takes a second, and most
installations never ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from litestar.types import ASGIApp

from gateway.postgres.database import Database

if TYPE_CHECKING:
    from piccolo.table import Table, TableMeta
    from piccolo_admin.endpoints import TableConfig
    from piccolo_api.crud.endpoints import PiccoloCRUD
    from starlette.requests import Request

CONNECTIONS: Final = 4
"""Of the pages alone, so that a large table that somebody leafs through holds up nobody."""
HIDDEN: Final = frozenset({"secret", "admin_session"})
WRITABLE: Final = frozenset({"skill_set", "admin_user"})
"""Tables that are no more than their rows. What has versions, caches or an index beside it is
written by its own rules alone, and can only be read here."""
GROUPS: Final[Mapping[str, str]] = {
    "gateway.agency.tables": "Agencies and turns",
    "gateway.conversation.tables": "Conversations",
    "gateway.conversation.webhooks.tables": "Webhooks",
    "gateway.retrieval.tables": "Library",
    "gateway.auth": "Access",
    "gateway.admin.accounts": "Access",
}

_ANY_ACCOUNT = "SELECT FROM admin_user WHERE active AND admin LIMIT 1"


Tables: TypeAlias = "Callable[[], Sequence[type[Table]]]"
"""All tables. Called when they are needed: to know them takes a while."""


class AdminSite:
    """The pages of one process, over these tables. `database` says whether anybody may sign in."""

    def __init__(self, database: Database, dsn: str, tables: Tables) -> None:
        self._tables = tables
        self._database = database
        self._dsn = dsn
        self._app: ASGIApp | None = None
        self._engine: Database | None = None
        self._making = asyncio.Lock()

    async def app(self) -> ASGIApp | None:
        """None as long as nobody may sign in."""
        if await self._database.fetchrow(_ANY_ACCOUNT) is None:
            return None
        async with self._making:
            if self._app is None:
                self._engine = Database(self._dsn, CONNECTIONS)
                await self._engine.start_connection_pool(min_size=0, max_size=CONNECTIONS)
                self._app = await asyncio.to_thread(_made, self._engine, self._tables)
        return self._app

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close_connection_pool()


def _made(engine: Database, tables: Tables) -> ASGIApp:
    # Imported here: it takes half a second, and nobody else needs it.
    from piccolo_admin.endpoints import create_admin

    from gateway.admin.accounts import AdminSession, AdminUser

    every = tables()
    for table in every:
        _meta(table).db = engine
    shown = [one for one in every if _meta(one).tablename not in HIDDEN]
    made: ASGIApp = create_admin(
        [_config(one) for one in shown],
        auth_table=AdminUser,
        session_table=AdminSession,
        auto_include_related=False,
        site_name="Agency gateway",
    )
    return made


def _config(table: type[Table]) -> TableConfig:
    from piccolo_admin.endpoints import TableConfig
    from piccolo_api.crud.endpoints import OrderBy
    from piccolo_api.crud.validators import Validators

    reading = Validators(
        post_single=[_refuse],
        put_single=[_refuse],
        patch_single=[_refuse],
        delete_single=[_refuse],
        delete_all=[_refuse],
    )
    columns = [one for one in _meta(table).columns if not one._meta.secret]  # noqa: SLF001
    newest = [one for one in columns if one._meta.name == "created_at"]  # noqa: SLF001
    return TableConfig(
        table_class=table,
        visible_columns=columns,
        visible_filters=columns,
        menu_group=GROUPS.get(table.__module__),
        validators=None if _meta(table).tablename in WRITABLE else reading,
        order_by=[OrderBy(one, ascending=False) for one in newest] or None,
    )


def _meta(table: type[Table]) -> TableMeta:
    return table._meta  # noqa: SLF001  Piccolo has no other way to it


def _refuse(piccolo_crud: PiccoloCRUD, request: Request) -> None:
    from starlette.exceptions import HTTPException

    raise HTTPException(403, "The gateway writes this table by its own rules.")
