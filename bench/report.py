"""The figures of a run as a table, with the targets beside them, and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median

from bench import rounds
from bench.costs import FIRST, LATE, Growth, TurnCost
from bench.rounds import PAIR, PASSTHROUGH, SINGLE, Sample, Samples, Series
from bench.surroundings import Surroundings

QUIET = 0.15
"""Cores that others may keep busy."""

Figure = Callable[[Sample], float]


@dataclass(frozen=True)
class Findings:
    """Everything that a run has measured."""

    samples: Samples
    ceiling: dict[str, Sample]
    memory: float
    turns: dict[str, TurnCost]
    round_trips: dict[str, float]
    growth: dict[str, Growth]
    seconds: float
    surroundings: Surroundings

    def middle(self, contender: str, series: Series, figure: Figure) -> float:
        return median(map(figure, self.samples[contender][series.name]))

    def ratio(self, series: Series, figure: Figure, contender: str = SINGLE) -> float:
        """To the pass-through, of the same round: what the machine does besides falls out."""
        pairs = zip(
            self.samples[contender][series.name],
            self.samples[PASSTHROUGH][series.name],
            strict=True,
        )
        return median(figure(own) / figure(bare) for own, bare in pairs)


@dataclass(frozen=True)
class Target:
    """What must be reached. `least` says that more is better."""

    name: str
    limit: float
    reached: float
    least: bool = False

    @property
    def ok(self) -> bool:
        return self.reached >= self.limit if self.least else self.reached <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.least else "≤"
        mark = "ok" if self.ok else "MISSED"
        return f"  {mark:<7} {self.name:<66} {self.reached:>10,.2f}   {sign} {self.limit:,g}"


def targets(found: Findings) -> list[Target]:
    slower = found.turns[LATE].milliseconds / found.turns[FIRST].milliseconds
    one, many = rounds.WHOLE_1, rounds.WHOLE_16
    return [
        Target("rate of a single-call turn / pass-through, 16 connections", 0.2,
               found.ratio(many, _requests), least=True),
        Target("rate of a single-call turn / pass-through, 1 connection", 0.2,
               found.ratio(one, _requests), least=True),
        Target("latency (p50) of a single-call turn / pass-through, 1 connection", 8,
               found.ratio(one, _p50)),
        Target("chunks/s of a streamed answer of 100, 16 connections", 20_000,
               found.middle(SINGLE, rounds.STREAM_16, _chunks), least=True),
        Target("chunks/s of a streamed answer of 100, 1 connection", 20_000,
               found.middle(SINGLE, rounds.STREAM_1, _chunks), least=True),
        Target("round trips to Postgres of a single-call turn", 3,
               max(found.round_trips[SINGLE], *(t.round_trips for t in found.turns.values()))),
        Target("MB resident, the gateway's processes together", 200, found.memory),
        Target("database time of a turn after 500 turns / of a first turn", 2, slower),
    ]  # fmt: skip


def lines(found: Findings) -> Iterator[str]:
    yield from _contest(found)
    yield ""
    yield from _database(found)
    yield ""
    yield "Targets"
    yield from map(str, targets(found))
    yield ""
    around = found.surroundings
    yield f"{found.seconds:.0f} s, {machine()}; a write to the disk takes {around.sync:.2f} ms"
    if around.others > QUIET:
        yield f"NOISY: others kept {around.others:.1f} cores busy; measure again when it is quiet."


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _requests(sample: Sample) -> float:
    return sample.requests


def _p50(sample: Sample) -> float:
    return sample.p50


def _p99(sample: Sample) -> float:
    return sample.p99


def _first_token(sample: Sample) -> float:
    return sample.first_token


def _chunks(sample: Sample) -> float:
    return sample.chunks


def _cpu_of(process: str) -> Figure:
    return lambda sample: sample.cpu[process]


_WHOLE: Sequence[tuple[str, Figure]] = (
    ("requests/s", _requests),
    ("ms, p50", _p50),
    ("ms, p99", _p99),
)
_STREAMED: Sequence[tuple[str, Figure]] = (
    ("chunks/s", _chunks),
    ("ms to first token, p50", _first_token),
)
_FIGURES = {
    rounds.WHOLE_1.name: _WHOLE,
    rounds.WHOLE_16.name: (
        *_WHOLE,
        ("ms of processor, the server", lambda s: s.cpu["passthrough"] + s.cpu["gateway"]),
        ("ms of processor, Postgres", _cpu_of("postgres")),
    ),
    rounds.STREAM_1.name: _STREAMED,
    rounds.STREAM_16.name: _STREAMED,
    rounds.GROWING_16.name: _WHOLE,
    rounds.POSTED_16.name: _WHOLE,
}


def _contest(found: Findings) -> Iterator[str]:
    head = f"{'':<30}{PASSTHROUGH:>26}{SINGLE:>26}{'x':>7}{PAIR:>26}{'x':>7}{'mock alone':>12}"
    yield head
    for series in rounds.SERIES:
        yield series.name
        for name, figure in _FIGURES[series.name]:
            bare, single, pair = (
                _spread([figure(sample) for sample in found.samples[who][series.name]])
                for who in (PASSTHROUGH, SINGLE, PAIR)
            )
            yield (
                f"  {name:<28}{bare:>26}{single:>26}{_ratio(found, series, figure, SINGLE):>7}"
                f"{pair:>26}{_ratio(found, series, figure, PAIR):>7}"
                f"{_alone(found, series, figure):>12}"
            )


def _spread(values: list[float]) -> str:
    """The median, and the least and most of all rounds."""
    return f"{_number(median(values))} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _ratio(found: Findings, series: Series, figure: Figure, contender: str) -> str:
    if not found.middle(PASSTHROUGH, series, figure):
        return "-"
    bare = [figure(sample) for sample in found.samples[PASSTHROUGH][series.name]]
    return f"{found.ratio(series, figure, contender):.2f}" if all(bare) else "-"


def _alone(found: Findings, series: Series, figure: Figure) -> str:
    sample = found.ceiling.get(series.name)
    value = figure(sample) if sample else 0.0
    return _number(value) if value else "-"


def _database(found: Findings) -> Iterator[str]:
    first = found.turns[FIRST]
    yield (
        f"{'database, a turn of one agent':<30}{'round trips':>12}{'ms in Postgres':>16}{'x':>6}"
        f"{'blocks':>9}{'x':>7}{'ms, client':>12}"
    )
    for name, cost in found.turns.items():
        yield (
            f"  {name:<28}{cost.round_trips:>12.2f}{cost.milliseconds:>16.3f}"
            f"{cost.milliseconds / first.milliseconds:>6.2f}{cost.blocks:>9,.0f}"
            f"{cost.blocks / first.blocks:>7.1f}{cost.latency:>12.2f}"
        )
    for name, growth in found.growth.items():
        yield (
            f"{name}: {found.round_trips[name]:.2f} round trips, "
            f"{growth.database:,.0f} bytes of database and {growth.wal:,.0f} of WAL a first turn"
        )
    yield f"memory: {found.memory:.0f} MB resident"
    yield from _failures(found)


def _failures(found: Findings) -> Iterator[str]:
    for name, by_series in found.samples.items():
        told = [f for samples in by_series.values() for sample in samples for f in sample.failures]
        if told:
            yield f"{name}: {len(told)} requests FAILED, the first with {told[0]!r}"


def as_json(found: Findings) -> dict[str, object]:
    made = [
        {"name": t.name, "limit": t.limit, "reached": t.reached, "ok": t.ok} for t in targets(found)
    ]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "targets": made,
        **asdict(found),
    }
