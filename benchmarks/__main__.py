"""The benchmarks' command line: ``python -m benchmarks [--quick] [--output DIR]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.fakes import running
from benchmarks.measure import Measurement, trace
from benchmarks.phases import overlap
from benchmarks.picture import draw
from benchmarks.results import as_json, as_markdown, machine
from benchmarks.rivals import BOUND, OURS, SEQUENTIAL
from benchmarks.scenarios import SCENARIOS
from benchmarks.task import BenchmarkError, Task, clean_environment

if TYPE_CHECKING:
    from benchmarks.measure import Traced
    from benchmarks.scenarios import Scenario

_ROUNDS, _QUICK_ROUNDS = 7, 3


def main() -> int:
    """Measure every scenario, leave the results, and give the exit code: 1 where a goal is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures kerutaprep against its rivals.")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROUNDS} rounds instead of {_ROUNDS}")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results"), help="where the results go [%(default)s]"
    )
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    figures = []
    for scenario in SCENARIOS:
        try:
            figures.append(_measure(scenario, _QUICK_ROUNDS if options.quick else _ROUNDS, options.output))
        except BenchmarkError as error:
            print(f"failed: {scenario.name}: {error}", file=sys.stderr)
            return 1
    results = {"machine": machine(), "quick": options.quick, "scenarios": figures}
    (options.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    broken = [goal for each in figures for goal in each["goals"] if goal["verdict"] == "broken"]
    for goal in broken:
        print(f"failed: {goal['ratio']} is {goal['measured']}, more than {goal['fails_above']}", file=sys.stderr)
    return 1 if broken else 0


def _measure(scenario: Scenario, rounds: int, output: Path) -> dict[str, Any]:
    """Measure a scenario, print its table, and leave its picture and a report of ours."""
    environment = clean_environment()
    measured = Measurement(scenario)
    with tempfile.TemporaryDirectory(prefix="kerutaprep-benchmark-") as name:
        place = Path(name)
        served = place / "served"
        served.mkdir()
        with running(scenario, served, environment) as servers:
            task = Task(scenario, servers, place, environment)
            measured.run(task, rounds)
            traced = [trace(measured, rival, task) for rival in (OURS, SEQUENTIAL) if rival in measured.rivals]
    report = traced[0].report
    assert report is not None  # noqa: S101 - the first is ours
    print(as_markdown(measured), flush=True)
    (output / f"{scenario.name}.prep.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (output / f"{scenario.name}.svg").write_text(_picture(measured, traced), encoding="utf-8")
    return as_json(measured, overlap(report))


def _picture(measured: Measurement, traced: list[Traced]) -> str:
    title = f"{OURS.title}: {measured.median(OURS.name):.2f} s"
    if SEQUENTIAL in measured.rivals:
        title += f" instead of {measured.median(SEQUENTIAL.name):.2f} s one after the other"
    return draw(title, f"medians; {measured.scenario.title}", traced, measured.median(BOUND.name))


if __name__ == "__main__":
    sys.exit(main())
