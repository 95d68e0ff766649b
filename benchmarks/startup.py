"""From exec to the first git and the first request, and what the program itself costs."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from benchmarks.command import BenchmarkError
from benchmarks.content import small
from benchmarks.fakes import Behaviour
from benchmarks.measure import Measurement
from benchmarks.rivals import run_ours

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.task import Task

MIB = 1024 * 1024


def measure_startup(task: Task, rounds: int) -> Measurement:
    """Measure the start of a plain run: near servers that answer at once, one document, a script.

    The bare interpreter and the largest import are measured in the same rounds: machines differ, and so the goals.
    """
    spies = task.place / "spies"
    spies.mkdir(exist_ok=True)
    log = _make_spy(spies)
    task.servers.behave(Behaviour())
    measurement = Measurement("start-up", f"start-up: near, API 0 ms, {small().title}")
    return measurement.run(
        {
            "ours": lambda: _start(task, spies, log),
            "bare interpreter": lambda: _python(task, "bare interpreter", "pass"),
            "import aiohttp": lambda: _python(task, "import aiohttp", "import aiohttp"),
        },
        rounds,
    )


def _make_spy(place: Path) -> Path:
    """Make a git that writes down when it began, and is the real one from then on.

    Returns:
        where it writes. Bash tells the time without starting a process; its own start, about 2 ms, is in the figure.
    """
    git, bash = shutil.which("git"), shutil.which("bash")
    log, spy = place / "log", place / "git"
    spy.write_text(f'#!{bash}\necho "$EPOCHREALTIME" >>"{log}"\nexec "{git}" "$@"\n')
    spy.chmod(0o755)
    return log


def _start(task: Task, spies: Path, log: Path) -> Mapping[str, float]:
    log.unlink(missing_ok=True)
    task.servers.behave(Behaviour())  # forgets who came before
    with task.fresh() as fresh:
        ended = run_ours(fresh, PATH=f"{spies}:{task.environment['PATH']}")
        fresh.verify()
    arrivals = task.servers.arrivals()
    if not log.exists() or not arrivals:
        raise BenchmarkError("no git or no request was seen")
    return {
        "git spawned": float(log.read_text().split()[0]) - ended.began,
        "first request": min(arrivals) - ended.began,
        "whole run": ended.seconds,
        "own CPU": ended.cpu,
        "peak MiB": ended.peak / MIB,
    }


def _python(task: Task, name: str, program: str) -> Mapping[str, float]:
    with task.fresh() as fresh:
        return {name: fresh.run(sys.executable, "-c", program).seconds}
