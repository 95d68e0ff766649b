"""A run's report (``prep.json``): made, written by rename, and drawn as a waterfall."""

from __future__ import annotations

import json
import re
from html import escape
from typing import TYPE_CHECKING, Literal, TypedDict

from kerutaprep._version import __version__
from kerutaprep.errors import SettingsError
from kerutaprep.events import format_bytes
from kerutaprep.workspace import disk_errors

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.events import Recorder, StepRecord, StepStatus

Outcome = Literal["succeeded", "failed", "cancelled"]


class StepReport(TypedDict):
    """One step, as it is in ``prep.json``."""

    name: str
    status: StepStatus
    start: float | None
    """Seconds since the run's start, None where it never started."""
    end: float | None
    attempts: int
    bytes: int
    detail: str | None


class Report(TypedDict):
    """A run, as it is in ``prep.json``."""

    version: str
    outcome: Outcome
    exit_code: int
    started_at: str
    """RFC 3339."""
    seconds: float
    commit: str | None
    ref: str | None
    steps: list[StepReport]


def make_report(recorder: Recorder, outcome: Outcome, exit_code: int, *, commit: str | None, ref: str | None) -> Report:
    """Put together what a run's records say."""
    return Report(
        version=__version__,
        outcome=outcome,
        exit_code=exit_code,
        started_at=recorder.started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        seconds=round(recorder.now(), 3),
        commit=commit,
        ref=ref,
        steps=[step_report(step) for step in recorder.steps.values()],
    )


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON.

    Raises:
        WorkDirError: the disk refuses.
    """
    with disk_errors("writing", path):
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def step_report(step: StepRecord) -> StepReport:
    """One step's part of the report."""
    return StepReport(
        name=step.name,
        status=step.status,
        start=None if step.start is None else round(step.start, 3),
        end=None if step.end is None else round(step.end, 3),
        attempts=step.attempts,
        bytes=step.bytes,
        detail=step.detail,
    )


def read_report(path: Path) -> Report:
    """Read a ``prep.json``.

    Raises:
        SettingsError: there is none, or it is none.
    """
    try:
        report: Report = json.loads(path.read_text(encoding="utf-8"))
        draw_text(report, 80)
        draw_svg(report)
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise SettingsError(f"{path} is no report of kerutaprep") from error
    return report


_NARROWEST_BAR = 10
_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GLYPHS: dict[str, str] = {"succeeded": "█", "failed": "▓", "cancelled": "▒", "skipped": "░"}


def draw_text(report: Report, width: int) -> str:
    """Draw a run as a waterfall of text.

    Args:
        report: the run.
        width: columns; the bars use what the words leave.
    """
    total = report["seconds"] or 1e-9
    names = max((len(step["name"]) for step in report["steps"]), default=0)
    room = max(_NARROWEST_BAR, width - names - 32)
    lines = []
    for step in report["steps"]:
        start, end = step["start"], step["end"]
        bar, span = "", "never started"
        if start is not None and end is not None:
            before = min(round(start / total * room), room - 1)
            length = max(1, min(round((end - start) / total * room), room - before))
            bar = " " * before + _GLYPHS[step["status"]] * length
            span = f"{end - start:7.2f} s"
        size = format_bytes(step["bytes"]) if step["bytes"] else ""
        status = size if step["status"] == "succeeded" else step["status"]
        lines.append(f"{step['name']:<{names}} {bar:<{room}} {span} {status:>10}".rstrip()[:width])
    commit = f", commit {report['commit'][:12]} of {report['ref']}" if report["commit"] else ""
    lines.append(f"{report['outcome']} in {report['seconds']:.2f} s, exit code {report['exit_code']}{commit}"[:width])
    return "\n".join(lines)


_COLOURS: dict[str, str] = {"succeeded": "#2f7d5b", "failed": "#b3362b", "cancelled": "#c98a1b", "skipped": "#9aa3ad"}
_ROW, _LEFT, _BARS, _RIGHT, _TOP = 30, 110, 560, 190, 64


def draw_svg(report: Report, title: str = "") -> str:
    """Draw a run as a picture (SVG 1.1)."""
    total = report["seconds"] or 1e-9
    height = _TOP + _ROW * len(report["steps"]) + 34
    width = _LEFT + _BARS + _RIGHT
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="28" font-size="16" fill="#1c2733">{_xml(title or _headline(report))}</text>',
    ]
    for seconds in _ticks(total):
        x = _LEFT + seconds / total * _BARS
        bottom = height - 28
        shapes.append(f'<line x1="{x:.1f}" y1="{_TOP - 10}" x2="{x:.1f}" y2="{bottom}" stroke="#e3e8ee"/>')
        shapes.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#66717d">{seconds:g} s</text>')
    for row, step in enumerate(report["steps"]):
        shapes.extend(_svg_row(step, total, _TOP + row * _ROW))
    return "\n".join([*shapes, "</svg>", ""])


def _xml(text: str) -> str:
    return escape(_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def _headline(report: Report) -> str:
    return f"{report['outcome']} in {report['seconds']:.2f} s"


def _svg_row(step: StepReport, total: float, y: int) -> list[str]:
    shapes = [f'<text x="{_LEFT - 10}" y="{y + 15}" text-anchor="end" fill="#1c2733">{_xml(step["name"])}</text>']
    start, end = step["start"], step["end"]
    if start is None or end is None:
        return [*shapes, f'<text x="{_LEFT + 4}" y="{y + 15}" fill="#66717d">never started</text>']
    x = _LEFT + start / total * _BARS
    length = max(2.0, (end - start) / total * _BARS)
    words = [f"{end - start:.2f} s", format_bytes(step["bytes"]) if step["bytes"] else ""]
    words += [step["status"] if step["status"] != "succeeded" else ""]
    label = _xml(" · ".join(filter(None, words)))
    shapes.append(
        f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="20" rx="3" fill="{_COLOURS[step["status"]]}">'
        f"<title>{_xml(step['detail'] or step['status'])}</title></rect>"
    )
    shapes.append(f'<text x="{x + length + 6:.1f}" y="{y + 15}" fill="#3d4852">{label}</text>')
    return shapes


def _ticks(total: float) -> list[float]:
    """Between four and ten round numbers of seconds from 0 to the end."""
    unit = 10.0**-3
    while total / unit > 10:
        unit *= 2.5 if f"{unit:e}".startswith("2") else 2
    return [round(number * unit, 6) for number in range(int(total / unit) + 1)]
