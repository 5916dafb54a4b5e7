"""The web application: resources, routes and the entrance before them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeAlias

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler

from gateway import __version__, settings
from gateway.errors import GatewayError, InvalidRequest
from gateway.postgres.connection import dsn_of
from gateway.process import telemetry
from gateway.process.drain import on_signals
from gateway.process.watchdog import open_watchdog
from gateway.resources import Resources, open_resources
from gateway.routes import admin, health, keys
from gateway.routes.agencies import agencies, inbox, messages, sessions, turns
from gateway.routes.channels import channels
from gateway.routes.conversations import branches, conversations, participants, transfer, webhooks
from gateway.routes.conversations import messages as said
from gateway.routes.http import errors, guards
from gateway.routes.http.bulk import Counted
from gateway.routes.http.cors import Cors
from gateway.routes.http.entrance import Entrance
from gateway.routes.library import collections
from gateway.routes.openai import embeddings, files, models
from gateway.routes.openai.chat import completions as chat
from gateway.routes.openai.chat import stored
from gateway.routes.rpc_2025_02_12 import conversations as rpc
from gateway.routes.schema.description import Description, operation_id
from gateway.routes.schema.examples import Exemplified
from gateway.routes.schema.viewers import viewers

log = logging.getLogger(__name__)

Opening: TypeAlias = Callable[[], AbstractAsyncContextManager[Resources]]

ROUTES: list[ControllerRouterHandler] = [
    *health.ROUTES,
    *keys.ROUTES,
    *agencies.ROUTES,
    *stored.ROUTES,  # before chat, which adds to its paths: Litestar can't do the reverse
    *chat.ROUTES,
    *conversations.ROUTES,
    *transfer.ROUTES,
    *webhooks.ROUTES,
    *admin.ROUTES,
    *participants.ROUTES,
    *said.ROUTES,
    *branches.ROUTES,
    *files.ROUTES,
    *messages.ROUTES,
    *models.ROUTES,
    *rpc.ROUTES,
    *sessions.ROUTES,
    *inbox.ROUTES,
    *channels.ROUTES,
    *turns.ROUTES,
    *collections.ROUTES,
    *embeddings.ROUTES,
]

ORPHAN_S = 0.5
"""Seconds between a worker's looks at its parent."""

INJECTED = (
    "admin",
    "announcer",
    "callers",
    "catalog",
    "checks",
    "database",
    "drain",
    "embedders",
    "engine",
    "feed",
    "library",
    "news",
    "plain",
    "settings",
    "shelves",
    "tokens",
    "watch",
)
"""What handlers may ask for by name, beside `principal`: members of `Resources`.

More than one name costs 20 µs each, since Litestar starts a task for it; a handler that counts them
finds the same in `request.app.state`."""


def create() -> Litestar:
    """Granian's factory: one app a worker, as the environment says."""
    configured = settings.read()
    telemetry.configure()
    if configured.database_url is None:
        raise InvalidRequest("DATABASE_URL is not set; `gateway serve` sets it for its workers.")
    dsn = dsn_of(configured.database_url, prepared=configured.prepared_statements)
    opening = partial(_opened_by_worker, configured, dsn, os.getppid())
    return create_app(opening, configured.cors_origins)


@asynccontextmanager
async def _opened_by_worker(
    configured: settings.Settings, dsn: str, parent: int
) -> AsyncIterator[Resources]:
    watch = asyncio.create_task(_end_with(parent), name="watch the parent")
    try:
        async with open_resources(configured, dsn) as resources:
            _settle_memory()
            yield resources
    except GatewayError as error:
        log.error("can't start: %s", error.message)  # noqa: TRY400  the sentence says it all
        raise
    finally:
        watch.cancel()


def _settle_memory() -> None:
    """Takes what is there now out of the garbage collector's sight, and has it look at young
    objects less often: a request makes some hundred of them, and no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _end_with(parent: int) -> None:
    """A worker whose parent was killed would go on, and hold the port and the embedded Postgres."""
    while os.getppid() == parent:  # noqa: ASYNC110  nothing tells a child of it
        await asyncio.sleep(ORPHAN_S)
    log.error("the parent process is gone: this worker ends")
    os.kill(os.getpid(), signal.SIGTERM)


def create_app(opening: Opening, cors_origins: Collection[str] = ()) -> Litestar:
    """An app over the resources that `opening` gives when the server has started. Pages of these
    origins may use it."""
    opened: dict[str, object] = {}

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(telemetry.of_loop)
        # Watched once it serves: a start holds up nobody.
        async with opening() as resources, open_watchdog(resources.standstills):
            opened.update({name: getattr(resources, name) for name in INJECTED})
            app.state.update(opened)
            _announce(resources)
            with on_signals(resources.drain):
                yield

    app = Litestar(
        ROUTES,
        lifespan=[lifespan],
        dependencies=_dependencies(opened),
        guards=[guards.authenticate],
        exception_handlers={Exception: errors.handle},
        logging_config=None,  # `errors.handle` logs, and without the words of the request
        openapi_config=_openapi(),
        plugins=[Exemplified()],
        request_class=Counted,
        request_max_body_size=errors.MAX_BODY,
    )
    app.asgi_handler = Entrance(app.asgi_handler, Cors(cors_origins) if cors_origins else None)
    return app


def _dependencies(opened: dict[str, object]) -> dict[str, Provide]:
    def provide(name: str) -> Provide:
        def take() -> object:
            return opened[name]

        return Provide(take, sync_to_thread=False)

    provided = {name: provide(name) for name in INJECTED}
    return {**provided, "principal": Provide(guards.provide_principal)}


def _openapi() -> Description:
    scheme = SecurityScheme(type="http", scheme="bearer", description="An API key, `agw_…`.")
    pages, router = viewers()
    return Description(
        title="Agency gateway",
        version=__version__,
        components=Components(security_schemes={"bearer": scheme}),
        security=[{"bearer": []}],
        operation_id_creator=operation_id,
        use_handler_docstrings=True,
        render_plugins=pages,
        openapi_router=router,
    )


def _announce(resources: Resources) -> None:
    mode = "rehearsal" if resources.settings.rehearses else "openai"
    log.info("ready to serve", extra={"model": mode})
    if resources.settings.rehearses:
        log.warning("no upstream is set: the built-in rehearsal answers, not a language model")
    if resources.settings.workers > 1 and resources.settings.chroma_url is None:
        log.warning("several workers have no search index unless CHROMA_URL is set")
