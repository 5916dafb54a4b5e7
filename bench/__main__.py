"""`python -m bench`: measures the gateway beside a bare pass-through and prints what it found.

Targets are marked, not asserted: a noisy machine is no failure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path

import psutil
import uvloop

from bench import costs, load, report, rounds, servers
from bench.costs import Growth, TurnCost
from bench.report import Findings
from bench.rounds import PAIR, SINGLE
from bench.surroundings import Watch

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Extent:
    """How much is measured. `seconds` is the time of a contender in a round."""

    rounds: int
    seconds: float
    warm_up: float
    turns: int


FULL = Extent(rounds=7, seconds=7.0, warm_up=0.5, turns=3200)
QUICK = Extent(rounds=2, seconds=2.0, warm_up=0.2, turns=800)


async def measure(found: servers.Servers, extent: Extent) -> Findings:
    began = time.monotonic()
    watch = Watch(partial(_ours, found), found.directory)
    # First, while the gateway still has a single connection: see `Witness.blocks`.
    turns, round_trips, growth = await _costs(found, extent.turns)
    _say("database done")
    ceiling = await rounds.ceiling(found, extent.seconds)
    await rounds.warm_up(found, extent.warm_up)
    samples = await rounds.play(found, extent.rounds, extent.seconds)
    return Findings(
        samples=samples,
        ceiling=ceiling,
        memory=rounds.resident(found),
        turns=turns,
        round_trips=round_trips,
        growth=growth,
        seconds=time.monotonic() - began,
        surroundings=watch.read(),
    )


def _ours(found: servers.Servers) -> list[psutil.Process]:
    return [psutil.Process(), *chain.from_iterable(found.processes().values())]


async def _costs(
    found: servers.Servers, turns: int
) -> tuple[dict[str, TurnCost], dict[str, float], dict[str, Growth]]:
    agencies = {SINGLE: found.single, PAIR: found.pair}
    async with costs.witness(found) as witness:
        for target in agencies.values():
            await load.run(target.port, load.openings(target, 1), each=300)
        kinds = await costs.turns(witness, found.single)
        trips = {name: await costs.statements(witness, target) for name, target in agencies.items()}
        growth = {
            name: await costs.growth(witness, target, turns) for name, target in agencies.items()
        }
    return kinds, trips, growth


def _say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than 45 s, and noisier")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where the results are kept")
    asked = parser.parse_args()
    extent = QUICK if asked.quick else FULL
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        servers.running(Path(directory)) as found,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        _say("servers started")
        findings = runner.run(measure(found, extent))
    print("\n".join(report.lines(findings)))
    _keep(asked.json, findings)


def _keep(path: Path | None, findings: Findings) -> None:
    if path is None:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.json"
    path.write_text(json.dumps(report.as_json(findings), indent=1) + "\n")
    print(f"kept in {path}")


if __name__ == "__main__":
    main()
