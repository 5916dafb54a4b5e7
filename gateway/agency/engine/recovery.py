"""Turns that outlive their process or their client: leases are renewed, what ran out is swept."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway import ids
from gateway.agency.engine.control import Control
from gateway.agency.engine.engine import Engine
from gateway.agency.engine.runner import Runner
from gateway.agency.engine.sweeper import Sweeper
from gateway.agency.intake.accept import Intake
from gateway.agency.intake.queue import Queue
from gateway.agency.intake.rejoin import Reception
from gateway.agency.intake.rounds import RoomRounds
from gateway.agency.intake.start import Starter
from gateway.agency.ledger.context_cache import ContextCache
from gateway.agency.ledger.ledger import Ledger
from gateway.agency.ledger.observer import TurnLog
from gateway.agency.model import Model
from gateway.agency.models.remote import Remotes
from gateway.agency.run.checks import FormatChecks
from gateway.agency.run.services import Services
from gateway.agency.teams.catalog import Catalog
from gateway.agency.turn.library import Library
from gateway.conversation.idempotency import Idempotency
from gateway.conversation.rooms.presence import Presence
from gateway.postgres.database import Database
from gateway.process.drain import Drain, end
from gateway.process.periods import regularly
from gateway.settings import Settings
from gateway.streams.announcer import Announcer
from gateway.streams.brokers.broker import Broker
from gateway.streams.versions import Versions

RENEWALS = 3
"""Renewals within a lease: two may fail before the turn is lost."""
FORGET_S = 600.0
"""How often idempotency keys that are too old to count are deleted."""
LAST_SECONDS = 5.0
"""What a turn that runs when the process is told to end may still take."""


@asynccontextmanager
async def open_engine(
    database: Database,
    catalog: Catalog,
    model: Model,
    remotes: Remotes,
    settings: Settings,
    drain: Drain,
    announcer: Announcer,
    broker: Broker,
    checks: FormatChecks,
    library: Library | None = None,
) -> AsyncIterator[Engine]:
    """An engine with its keepers. When the process drains, turns that nobody waits for are handed
    over, the others have a few seconds to end; those left are suspended for their clients' next
    try."""
    node = f"{socket.gethostname()}:{os.getpid()}:{ids.new().hex[-8:]}"
    queue = Queue(database, catalog, announcer, node)
    rounds = RoomRounds(database, queue)
    ledger = Ledger(database, node, settings.lease, announcer, TurnLog(), rounds)
    cache = ContextCache()
    reception = Reception(Intake(database, ledger, node, settings.lease, announcer), cache)
    starter = Starter(database, ledger, catalog, announcer, cache, node=node, lease=settings.lease)
    idempotency = Idempotency(database)
    services = Services(ledger, model, remotes, checks, settings.default_model, library)
    control = Control(broker)
    polls = settings.polls
    runner = Runner(services, starter, cache, catalog, announcer, Versions(broker), control, polls)
    period = settings.lease / RENEWALS
    keepers = [
        asyncio.create_task(regularly(runner.running.renew, period), name="renew leases"),
        asyncio.create_task(
            regularly(Sweeper(runner).sweep, min(period, 1.0), runner.woken), name="sweep turns"
        ),
        asyncio.create_task(regularly(runner.running.save, polls.saves), name="save replies"),
        asyncio.create_task(regularly(idempotency.forget_old, FORGET_S), name="forget keys"),
        asyncio.create_task(
            regularly(Presence(database, announcer).sweep, polls.statuses),
            name="sweep statuses",
        ),
        asyncio.create_task(_wind_down(runner, drain), name="wind turns down"),
    ]
    async with control.serving(runner.running.stop, runner.woken.set):
        try:
            yield Engine(runner, reception, queue, idempotency)
        finally:
            await end(keepers)
            await runner.close()


async def _wind_down(runner: Runner, drain: Drain) -> None:
    await drain.wait()
    await runner.hand_over()
    await runner.running.idle(LAST_SECONDS)
    await runner.close()
