"""A run as a waterfall of text: one bar for each step, where its time was."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from kerutaprep.events import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kerutaprep.report import Report, StepReport
    from kerutaprep.terminal.style import Style

_NARROWEST_BAR = 8
_SHORTEST_NAME, _LONGEST_NAME = 9, 24
"""Columns to which a long name is cut, in a narrow terminal and in a wide one."""
_ROOMY = 72
_SPAN, _STATUS, _ATTEMPTS = 10, 11, 12
"""Columns, the space before them counted."""
_BLOCKS: dict[str, str] = {"succeeded": "█", "failed": "▓", "cancelled": "▒", "skipped": "░"}
_ASCII: dict[str, str] = {"succeeded": "#", "failed": "!", "cancelled": "-", "skipped": "."}
_COLOURS: dict[str, int] = {"succeeded": 32, "failed": 31, "cancelled": 33, "skipped": 90}
"""Of the terminal's own palette (ECMA-48, SGR), which its user has made legible."""


def draw_text(report: Report, style: Style) -> str:
    """Draw a run: its bars, what failed and why, and how it ended.

    Args:
        report: the run.
        style: what can be shown; no line is wider.
    """
    lines = draw_bars(report["steps"], report["seconds"], style)
    for step in report["steps"]:
        if step["status"] == "failed" and step["detail"]:
            reason = _fold(f"{step['name']} failed: {step['detail']}", style)
            lines += [_paint(line, "failed", style) for line in reason]
    commit = f", commit {report['commit'][:12]} of {report['ref']}" if report["commit"] else ""
    last = f"{report['outcome']} in {report['seconds']:.2f} s, exit code {report['exit_code']}{commit}"
    return "\n".join([*lines, *(_paint(line, report["outcome"], style) for line in _fold(last, style))])


class _Chart(NamedTuple):
    """What is the same for every line."""

    style: Style
    seconds: float
    names: int
    """Columns of the longest name."""
    room: int
    """Columns of the bars."""
    attempts: bool
    """Whether they have a column: only where a step made more than one, and there is room."""


def draw_bars(steps: Sequence[StepReport], seconds: float, style: Style) -> list[str]:
    """Draw a line for each step of a run that took so many seconds."""
    longest = max(_SHORTEST_NAME, min(_LONGEST_NAME, style.width - 1 - _NARROWEST_BAR - _SPAN - _STATUS))
    names = min(max((columns(printable(step["name"], blocks=style.blocks)) for step in steps), default=0), longest)
    attempts = any(step["attempts"] > 1 for step in steps) and style.width >= _ROOMY
    room = style.width - names - 1 - _SPAN - _STATUS - (_ATTEMPTS if attempts else 0)
    chart = _Chart(style, seconds or 1e-9, names, max(_NARROWEST_BAR, room), attempts)
    return [_line(step, chart) for step in steps]


def _line(step: StepReport, chart: _Chart) -> str:
    style, status = chart.style, step["status"]
    name = pad(printable(step["name"], blocks=style.blocks), chart.names)
    start, end = step["start"], step["end"]
    if start is None or end is None:
        text = f"{name} {'':<{chart.room}}{'never started':>{_SPAN + _STATUS}}"
        return _paint(cut(text, style.width), "skipped", style)
    before = min(round(start / chart.seconds * chart.room), chart.room - 1)
    length = max(1, min(round((end - start) / chart.seconds * chart.room), chart.room - before))
    head = cut(f"{name} {' ' * before}", style.width)
    bar = cut((_BLOCKS if style.blocks else _ASCII)[status] * length, style.width - columns(head))
    tail = " " * (chart.room - before - length) + _facts(step, end - start, chart)
    tail = cut(tail, style.width - columns(head) - len(bar)).rstrip()
    return head + _paint(bar, status, style) + (tail if status == "succeeded" else _paint(tail, status, style))


def _facts(step: StepReport, seconds: float, chart: _Chart) -> str:
    size = format_bytes(step["bytes"]) if step["bytes"] else ""
    outcome = size if step["status"] == "succeeded" else step["status"]
    attempts = f"{step['attempts']} attempts" if chart.attempts and step["attempts"] > 1 else ""
    return f"{f'{seconds:.2f} s':>{_SPAN}}{outcome:>{_STATUS}}{attempts:>{_ATTEMPTS}}".rstrip()


def _paint(text: str, status: str, style: Style) -> str:
    return f"\x1b[{_COLOURS[status]}m{text}\x1b[0m" if style.colour and text else text


def printable(text: str, *, blocks: bool = True) -> str:
    """A text as a terminal may get it: nothing that moves its cursor, and ASCII alone where that is all it shows."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if blocks else shown.encode("ascii", "backslashreplace").decode()


def columns(text: str) -> int:
    """How wide a terminal shows a text: East Asian wide characters take two columns, combining ones none (UAX 11)."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def cut(text: str, width: int) -> str:
    """As much of a text's beginning as fits."""
    while columns(text) > width and text:
        text = text[: max(0, min(len(text) - 1, width))]
    return text


def pad(text: str, width: int) -> str:
    """A text made exactly so wide."""
    text = cut(text, width)
    return text + " " * (width - columns(text))


def _fold(text: str, style: Style) -> Iterator[str]:
    """Break a text into lines, at spaces where there are some."""
    line = ""
    for word in printable(text, blocks=style.blocks).split():
        joined = f"{line} {word}" if line else word
        if columns(joined) <= style.width:
            line = joined
            continue
        if line:
            yield cut(line, style.width)
        line = word
        while columns(line) > style.width and (piece := cut(line, style.width)):
            yield piece
            line = line[len(piece) :]
    yield cut(line, style.width)
