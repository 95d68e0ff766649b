"""When the parts of a run began and ended, from what the run itself left.

Watching costs a shell time, so these runs are in no figure.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.fakes import Behaviour
from benchmarks.rivals import run_ours, run_shell
from benchmarks.scenarios import Cell, repository
from kerutaprep.report import read_report

if TYPE_CHECKING:
    from benchmarks.task import Task
    from kerutaprep.report import Report

PICTURED = Cell(True, "midsize", 200)


class Phase(NamedTuple):
    """A part of a run; its times are seconds since the process was started."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Traced:
    """A run that was watched for its phases."""

    title: str
    seconds: float
    phases: list[Phase]


def trace(task: Task, times: int) -> list[Traced]:
    """Watch ours, then the shells; of each several runs, the median one."""
    chosen = replace(task, far=PICTURED.far, repository=repository(PICTURED.repository))
    chosen.servers.behave(Behaviour(latency=PICTURED.latency / 1000))
    return [_median([_trace(chosen, name) for _ in range(times)]) for name in ("ours", "parallel.sh", "sequential.sh")]


def _median(runs: list[Traced]) -> Traced:
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def _trace(task: Task, name: str) -> Traced:
    with task.fresh() as fresh:
        if name == "ours":
            ended = run_ours(fresh)
            phases = phases_of_report(read_report(fresh.work_dir / ".keruta/prep.json"), ended.began)
            return Traced("keruta-agent init", ended.seconds, phases)
        started = time.time()
        ended = run_shell(fresh, name, BENCHMARK_PHASES=str(fresh.phases))
        return Traced(name, ended.seconds, phases_of_script(fresh.phases.read_text(), started))


def phases_of_report(report: Report, started: float) -> list[Phase]:
    """The steps of one of our runs, and the program's start before them.

    Args:
        report: the run's.
        started: when the process was started, in seconds since the epoch.
    """
    offset = datetime.fromisoformat(report["started_at"]).timestamp() - started
    return [
        Phase("start-up", 0.0, offset),
        *(
            Phase(step["name"], offset + step["start"], offset + step["end"])
            for step in report["steps"]
            if step["start"] is not None and step["end"] is not None
        ),
    ]


def phases_of_script(lines: str, started: float) -> list[Phase]:
    """The phases of a shell script.

    Args:
        lines: each a name, ``begin`` or ``end``, and seconds since the epoch.
        started: when the process was started, in seconds since the epoch.
    """
    begun: dict[str, float] = {}
    phases = []
    for name, what, seconds in map(str.split, lines.splitlines()):
        at = float(seconds) - started
        if what == "begin":
            begun[name] = at
        else:
            phases.append(Phase(name, begun[name], at))
    return sorted(phases, key=lambda phase: phase.start)
