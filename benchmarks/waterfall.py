"""A picture of runs' phases, one run below the other, on one axis of seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.svg import FAINT, line, picture, text, ticks

if TYPE_CHECKING:
    from benchmarks.phases import Phase, Traced

_COLOURS = {
    "start-up": "#7b8794",
    "clone": "#2f6fb0",
    "documents": "#2f7d5b",
    "script": "#b06a12",
    "install": "#7a4fa3",
}
_OTHER = "#4a5561"
_LEFT, _BARS, _RIGHT = 110, 680, 70
_TOP, _HEADING, _ROW, _BAR, _GAP, _FOOT = 92, 30, 28, 20, 20, 44
_LEAST = 0.01
"""Phases shorter than this part of the axis are left out: they would be hairlines."""
_WIDE = 50
"""The width from which a bar has its label inside."""


def draw_waterfall(title: str, subtitle: str, runs: list[Traced], bound: float | None) -> str:
    """Draw runs.

    Args:
        title: the picture's.
        subtitle: below it.
        runs: from top to bottom.
        bound: the seconds that nothing can be faster than, a dashed line; None where it was not measured.
    """
    longest = max(run.seconds for run in runs)
    lanes = [[phase for phase in run.phases if phase.end - phase.start >= _LEAST * longest] for run in runs]
    bottom = _TOP + sum(_HEADING + _ROW * len(lane) for lane in lanes) + _GAP * (len(lanes) - 1)
    shapes = _axis(longest, bottom)
    if bound is not None:
        shapes += _bound_line(_x(bound, longest), bound, bottom)
    y = _TOP
    for run, lane in zip(runs, lanes, strict=True):
        shapes.append(text(16, y + 18, f"{run.title}, one run: {run.seconds:.2f} s", weight="bold", backdrop=True))
        for row, phase in enumerate(lane):
            shapes += _bar(phase, longest, y + _HEADING + row * _ROW)
        y += _HEADING + _ROW * len(lane) + _GAP
    return picture(_LEFT + _BARS + _RIGHT, bottom + _FOOT, title, subtitle, shapes)


def _x(seconds: float, longest: float) -> float:
    return _LEFT + seconds / longest * _BARS


def _axis(longest: float, bottom: int) -> list[str]:
    shapes = []
    for seconds in ticks(longest):
        x = _x(seconds, longest)
        shapes.append(line(x, _TOP, x, bottom))
        shapes.append(text(x, bottom + 20, f"{seconds:g} s", anchor="middle", fill=FAINT))
    return shapes


def _bound_line(x: float, bound: float, bottom: int) -> list[str]:
    return [
        line(x, _TOP - 8, x, bottom, stroke=FAINT, dashes="4 4"),
        text(x, _TOP - 14, f"bound {bound:.2f} s", anchor="middle", fill=FAINT),
    ]


def _bar(phase: Phase, longest: float, y: int) -> list[str]:
    begin, end = _x(phase.start, longest), _x(phase.end, longest)
    label = f"{phase.end - phase.start:.2f} s"
    shapes = [
        text(_LEFT - 10, y + 15, phase.name, anchor="end"),
        f'<rect x="{begin:.1f}" y="{y}" width="{end - begin:.1f}" height="{_BAR}" rx="3" '
        f'fill="{_COLOURS.get(phase.name, _OTHER)}"/>',
    ]
    if end - begin >= _WIDE:
        shapes.append(text((begin + end) / 2, y + 15, label, anchor="middle", fill="#ffffff"))
    else:
        shapes.append(text(end + 6, y + 15, label, backdrop=True))
    return shapes
