"""An API that refuses some requests: who gets the work done, and who only says so."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.command import BenchmarkError
from benchmarks.fakes import Behaviour
from benchmarks.rivals import NAIVE, OURS, PARALLEL, SEQUENTIAL

if TYPE_CHECKING:
    from benchmarks.rivals import Rival
    from benchmarks.task import Task

FAULTS = Behaviour(latency=0.05, unavailable=0.10, throttled=0.05, retry_after=1)
TITLE = "10 % of answers 503, 5 % 429 with Retry-After: 1; git near, 200 files, API 50 ms"


@dataclass
class Tally:
    """How a rival's runs ended."""

    ready: list[float] = field(default_factory=list)
    """Seconds of the runs that did the work."""
    failed: int = 0
    wrong: int = 0
    """Runs that ended with 0 and had not done the work."""

    @property
    def median(self) -> float | None:
        """Seconds of those that did the work."""
        return median(self.ready) if self.ready else None


def measure_faults(task: Task, runs: int) -> dict[str, Tally]:
    """Let each rival meet the same draws, run by run.

    Raises:
        BenchmarkError: one of ours was not ready.
    """
    tallies = {}
    for rival in (OURS, PARALLEL, SEQUENTIAL, NAIVE):
        tally = tallies[rival.name] = Tally()
        for seed in range(runs):
            task.servers.behave(replace(FAULTS, seed=seed))
            _meet(task, rival, tally)
        print(f"faults: {rival.name} {len(tally.ready)} of {runs} ready", file=sys.stderr, flush=True)
    if len(tallies[OURS.name].ready) < runs:
        raise BenchmarkError(
            f"only {len(tallies[OURS.name].ready)} of {runs} runs of ours were ready in spite of faults"
        )
    return tallies


def _meet(task: Task, rival: Rival, tally: Tally) -> None:
    with task.fresh() as fresh:
        try:
            ended = rival.start(fresh)
        except BenchmarkError:
            tally.failed += 1
            return
        try:
            fresh.verify()
        except BenchmarkError:
            tally.wrong += 1
        else:
            tally.ready.append(ended.seconds)
