"""Rounds of runs, and what comes of them: medians, ratios, goals."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.phases import Phase, phases_of_report, phases_of_script, report_of
from benchmarks.rivals import OURS, RIVALS
from benchmarks.scenarios import SLACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rivals import Rival
    from benchmarks.scenarios import Goal, Scenario
    from benchmarks.task import Task
    from kerutaprep.report import Report

_TRACES = 3


class Measurement:
    """Every run's seconds in one scenario, by rival and in the order of the rounds."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        missing = {rival: rival.missing() for rival in RIVALS}
        self.rivals = tuple(rival for rival, programs in missing.items() if not programs)
        self.skipped = {
            rival.name: f"{', '.join(programs)} not found" for rival, programs in missing.items() if programs
        }
        self.runs: dict[str, list[float]] = {rival.name: [] for rival in self.rivals}

    def run(self, task: Task, rounds: int) -> None:
        """Run every rival once in each round, each round beginning with another.

        Raises:
            BenchmarkError: a rival failed, or did not do the work.
        """
        for number in range(rounds):
            first = number % len(self.rivals)
            for rival in (*self.rivals[first:], *self.rivals[:first]):
                with _fresh_place(task) as fresh:
                    self.runs[rival.name].append(rival.measure(fresh))
            latest = ", ".join(f"{name} {runs[-1]:.2f} s" for name, runs in self.runs.items())
            print(f"{self.scenario.name}, round {number + 1} of {rounds}: {latest}", file=sys.stderr)

    def median(self, rival: str) -> float:
        """A rival's median seconds."""
        return median(self.runs[rival])

    def ratios(self, rival: str) -> list[float]:
        """Our seconds by a rival's, of each round."""
        return [ours / its for ours, its in zip(self.runs[OURS.name], self.runs[rival], strict=True)]

    def judge(self, goal: Goal) -> Verdict:
        """Compare what was measured with a goal."""
        return Verdict(goal, median(self.ratios(goal.rival)) if goal.rival in self.runs else None)

    def verdicts(self) -> list[Verdict]:
        """What became of each goal."""
        return [self.judge(goal) for goal in self.scenario.goals]


@dataclass(frozen=True)
class Verdict:
    """What became of a goal."""

    goal: Goal
    measured: float | None
    """The median of the rounds' ratios; None where the rival was skipped."""

    @property
    def word(self) -> str:
        """In a word."""
        if self.measured is None:
            return "not measured"
        if self.measured <= self.goal.ratio:
            return "met"
        return "broken" if self.measured > self.goal.ratio * SLACK else "missed, within the slack"


@dataclass(frozen=True)
class Traced:
    """A run that was watched for its phases; it is in no figure, as watching a shell script costs time."""

    rival: Rival
    seconds: float
    phases: list[Phase]
    report: Report | None = None
    """Of one of ours."""


def trace(measured: Measurement, rival: Rival, task: Task) -> Traced:
    """Run a rival a few times more, for its phases, and give the run that is nearest to its median."""
    usual = measured.median(rival.name)
    return min((_trace(rival, task) for _ in range(_TRACES)), key=lambda run: abs(run.seconds - usual))


def _trace(rival: Rival, task: Task) -> Traced:
    with _fresh_place(task) as fresh:
        watched = replace(fresh, environment={**fresh.environment, "BENCHMARK_PHASES": str(fresh.phases)})
        started = time.time()
        seconds = rival.measure(watched)
        if rival is not OURS:
            return Traced(rival, seconds, phases_of_script(fresh.phases.read_text(), started))
        report = report_of(fresh)
        return Traced(rival, seconds, phases_of_report(report, started), report)


@contextmanager
def _fresh_place(task: Task) -> Iterator[Task]:
    with tempfile.TemporaryDirectory(dir=task.place) as place:
        yield replace(task, place=Path(place))
