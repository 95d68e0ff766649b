"""A run as a picture: a waterfall in SVG 1.1."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from kerutaprep.events import format_bytes
from kerutaprep.terminal.waterfall import columns, cut

if TYPE_CHECKING:
    from kerutaprep.report import Report, StepReport

_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COLOURS: dict[str, str] = {"succeeded": "#2f7d5b", "failed": "#b3362b", "cancelled": "#b07410", "skipped": "#7d8791"}
_INK, _PALE, _GRID = "#1c2733", "#66717d", "#e3e8ee"
_ROW, _BAR, _BARS, _RIGHT, _TOP, _GAP = 30, 20, 560, 150, 64, 6
_CHARACTER = 7.6
"""Pixels that a character takes at most on average, in whatever font the viewer has at 13 px."""
_LONGEST_NAME, _LONGEST_REASON, _MOST_LINES = 32, 100, 4


class _Bar(NamedTuple):
    x: float
    y: int
    length: float

    @property
    def end(self) -> float:
        return self.x + self.length


def draw_svg(report: Report, title: str = "") -> str:
    """Draw a run.

    Args:
        report: the run.
        title: in place of how it ended.
    """
    total = report["seconds"] or 1e-9
    names = max((columns(_short(step["name"], _LONGEST_NAME)) for step in report["steps"]), default=0)
    left = round(max(80, names * _CHARACTER + 28))
    axis = _TOP + _ROW * len(report["steps"])
    reasons = _reasons(report)
    width, height = left + _BARS + _RIGHT, axis + 34 + 18 * len(reasons)
    heading = _xml(title or f"{report['outcome']} in {report['seconds']:.2f} s")
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{heading}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(16, 28, heading, _INK, 'font-size="16"'),
    ]
    shapes += _axis(total, left, axis)
    for row, step in enumerate(report["steps"]):
        shapes += _row(step, total, left, _TOP + row * _ROW)
    shapes += [_text(16, axis + 44 + 18 * row, _xml(line), _COLOURS["failed"]) for row, line in enumerate(reasons)]
    return "\n".join([*shapes, "</svg>", ""])


def _axis(total: float, left: float, y: int) -> list[str]:
    shapes = []
    for seconds in _ticks(total):
        x = left + seconds / total * _BARS
        shapes.append(f'<line x1="{x:.1f}" y1="{_TOP - 10}" x2="{x:.1f}" y2="{y + 4}" stroke="{_GRID}"/>')
        shapes.append(_text(x, y + 20, f"{seconds:g} s", _PALE, 'text-anchor="middle"'))
    return shapes


def _row(step: StepReport, total: float, left: float, y: int) -> list[str]:
    name = _xml(_short(step["name"], _LONGEST_NAME))
    if columns(step["name"]) > _LONGEST_NAME:
        name += f"<title>{_xml(step['name'])}</title>"
    shapes = [_text(left - 10, y + 15, name, _INK, 'text-anchor="end"')]
    start, end = step["start"], step["end"]
    if start is None or end is None:
        return [*shapes, _text(left + 4, y + 15, "never started", _PALE)]
    x = left + min(start / total, 1) * _BARS
    bar = _Bar(x, y, max(2.0, min((end - start) / total * _BARS, left + _BARS - x)))
    shapes.append(
        f'<rect x="{bar.x:.1f}" y="{y}" width="{bar.length:.1f}" height="{_BAR}" rx="3" '
        f'fill="{_COLOURS[step["status"]]}"><title>{_xml(step["detail"] or step["status"])}</title></rect>'
    )
    return [*shapes, _label(_figures(step, end - start), bar, left)]


def _figures(step: StepReport, seconds: float) -> list[str]:
    figures = [f"{seconds:.2f} s", format_bytes(step["bytes"]) if step["bytes"] else ""]
    figures.append(f"{step['attempts']} attempts" if step["attempts"] > 1 else "")
    figures.append(step["status"] if step["status"] != "succeeded" else "")
    return list(filter(None, figures))


def _label(figures: list[str], bar: _Bar, left: float) -> str:
    """A bar's figures: after it, else inside of it, else before it; as many of them as one of these has room for."""
    text = " · ".join(figures)
    needed = columns(text) * _CHARACTER + 2 * _GAP
    if bar.end + needed <= left + _BARS + _RIGHT:
        return _text(bar.end + _GAP, bar.y + 15, text, _INK)
    if needed <= bar.length:
        return _text(bar.end - _GAP, bar.y + 15, text, "#ffffff", 'text-anchor="end"')
    if left + needed <= bar.x or len(figures) == 1:
        return _text(bar.x - _GAP, bar.y + 15, text, _INK, 'text-anchor="end"')
    return _label([figures[0], *figures[2:]], bar, left)


def _reasons(report: Report) -> list[str]:
    """Why steps failed, in lines that are no wider than the picture."""
    lines: list[str] = []
    for step in report["steps"]:
        if step["status"] == "failed" and step["detail"]:
            rest = f"{step['name']}: {step['detail']}"
            while rest and len(lines) < _MOST_LINES:
                line = cut(rest, _LONGEST_REASON)
                if line != rest and " " in line:
                    line = line[: line.rindex(" ")]
                lines.append(line)
                rest = rest[len(line) or 1 :].lstrip()
    return lines


def _short(text: str, longest: int) -> str:
    return text if columns(text) <= longest else f"{cut(text, longest - 1)}…"


def _text(x: float, y: float, content: str, fill: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}" fill="{fill}"{" " if attributes else ""}{attributes}>{content}</text>'


def _xml(text: str) -> str:
    return escape(_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def _ticks(total: float) -> list[float]:
    """Between four and ten round numbers of seconds from 0 to the end."""
    unit = 10.0**-3
    while total / unit > 10:
        unit *= 2.5 if f"{unit:e}".startswith("2") else 2
    return [round(number * unit, 6) for number in range(int(total / unit) + 1)]
