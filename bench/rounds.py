"""The contenders, measured in rounds: each does one thing, then each the next, then all again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.load import Result, Talk, Target, dialogues, messages, openings, quantile, run
from bench.servers import Servers
from bench.surroundings import seconds_of

PASSTHROUGH, SINGLE, PAIR = "pass-through", "one agent", "manager asks one"


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of load. `share` is its part of a contender's time in a round."""

    name: str
    connections: int
    share: float
    talks: Callable[[Target, int], list[Talk]]


def _streams(target: Target, connections: int) -> list[Talk]:
    return openings(target, connections, stream=True)


def _growing(target: Target, connections: int) -> list[Talk]:
    return dialogues(target, connections, 10)


def _posted(target: Target, connections: int) -> list[Talk]:
    """At the pass-through, which has no conversations, a chat stands for a message."""
    if target.path.startswith("/api/agency/"):
        return messages(target, connections, 10)
    return openings(target, connections)


WHOLE_1 = Series("whole, 1 connection", 1, 0.25, openings)
WHOLE_16 = Series("whole, 16 connections", 16, 0.25, openings)
STREAM_1 = Series("streamed, 1 connection", 1, 0.1, _streams)
STREAM_16 = Series("streamed, 16 connections", 16, 0.2, _streams)
GROWING_16 = Series("growing, 16 connections", 16, 0.1, _growing)
POSTED_16 = Series("RPC messages, 16 connections", 16, 0.1, _posted)
SERIES = (WHOLE_1, WHOLE_16, STREAM_1, STREAM_16, GROWING_16, POSTED_16)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. Times are milliseconds; `cpu` is those of a process per request."""

    requests: float
    p50: float
    p99: float
    first_token: float
    chunks: float
    cpu: dict[str, float]
    failures: list[str]


Samples = dict[str, dict[str, list[Sample]]]
"""By contender, then by series: a sample a round."""


def contenders(servers: Servers) -> dict[str, Target]:
    return {PASSTHROUGH: servers.passthrough, SINGLE: servers.single, PAIR: servers.pair}


async def warm_up(servers: Servers, seconds: float) -> None:
    for target in contenders(servers).values():
        for series in SERIES:
            await run(target.port, series.talks(target, series.connections), seconds=seconds)


async def play(servers: Servers, rounds: int, seconds: float) -> Samples:
    """`seconds` is the time of a contender in a round."""
    samples: Samples = {name: {s.name: [] for s in SERIES} for name in contenders(servers)}
    for _ in range(rounds):
        for series in SERIES:
            for name, target in contenders(servers).items():
                sample = await _measure(servers, target, series, seconds * series.share)
                samples[name][series.name].append(sample)
    return samples


async def ceiling(servers: Servers, seconds: float) -> dict[str, Sample]:
    """What the load generator and the mock give without anything between them."""
    return {
        series.name: await _measure(servers, servers.mock, series, seconds * series.share)
        for series in SERIES
        if series not in (GROWING_16, POSTED_16)
    }


async def _measure(servers: Servers, target: Target, series: Series, seconds: float) -> Sample:
    before = _cpu(servers)
    result = await run(target.port, series.talks(target, series.connections), seconds=seconds)
    after = _cpu(servers)
    made = len(result.latencies)
    return _sample(result, {name: 1000 * (after[name] - before[name]) / made for name in after})


def _sample(result: Result, cpu: dict[str, float]) -> Sample:
    return Sample(
        requests=result.rate,
        p50=1000 * quantile(result.latencies, 0.5),
        p99=1000 * quantile(result.latencies, 0.99),
        first_token=1000 * quantile(result.first_tokens, 0.5),
        chunks=result.chunk_rate,
        cpu=cpu,
        failures=result.failures,
    )


def _cpu(servers: Servers) -> dict[str, float]:
    """Seconds of processor time so far."""
    return {name: sum(map(seconds_of, found)) for name, found in servers.processes().items()}


def resident(servers: Servers) -> float:
    """Megabytes of the gateway's processes, each counted whole."""
    sizes: list[int] = [process.memory_info().rss for process in servers.processes()["gateway"]]
    return sum(sizes) / 1e6
