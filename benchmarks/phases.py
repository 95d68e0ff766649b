"""When the parts of a run began and ended, from what the run itself left."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from kerutaprep.report import read_report

if TYPE_CHECKING:
    from benchmarks.task import Task
    from kerutaprep.report import Report

_CONCURRENT = ("clone", "documents", "script")


class Phase(NamedTuple):
    """A part of a run; its times are seconds since the process was started."""

    name: str
    start: float
    end: float


def report_of(task: Task) -> Report:
    """What one of our runs reported."""
    return read_report(task.work_dir / ".keruta" / "prep.json")


def overlap(report: Report) -> float:
    """The seconds that clone, documents and script all ran at the same time; negative where they never did."""
    steps = [step for step in report["steps"] if step["name"] in _CONCURRENT]
    return min(step["end"] or 0.0 for step in steps) - max(step["start"] or 0.0 for step in steps)


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
    """The phases of a shell script, of which each line names one and says when it ended.

    Args:
        lines: name and seconds since the epoch; the first is the script's begin.
        started: when the process was started, in seconds since the epoch.
    """
    marks = [(name, float(seconds) - started) for name, seconds in map(str.split, lines.splitlines())]
    return [Phase(name, begin, end) for (_, begin), (name, end) in pairwise(marks)]
