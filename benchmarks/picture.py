"""The picture of a scenario: the phases of runs, one run below the other, on one axis of seconds (SVG 1.1)."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.measure import Traced
    from benchmarks.phases import Phase

_COLOURS = {
    "start-up": "#7b8794",
    "clone": "#2f6fb0",
    "documents": "#2f7d5b",
    "script": "#b06a12",
    "install": "#7a4fa3",
}
_OTHER = "#4a5561"
_INK, _FAINT, _GRID = "#1c2733", "#5a6672", "#e3e8ee"
_LEFT, _BARS, _RIGHT = 110, 680, 70
_TOP, _HEADING, _ROW, _BAR, _GAP, _FOOT = 92, 30, 28, 20, 20, 44
_LEAST = 0.01
"""Phases shorter than this part of the axis are left out: they would be hairlines."""
_WIDE = 50
"""The width from which a bar has its label inside."""


def draw(title: str, subtitle: str, runs: list[Traced], bound: float) -> str:
    """Draw runs.

    Args:
        title: the picture's.
        subtitle: below it.
        runs: from top to bottom.
        bound: the seconds that nothing can be faster than, a dashed line.
    """
    longest = max(run.seconds for run in runs)
    lanes = [[phase for phase in run.phases if phase.end - phase.start >= _LEAST * longest] for run in runs]
    bottom = _TOP + sum(_HEADING + _ROW * len(lane) for lane in lanes) + _GAP * (len(lanes) - 1)
    width, height = _LEFT + _BARS + _RIGHT, bottom + _FOOT
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, \'DejaVu Sans\', sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(16, 30, title, size=18, weight="bold"),
        _text(16, 52, subtitle, fill=_FAINT),
        *_axis(longest, bottom),
        *_bound_line(_x(bound, longest), bound, bottom),
    ]
    y = _TOP
    for run, lane in zip(runs, lanes, strict=True):
        shapes += _run(run, lane, longest, y)
        y += _HEADING + _ROW * len(lane) + _GAP
    return "\n".join([*shapes, "</svg>", ""])


def _x(seconds: float, longest: float) -> float:
    return _LEFT + seconds / longest * _BARS


def _axis(longest: float, bottom: int) -> list[str]:
    shapes = []
    step = next(step for step in (0.1, 0.25, 0.5, 1, 2, 5, 10, 60) if longest / step <= 8 or step == 60)
    for number in range(int(longest / step) + 1):
        x = _x(number * step, longest)
        shapes.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{_GRID}"/>')
        shapes.append(_text(x, bottom + 20, f"{number * step:g} s", anchor="middle", fill=_FAINT))
    return shapes


def _bound_line(x: float, bound: float, bottom: int) -> list[str]:
    return [
        f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{_FAINT}" stroke-dasharray="4 4"/>',
        _text(x, _TOP - 14, f"bound {bound:.2f} s", anchor="middle", fill=_FAINT),
    ]


def _run(run: Traced, lane: list[Phase], longest: float, y: int) -> list[str]:
    heading = f"{run.rival.title}, one run: {run.seconds:.2f} s"
    shapes = [_text(16, y + 18, heading, weight="bold", backdrop=True)]
    for row, phase in enumerate(lane):
        shapes += _bar(phase, longest, y + _HEADING + row * _ROW)
    return shapes


def _bar(phase: Phase, longest: float, y: int) -> list[str]:
    begin, end = _x(phase.start, longest), _x(phase.end, longest)
    label = f"{phase.end - phase.start:.2f} s"
    shapes = [
        _text(_LEFT - 10, y + 15, phase.name, anchor="end"),
        f'<rect x="{begin:.1f}" y="{y}" width="{end - begin:.1f}" height="{_BAR}" rx="3" '
        f'fill="{_COLOURS.get(phase.name, _OTHER)}"/>',
    ]
    if end - begin >= _WIDE:
        shapes.append(_text((begin + end) / 2, y + 15, label, anchor="middle", fill="#ffffff"))
    else:
        shapes.append(_text(end + 6, y + 15, label, backdrop=True))
    return shapes


def _text(  # noqa: PLR0913 - an element's attributes
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    fill: str = _INK,
    size: int = 13,
    weight: str = "normal",
    backdrop: bool = False,
) -> str:
    """A text; with a backdrop, lines behind it keep off its letters."""
    start = f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    body = f"{escape(words)}</text>"
    halo = f'{start} stroke="#ffffff" stroke-width="5" stroke-linejoin="round" fill="#ffffff">{body}\n'
    return f'{halo if backdrop else ""}{start} fill="{fill}">{body}'
