"""What a benchmark leaves: figures for programs (JSON) and a table for people (Markdown)."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.rivals import OURS, RIVALS
from benchmarks.scenarios import SLACK
from benchmarks.task import TIMEOUT
from kerutaprep import __version__

if TYPE_CHECKING:
    from benchmarks.measure import Measurement, Verdict


def machine() -> dict[str, object]:
    """What it was measured on."""
    git = subprocess.run(["git", "--version"], capture_output=True, check=True, text=True, timeout=TIMEOUT).stdout
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "kerutaprep": __version__,
        "python": platform.python_version(),
        "git": git.removeprefix("git version ").strip(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def as_json(measured: Measurement, overlap: float) -> dict[str, Any]:
    """A scenario's figures: seconds, and ratios of our seconds to a rival's in the same round.

    Args:
        measured: the runs.
        overlap: for how long clone, documents and script all ran in the run whose report is kept.
    """
    scenario = measured.scenario
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "api_delay": scenario.api_delay,
        "clone_delay": scenario.clone_delay,
        "install_seconds": scenario.install_seconds,
        "rounds": len(measured.runs[OURS.name]),
        "runs": {name: _rounded(runs) for name, runs in measured.runs.items()},
        "medians": {name: round(median(runs), 4) for name, runs in measured.runs.items()},
        "skipped": measured.skipped,
        "ratios": {
            f"{OURS.name}/{name}": {"median": round(median(ratios), 4), "rounds": _rounded(ratios)}
            for name in measured.runs
            if name != OURS.name
            for ratios in [measured.ratios(name)]
        },
        "goals": [_verdict_json(verdict) for verdict in measured.verdicts()],
        "overlap_seconds": round(overlap, 3),
    }


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    measured = verdict.measured
    return {
        "ratio": f"{OURS.name}/{verdict.goal.rival}",
        "at_most": verdict.goal.ratio,
        "fails_above": round(verdict.goal.ratio * SLACK, 4),
        "measured": None if measured is None else round(measured, 4),
        "met": None if measured is None else measured <= verdict.goal.ratio,
        "verdict": verdict.word,
    }


def as_markdown(measured: Measurement) -> str:
    """A scenario's table."""
    goals = {verdict.goal.rival: verdict for verdict in measured.verdicts()}
    lines = [
        f"### {measured.scenario.name}: {measured.scenario.title}",
        "",
        f"| {len(measured.runs[OURS.name])} rounds | median | fastest to slowest | ours / it | goal | |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for rival in RIVALS:
        goal = goals.get(rival.name)
        aim, word = (f"≤ {goal.goal.ratio:g}", goal.word) if goal else ("", "")
        if rival.name in measured.skipped:
            lines.append(f"| {rival.title} | skipped: {measured.skipped[rival.name]} | | | {aim} | {word} |")
            continue
        runs = measured.runs[rival.name]
        spread = f"{min(runs):.2f} to {max(runs):.2f} s"
        ratio = "" if rival is OURS else f"{median(measured.ratios(rival.name)):.2f}"
        lines.append(f"| {rival.title} | {median(runs):.2f} s | {spread} | {ratio} | {aim} | {word} |")
    return "\n".join(lines)
