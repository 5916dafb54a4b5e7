"""The composition root: what one process stands on, opened in order and closed in reverse.

Only this file picks an implementation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from piccolo.table import Table

from gateway.admin.site import AdminSite
from gateway.agency.engine.engine import Engine
from gateway.agency.engine.recovery import open_engine
from gateway.agency.model import Model
from gateway.agency.models.rehearsal.model import Rehearsal
from gateway.agency.models.remote import Remotes
from gateway.agency.models.upstream.client import Upstream
from gateway.agency.personal.news import News, open_news
from gateway.agency.plain.models import PlainModels, open_plain
from gateway.agency.records.hearing import Hearing
from gateway.agency.run.checks import FormatChecks
from gateway.agency.sessions.inbox import Inboxes
from gateway.agency.teams.catalog import Catalog
from gateway.auth import Callers
from gateway.conversation.changes import ConversationChanges
from gateway.conversation.rooms.membership import Membership
from gateway.conversation.rooms.presence import Presence
from gateway.conversation.webhooks.delivery import Deliverer, open_deliverer
from gateway.network.egress import Guard
from gateway.postgres.database import Database, open_database
from gateway.process.drain import Drain
from gateway.process.health import Check, Checks, Ping
from gateway.process.watchdog import Standstills
from gateway.retrieval.documents.ingest import Ingest, open_ingest
from gateway.retrieval.documents.shelves import Shelves
from gateway.retrieval.documents.watch import Watch, open_watch
from gateway.retrieval.library import Library
from gateway.retrieval.vectors.embedding import Embedders, open_embedders
from gateway.retrieval.vectors.index import Index
from gateway.settings import Settings
from gateway.streams.announcer import Announcer, open_announcer
from gateway.streams.brokers import redis
from gateway.streams.brokers.broker import Broker
from gateway.streams.brokers.memory import MemoryBroker
from gateway.streams.feed import Feed, open_feed
from gateway.streams.source import Source
from gateway.streams.tokens import StreamTokens

UPSTREAM_KEEP = 10.0
"""Seconds. Probes come every few seconds, from several places, and upstreams count requests."""


@dataclass(frozen=True, slots=True)
class Resources:
    settings: Settings
    database: Database
    callers: Callers
    catalog: Catalog
    model: Model
    plain: PlainModels
    engine: Engine
    checks: Checks
    drain: Drain
    announcer: Announcer
    feed: Feed
    tokens: StreamTokens
    embedders: Embedders
    index: Index
    ingest: Ingest
    library: Library
    shelves: Shelves
    watch: Watch
    deliverer: Deliverer
    news: News
    admin: AdminSite
    standstills: Standstills


@asynccontextmanager
async def open_resources(settings: Settings, dsn: str) -> AsyncIterator[Resources]:
    """Raises Unavailable if Postgres does not answer."""
    drain = Drain()
    async with (
        open_database(dsn) as database,
        open_admin(database, dsn) as admin,
        open_model(settings) as model,
        open_plain(_upstream(model), settings.models, database, drain) as plain,
        Remotes(Guard(settings.egress_allow), settings.remote_keys) as remotes,
        open_broker(settings) as broker,
        open_announcer(broker) as announcer,
        open_feed(broker, _source(database, announcer), announcer, drain, settings.polls) as feed,
        open_embedders(settings) as embedders,
        open_index(settings) as index,
        open_watch(database, drain, settings.polls.documents) as watch,
        open_ingest(database, embedders, index, settings.lease, watch.look) as ingest,
        open_deliverer(
            database, Guard(settings.egress_allow), settings.polls.webhooks
        ) as deliverer,
        FormatChecks() as checks,
    ):
        catalog = Catalog(database)
        library = Library(database, embedders, index, ingest)
        inboxes, membership = Inboxes(database, catalog), Membership(database, announcer)
        async with (
            open_engine(
                database,
                catalog,
                model,
                remotes,
                settings,
                drain,
                announcer,
                broker,
                checks,
                library,
            ) as engine,
            open_news(database, inboxes, membership, drain, settings.polls.news) as news,
        ):
            index.claim()
            yield Resources(
                settings=settings,
                database=database,
                callers=Callers(database),
                catalog=catalog,
                model=model,
                plain=plain,
                engine=engine,
                checks=Checks(list_checks(settings, database.ping, model.ping, index.ping)),
                drain=drain,
                announcer=announcer,
                feed=feed,
                tokens=StreamTokens(database),
                embedders=embedders,
                index=index,
                ingest=ingest,
                library=library,
                shelves=Shelves(database, embedders, ingest.wake),
                watch=watch,
                deliverer=deliverer,
                news=news,
                admin=admin,
                standstills=Standstills(),
            )


def open_broker(settings: Settings) -> AbstractAsyncContextManager[Broker]:
    if settings.redis_url is None:
        return nullcontext(MemoryBroker())
    return redis.open_redis(settings.redis_url)


@asynccontextmanager
async def open_admin(database: Database, dsn: str) -> AsyncIterator[AdminSite]:
    site = AdminSite(database, dsn, _tables)
    try:
        yield site
    finally:
        await site.close()


def _tables() -> Sequence[type[Table]]:
    from gateway.piccolo_app import APP_CONFIG

    return APP_CONFIG.table_classes


@asynccontextmanager
async def open_index(settings: Settings) -> AsyncIterator[Index]:
    alone = settings.workers == 1  # workers can't share the files, and one of many would do harm
    index = Index(settings.chroma_url, Path(settings.data_dir) / "chroma" if alone else None)
    try:
        yield index
    finally:
        await index.close()


def _source(database: Database, announcer: Announcer) -> Source:
    rows, presence = ConversationChanges(database), Presence(database, announcer)
    return Source(
        rows.changes,
        rows.whole,
        rows.one,
        rows.versions,
        Hearing(database).access,
        presence.seen,
    )


def open_model(settings: Settings) -> AbstractAsyncContextManager[Model]:
    if settings.rehearses:
        return nullcontext(Rehearsal())
    return Upstream(settings.openai_base_url, settings.openai_api_key)


def _upstream(model: Model) -> Upstream | None:
    return model if isinstance(model, Upstream) else None


def list_checks(
    settings: Settings, ping_database: Ping, ping_model: Ping, ping_index: Ping
) -> list[Check]:
    """Returns the resources that must answer before this process can serve, with a ping each."""
    checks = [
        Check(
            "postgres",
            ping_database,
            mode="postgres",
            remedy="Start the server that DATABASE_URL names, or unset it to use the embedded one.",
        ),
        Check(
            "upstream",
            ping_model,
            mode="rehearsal" if settings.rehearses else "openai",
            remedy="Check OPENAI_API_KEY and OPENAI_BASE_URL, and the network on the way there.",
            keep=UPSTREAM_KEEP,
        ),
    ]
    if settings.redis_url is not None:
        remedy = "Start the server that REDIS_URL names, or unset it to run a single process."
        checks.append(Check("redis", partial(redis.ping, settings.redis_url), "remote", remedy))
    if settings.chroma_url is not None:
        remedy = "Start the server that CHROMA_URL names, or unset it to use the embedded index."
        checks.append(Check("chroma", ping_index, "remote", remedy, vital=False))
    return checks
