"""The benchmarks' command line: ``python -m benchmarks [--quick] [--publish] [--output DIR]``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import scenarios, tables
from benchmarks.chart import draw_fleet, draw_latency
from benchmarks.command import BenchmarkError
from benchmarks.faults import measure_faults
from benchmarks.fleet import ADVICE, POLICIES, Fleet, simulate
from benchmarks.phases import PICTURED, trace
from benchmarks.publish import publish
from benchmarks.results import Results, as_json, machine
from benchmarks.rivals import BOUND, OURS, PARALLEL, RIVALS, SEQUENTIAL
from benchmarks.scenarios import GRID, HALF_CORE, QUICK_GRID
from benchmarks.servers import serving
from benchmarks.startup import measure_startup
from benchmarks.task import Task, clean_environment
from benchmarks.waterfall import draw_waterfall

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
_ROOM = 4 * 1024**3
"""Bytes that two documents of 1 GiB and what else there is need."""
_PROGRAMS = ("git", "curl", "bash", "taskset")


def main() -> int:
    """Measure, leave the results, and give the exit code: 1 where a goal is broken or a run did not do its work."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures kerutaprep against its rivals.")
    parser.add_argument("--quick", action="store_true", help="what CI runs: few rounds, of what each goal needs")
    parser.add_argument("--rounds", type=int, default=5, help="of a full run [%(default)s]")
    parser.add_argument("--publish", action="store_true", help="put the figures and pictures into docs/performance.md")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results"), help="where the results go [%(default)s]"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is in memory is removed
    if options.publish and options.quick:
        parser.error("--publish is for a full run")
    if missing := [program for program in _PROGRAMS if shutil.which(program) is None]:
        parser.error(f"not found: {', '.join(missing)}")
    try:
        results, pictures = _measure(None if options.quick else options.rounds)
    except BenchmarkError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    _leave(results, pictures, options.output)
    if options.publish:
        publish(results, pictures)
    return _tell_broken(results)


def _measure(rounds: int | None) -> tuple[Results, dict[str, str]]:
    with _task() as task:
        on = "tmpfs" if task.place.is_relative_to(_MEMORY) else "disk"
        results = Results(machine(on), quick=rounds is None)
        if rounds is None:
            _quick(task, results)
        else:
            _full(task, results, rounds)
        return results, _pictures(task, results, 1 if rounds is None else 5)


@contextmanager
def _task() -> Iterator[Task]:
    """The servers, and a task for each situation to make its own of."""
    environment = clean_environment()
    memory = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    with tempfile.TemporaryDirectory(prefix="kerutaprep-benchmark-", dir=_MEMORY if memory else None) as name:
        served, place = Path(name, "served"), Path(name, "place")
        served.mkdir()
        place.mkdir()
        with serving(served, environment) as servers:
            yield Task(servers, place, environment)


def _quick(task: Task, results: Results) -> None:
    start = results.add(measure_startup(task, 5))
    for cell in QUICK_GRID:
        results.add(scenarios.grid(task, cell, 2 if cell.latency == 1000 else 3, (OURS, PARALLEL, SEQUENTIAL)))
    results.add(scenarios.git_part(task, start.median("git spawned"), 3))
    results.add(scenarios.huge_document(task, 5))
    results.add(scenarios.thousand_documents(task, 2))
    results.add(scenarios.warm(task, 2))
    results.faults = measure_faults(task, 3)
    results.fleets["backlog", "ours"] = simulate(Fleet(advice="backlog"), POLICIES["ours"])


def _full(task: Task, results: Results, rounds: int) -> None:
    start = results.add(measure_startup(task, 3 * rounds))
    for cell in GRID:
        results.add(scenarios.grid(task, cell, rounds, RIVALS))
    results.add(scenarios.git_part(task, start.median("git spawned"), rounds + 6))
    results.add(scenarios.huge_document(task, rounds))
    results.add(scenarios.thousand_documents(task, rounds))
    results.add(scenarios.warm(task, rounds))
    results.add(scenarios.uneven(task, rounds))
    for cell in HALF_CORE:
        results.add(scenarios.half_core(task, cell, rounds))
    results.faults = measure_faults(task, 4 * rounds)
    for advice in ADVICE:
        for name, policy in POLICIES.items():
            results.fleets[advice, name] = simulate(replace(Fleet(), advice=advice), policy)


def _pictures(task: Task, results: Results, times: int) -> dict[str, str]:
    runs = trace(task, times)
    measured = results.measurements.get(PICTURED.name)
    title = f"{runs[0].title}: {runs[0].seconds:.2f} s, the shells {runs[1].seconds:.2f} s and {runs[2].seconds:.2f} s"
    bound = measured.median(BOUND) if measured else None
    pictures = {"waterfall.svg": draw_waterfall(title, PICTURED.title, runs, bound), "fleet.svg": draw_fleet(results)}
    if len(results.cells) == len(GRID):
        pictures["latency.svg"] = draw_latency(results)
    return pictures


def _leave(results: Results, pictures: dict[str, str], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    text = tables.whole(results)
    (output / "results.json").write_text(json.dumps(as_json(results), indent=2) + "\n", encoding="utf-8")
    (output / "results.md").write_text(text, encoding="utf-8")
    for name, picture in pictures.items():
        (output / name).write_text(picture, encoding="utf-8")
    print(text)


def _tell_broken(results: Results) -> int:
    broken = [verdict for verdict in results.verdicts() if verdict.word == "broken"]
    for verdict in broken:
        goal = verdict.goal
        print(
            f"failed: {goal.title}: {verdict.worst:.3g}{goal.unit} at {verdict.place}, "
            f"more than {verdict.fails_above:.3g}{goal.unit}",
            file=sys.stderr,
        )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
