"""The results as Markdown: each function gives one table or list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.fleet import Fleet, floor, ideal
from benchmarks.rivals import BOUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.goals import Verdict
    from benchmarks.measure import Measurement
    from benchmarks.results import Results

_FACTS = {"own CPU", "peak MiB", "clone step", "whole run"}
"""Series that say more about a run of ours, and are nobody's time."""
_NOISE = 1.02
_MARKS = {"met": "met", "missed": "missed, within the slack", "known": "out of reach", "broken": "**broken**"}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table whose first ``words`` columns are words, and the others figures."""
    rule = ["---" if number < words else "--:" for number in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def goals_table(verdicts: Sequence[Verdict]) -> str:
    """Each goal with what was measured beside it, and the notes of those that are out of reach."""
    rows = [_goal_row(verdict) for verdict in verdicts]
    notes = [
        f"- **{goal.title}**: {known.reason} It fails above {known.limit:g}{goal.unit}."
        for goal, known in ((verdict.goal, verdict.known) for verdict in verdicts if verdict.word == "known")
        if known
    ]
    table = _table(("goal", "at most", "measured, worst", "", "cells that meet it", "the worst is"), rows, 1)
    return "\n".join([table, *(["", "Out of reach:", "", *notes] if notes else [])])


def _goal_row(verdict: Verdict) -> tuple[str, ...]:
    goal, several = verdict.goal, len(verdict.found) > 1
    aim = goal.shown(goal.limit)
    if abs(verdict.limit - goal.limit) > 0.005 * goal.limit:
        aim += f", here {verdict.limit:.3g}{goal.unit}"
    measured = "" if verdict.worst is None else f"{verdict.worst:.3g}{goal.unit}"
    met = f"{verdict.met} of {len(verdict.found)}" if several else ""
    word = _MARKS.get(verdict.word, verdict.word)
    return goal.title, aim, measured, word, met, verdict.place if several else ""


def grid_table(results: Results) -> str:
    """Each cell's medians, and our ratio to the others."""
    names = ("ours", "parallel", "sequential", "naive", BOUND)
    rows = []
    for cell, found in results.cells.items():
        seconds = [f"{found.median(name):.2f}" if name in found.series else "" for name in names]
        ratios = [f"{found.ratio('ours', name):.2f}" if name in found.series else "" for name in names[1:]]
        rows.append((cell.title, *seconds, *ratios))
    return _table(("seconds, medians", *names, *(f"/ {name}" for name in names[1:])), rows)


def others_table(results: Results) -> str:
    """The other situations: medians, and ours by each."""
    rows = []
    for found in results.measurements.values():
        if found.name.startswith("grid/") or found.name == "start-up":
            continue
        one, others = _compared(found)
        figures = ", ".join(f"{name} {found.median(name):.3g}" for name in found.series)
        ratios = ", ".join(f"{mine} / {other} {found.ratio(mine, other):.2f}" for mine in one for other in others)
        rows.append((found.title, figures, ratios))
    return _table(("situation", "medians, in seconds or as named", "ratios"), rows, 3)


def _compared(found: Measurement) -> tuple[list[str], list[str]]:
    """Of which series in a measurement ratios are shown, and to which."""
    if "fresh" in found.series:
        return [name for name in found.series if name != "fresh"], ["fresh"]
    return ["ours"], [name for name in found.series if name != "ours" and name not in _FACTS]


def startup_table(results: Results) -> str:
    """The start of a plain run."""
    found = results.measurements.get("start-up")
    if found is None:
        return "Not measured."
    rows = []
    for name in found.series:
        value, unit = found.median(name), "ms"
        if name == "peak MiB":
            unit = "MiB"
        else:
            value *= 1000
        rows.append((name.removesuffix(" MiB"), f"{value:.0f} {unit}"))
    return _table(("start of a plain run", "median"), rows)


def faults_table(results: Results) -> str:
    """Who was ready in spite of faults."""
    rows = []
    for name, tally in results.faults.items():
        total = len(tally.ready) + tally.failed + tally.wrong
        seconds = "" if tally.median is None else f"{tally.median:.2f} s"
        rows.append((name, f"{len(tally.ready)} of {total}", str(tally.failed), str(tally.wrong), seconds))
    head = ("", "ready", "failed", "ended with 0, not ready", "median of those ready")
    return _table(head, rows)


def fleet_table(results: Results) -> str:
    """How long a fleet takes, and how often it asks."""
    fleet = Fleet()
    queue = ideal(fleet)
    words = {"none": "none", "backlog": "from the backlog"}
    rows = [
        (
            words.get(advice, f"{advice} s"),
            policy,
            f"{outcome.requests / fleet.needed:.2f}",
            *(f"{outcome.percentile(percent):.0f}" for percent in (50, 90, 99)),
            f"{outcome.percentile(99) / queue.percentile(99):.2f}",
            str(outcome.restarts),
        )
        for (advice, policy), outcome in results.fleets.items()
    ]
    percentiles = [f"{queue.percentile(percent):.0f}" for percent in (50, 90, 99)]
    rows.append(("", "the ideal queue", "1.00", *percentiles, "1.00", "0"))
    rows.append(("", "the first tries alone", f"{floor(fleet):.2f}", "", "", "", "", ""))
    head = ("Retry-After", "policy", "requests per needed", "p50 s", "p90 s", "p99 s", "p99 by ideal", "pods restarted")
    return _table(head, rows, 2)


def shell_wins(results: Results) -> str:
    """Where each of the shells is faster, and by how much."""
    return "\n\n".join(_wins(results, rival) for rival in ("parallel", "sequential"))


def _wins(results: Results, rival: str) -> str:
    cells = [found for found in results.cells.values() if rival in found.series]
    won = [found for found in cells if found.ratio("ours", rival) > _NOISE]
    if not won:
        return f"`{rival}.sh` is faster by more than 2 % in none of {len(cells)} cells."
    lines = [
        f"- {found.title}: by {found.excess('ours', rival) * 1000:.0f} ms "
        f"({found.median(rival):.2f} s, ours {found.median('ours'):.2f} s)"
        for found in won
    ]
    return "\n".join([f"`{rival}.sh` is faster by more than 2 % in {len(won)} of {len(cells)} cells:", "", *lines])


def machine_line(results: Results) -> str:
    """On what it was measured."""
    return ", ".join(f"{name} {value}" for name, value in results.machine.items())


def whole(results: Results) -> str:
    """Every table below its heading."""
    parts = {
        "Goals": goals_table(results.verdicts()),
        "Grid": grid_table(results),
        "Where the shell wins": shell_wins(results),
        "Others": others_table(results),
        "Start": startup_table(results),
        "Faults": faults_table(results),
        "Fleet": fleet_table(results),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts.items())
    return f"# Benchmarks{' (quick)' if results.quick else ''}\n\n{machine_line(results)}\n\n{body}\n"
