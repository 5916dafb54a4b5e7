"""What a turn costs the gateway's database, as Postgres itself tells it.

Postgres counts statements and their times in its log, blocks in `pg_stat_database`, and bytes as
the growth of the database. All of it is read while nothing else runs, over one connection.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import asyncpg

from bench.load import Dialogue, Openings, Talk, Target, openings, quantile, run
from bench.servers import Servers

LONG = 500
"""Turns of the long conversation."""
FIRST = "first turn"
EARLY = "turns 1 to 10"
LATE = f"turns {LONG + 1} on"
TURNS = 40
STATS_S = 2.2
"""Seconds. A backend reports its counters at most once a second, and only when it has been busy:
the gateway's sweeper keeps its one connection so."""
RELOAD_S = 0.3

_STATEMENT = re.compile(r"\[(\d+)\] LOG:  duration: ([\d.]+) ms  (parse|bind|execute|statement)")


@dataclass(frozen=True, slots=True)
class Statements:
    """What the log tells of some turns. `milliseconds` is without the wait for the disk, which
    comes with the commit."""

    round_trips: int
    milliseconds: float


@dataclass(frozen=True, slots=True)
class TurnCost:
    """A turn of one kind: medians, of blocks the mean. `latency` is the client's, in milliseconds
    and with the wait for the disk."""

    round_trips: float
    milliseconds: float
    blocks: float
    latency: float


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes a turn."""

    database: float
    wal: float
    tables: dict[str, float]


class Witness:
    """A connection of our own to the gateway's Postgres, and its log."""

    def __init__(self, connection: asyncpg.Connection, servers: Servers, pid: int) -> None:
        self._connection = connection
        self._log = servers.log
        self._pid = pid

    @asynccontextmanager
    async def logging(self) -> AsyncIterator[None]:
        await self._set("log_min_duration_statement", "0")
        await self._set("log_parameter_max_length", "0")
        await self._reload()
        try:
            yield
        finally:
            await self._connection.execute("ALTER SYSTEM RESET ALL")
            await self._reload()

    async def _set(self, name: str, value: str) -> None:
        await self._connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")

    async def _reload(self) -> None:
        await self._connection.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(RELOAD_S)

    async def statements(self, port: int, talk: Talk) -> Statements:
        """Of one turn. A statement that had to be parsed took another round trip."""
        start = self._log.stat().st_size
        await run(port, [talk], each=1)
        with self._log.open() as log:
            log.seek(start)
            found = _STATEMENT.findall(log.read())
        ours = [(float(took), kind) for pid, took, kind in found if int(pid) != self._pid]
        return Statements(
            round_trips=sum(kind != "bind" for _, kind in ours),
            milliseconds=sum(took for took, _ in ours),
        )

    async def blocks(self) -> int:
        """Blocks read so far, from memory or disk; who was busy has reported by then."""
        await asyncio.sleep(STATS_S)
        await self._connection.execute("SELECT pg_stat_clear_snapshot()")
        read = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = 'postgres'"
        return int(await self._connection.fetchval(read))

    async def sizes(self) -> tuple[int, int, dict[str, int]]:
        """Bytes of the database, of all WAL so far, and of each table with its indexes."""
        total = "SELECT pg_database_size('postgres'), pg_current_wal_lsn() - '0/0'::pg_lsn"
        each = "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables"
        size, wal = await self._connection.fetchrow(total)
        return size, int(wal), dict(await self._connection.fetch(each))


@asynccontextmanager
async def witness(servers: Servers) -> AsyncIterator[Witness]:
    connection = await asyncpg.connect(servers.dsn)
    try:
        yield Witness(connection, servers, connection.get_server_pid())
    finally:
        await connection.close()


async def growth(witness: Witness, target: Target, turns: int) -> Growth:
    connections = 16
    before = await witness.sizes()
    await run(target.port, openings(target, connections), each=turns // connections)
    after = await witness.sizes()
    made = turns // connections * connections
    tables = {name: (after[2][name] - size) / made for name, size in before[2].items()}
    return Growth((after[0] - before[0]) / made, (after[1] - before[1]) / made, tables)


async def turns(witness: Witness, target: Target) -> dict[str, TurnCost]:
    """A first turn, an early one and one after 500 others, each asked in turn with the others."""
    long = Dialogue(target)
    await run(target.port, [long], each=LONG)
    kinds: dict[str, Talk] = {
        FIRST: Openings(target),
        EARLY: Dialogue(target, 10),
        LATE: long,
    }
    told: dict[str, list[Statements]] = {name: [] for name in kinds}
    async with witness.logging():
        for _ in range(TURNS):
            for name, talk in kinds.items():
                told[name].append(await witness.statements(target.port, talk))
    blocks = [await witness.blocks()]
    latencies: dict[str, float] = {}
    for name, talk in kinds.items():
        result = await run(target.port, [talk], each=TURNS)
        blocks.append(await witness.blocks())
        latencies[name] = 1000 * quantile(result.latencies, 0.5)
    read = {
        name: after - before for name, (before, after) in zip(kinds, pairwise(blocks), strict=True)
    }
    return {
        name: TurnCost(
            round_trips=median(each.round_trips for each in told[name]),
            milliseconds=median(each.milliseconds for each in told[name]),
            blocks=read[name] / TURNS,
            latency=latencies[name],
        )
        for name in kinds
    }


async def statements(witness: Witness, target: Target) -> float:
    """Round trips of a first turn."""
    async with witness.logging():
        told = [await witness.statements(target.port, Openings(target)) for _ in range(TURNS)]
    return median(each.round_trips for each in told)
