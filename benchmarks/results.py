"""Everything that one benchmark measured, as figures for programs (JSON) and what the goals ask of it."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.command import TIMEOUT
from benchmarks.fleet import Fleet, Outcome, floor, ideal
from benchmarks.goals import REFERENCE, Verdict, judge
from benchmarks.rivals import BOUND
from benchmarks.scenarios import GRID, Cell
from kerutaprep import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.faults import Tally
    from benchmarks.measure import Measurement


@dataclass
class Results:
    """What was measured so far."""

    machine: dict[str, object]
    quick: bool
    measurements: dict[str, Measurement] = field(default_factory=dict)
    faults: dict[str, Tally] = field(default_factory=dict)
    fleets: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    """By what ``Retry-After`` says and by policy."""

    def add(self, measurement: Measurement) -> Measurement:
        """Keep a measurement."""
        self.measurements[measurement.name] = measurement
        return measurement

    @property
    def cells(self) -> dict[Cell, Measurement]:
        """The grid, as far as it was measured."""
        return {cell: self.measurements[cell.name] for cell in GRID if cell.name in self.measurements}

    @property
    def scales(self) -> dict[str, float]:
        """How much slower this machine is than that of the goals, by what was measured."""
        start = self.measurements.get("start-up")
        return {} if start is None else {name: start.median(name) / usual for name, usual in REFERENCE.items()}

    def verdicts(self) -> list[Verdict]:
        """What became of each goal."""
        return judge({**self._grid_figures(), **self._other_figures(), **self._start_figures()}, self.scales)

    def _grid_figures(self) -> dict[str, dict[str, float]]:
        cells = self.cells

        def against(
            rival: str, *, far: bool | None = None, least: int = 0, only: int | None = None
        ) -> dict[str, float]:
            return {
                cell.title: found.ratio("ours", rival)
                for cell, found in cells.items()
                if (far is None or cell.far == far)
                and (cell.latency >= least if only is None else cell.latency == only)
                and rival in found.series
            }

        return {
            "far": against("parallel", far=True),
            "near": {
                cell.title: found.excess("ours", "parallel") * 1000
                for cell, found in cells.items()
                if not cell.far and cell.latency >= 200
            },
            "sequential": against("sequential", least=50),
            "sequential 200": against("sequential", only=200),
            "sequential 1000": against("sequential", only=1000),
            "bound": against(BOUND, far=True, least=200),
        }

    def _other_figures(self) -> dict[str, dict[str, float]]:
        return {
            "git part": self._ratio("git part", "ours", "git clone"),
            "1 GiB": self._ratio("1 GiB", "ours", "curl"),
            "1 GiB memory": self._median("1 GiB", "peak MiB"),
            "1,000 documents": self._ratio("1,000 documents", "ours", "curl"),
            "warm": self._ratio("warm", "tip not moved", "fresh"),
            **self._fleet_figures(),
        }

    def _fleet_figures(self) -> dict[str, dict[str, float]]:
        outcome = self.fleets.get(("backlog", "ours"))
        if outcome is None:
            return {}
        where, fleet = "Retry-After from the backlog", Fleet()
        return {
            "fleet requests": {where: outcome.requests / fleet.needed},
            "fleet p99": {where: outcome.percentile(99) / ideal(fleet).percentile(99)},
        }

    def _start_figures(self) -> dict[str, dict[str, float]]:
        return {
            "start git": self._median("start-up", "git spawned", 1000),
            "start request": self._median("start-up", "first request", 1000),
            "start CPU": self._median("start-up", "own CPU"),
            "start memory": self._median("start-up", "peak MiB"),
        }

    def _ratio(self, measurement: str, name: str, other: str) -> dict[str, float]:
        found = self.measurements.get(measurement)
        return {} if found is None else {found.title: found.ratio(name, other)}

    def _median(self, measurement: str, name: str, factor: float = 1.0) -> dict[str, float]:
        found = self.measurements.get(measurement)
        return {} if found is None else {found.title: found.median(name) * factor}


def machine(place: str) -> dict[str, object]:
    """What it is measured on.

    Args:
        place: the kind of file system that the work directories are on.
    """
    return {
        "measured at": datetime.now(UTC).isoformat(timespec="seconds"),
        "kerutaprep": __version__,
        "python": platform.python_version(),
        "git": _first_word_after(("git", "--version"), "version"),
        "curl": _first_word_after(("curl", "--version"), "curl"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "files on": place,
    }


def _first_word_after(command: tuple[str, ...], word: str) -> str:
    words = subprocess.run(command, capture_output=True, check=True, text=True, timeout=TIMEOUT).stdout.split()
    return words[words.index(word) + 1]


def as_json(results: Results) -> dict[str, object]:
    """Every run's figures, the medians, and the verdicts."""
    return {
        "machine": results.machine,
        "quick": results.quick,
        "measurements": [_measurement_json(each) for each in results.measurements.values()],
        "faults": {name: vars(tally) for name, tally in results.faults.items()},
        "fleet": _fleets_json(results.fleets),
        "scales": results.scales,
        "goals": [_verdict_json(verdict) for verdict in results.verdicts()],
    }


def _measurement_json(found: Measurement) -> dict[str, object]:
    return {
        "name": found.name,
        "title": found.title,
        "runs": {name: [round(value, 4) for value in values] for name, values in found.series.items()},
        "medians": {name: round(found.median(name), 4) for name in found.series},
    }


def _fleets_json(fleets: Mapping[tuple[str, str], Outcome]) -> dict[str, object]:
    fleet = Fleet()
    queue = ideal(fleet)
    return {
        "requests per needed at least": floor(fleet),
        "ideal": {f"p{percent}": queue.percentile(percent) for percent in (50, 90, 99)},
        "policies": [
            {
                "retry_after": advice,
                "policy": policy,
                "requests per needed": outcome.requests / fleet.needed,
                "restarts": outcome.restarts,
                **{f"p{percent}": outcome.percentile(percent) for percent in (50, 90, 99)},
            }
            for (advice, policy), outcome in fleets.items()
        ],
    }


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    return {
        "goal": verdict.goal.title,
        "limit": verdict.limit,
        "fails above": verdict.fails_above,
        "found": dict(verdict.found),
        "worst": verdict.worst,
        "at": verdict.place,
        "verdict": verdict.word,
        "reason": verdict.known.reason if verdict.known else None,
    }
