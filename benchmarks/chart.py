"""Pictures of lines: wall time over the API's latency, and how a fleet gets ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.fleet import Fleet, ideal
from benchmarks.rivals import BOUND
from benchmarks.scenarios import GRID, LATENCIES, repository
from benchmarks.svg import COLOURS, FAINT, curve, line, picture, text, ticks

if TYPE_CHECKING:
    from benchmarks.results import Results

_WIDTH, _HEIGHT = 380, 230
_LEFT, _TOP, _ACROSS, _DOWN = 60, 120, 470, 310
_RIVALS = ("ours", "parallel", "sequential", "naive", BOUND)
_TITLES = {"ours": "keruta-agent init", "parallel": "parallel.sh", "sequential": "sequential.sh", "naive": "naive.py"}


class _Panel(NamedTuple):
    """A place for lines: its corner, and what its axes end with."""

    x: float
    y: float
    width: float
    height: float
    longest: float
    """The most on the axis that goes up."""

    def height_of(self, value: float) -> float:
        return self.y + self.height - value / self.longest * self.height


def _grid_lines(panel: _Panel, unit: str) -> list[str]:
    shapes = []
    for value in ticks(panel.longest):
        y = panel.height_of(value)
        shapes.append(line(panel.x, y, panel.x + panel.width, y))
        shapes.append(text(panel.x - 8, y + 4, f"{value:g}{unit}", anchor="end", fill=FAINT))
    return shapes


def _legend(y: float, names: list[tuple[str, str, str]]) -> list[str]:
    shapes, x = [], 16.0
    for words, colour, dashes in names:
        shapes.append(curve([(x, y - 4), (x + 26, y - 4)], stroke=colour, dashes=dashes))
        shapes.append(text(x + 32, y, words))
        x += 50 + 8.2 * len(words)
    return shapes


def draw_latency(results: Results) -> str:
    """Wall time over the API's latency, a panel for each kind of git server and repository."""
    names = [(_TITLES.get(name, "bound"), COLOURS[name], "5 4" if name == BOUND else "") for name in _RIVALS]
    shapes = _legend(80, names)
    for number, (far, kind) in enumerate((far, kind) for far in (True, False) for kind in ("small", "midsize")):
        row, column = divmod(number, 2)
        shapes += _latency_panel(results, far, kind, _LEFT + column * _ACROSS, _TOP + row * _DOWN)
    subtitle = "medians, lower is better; the API's latency at the bottom, not to scale"
    return picture(_LEFT + 2 * _ACROSS - 50, _TOP + 2 * _DOWN - 20, "Seconds until ready", subtitle, shapes)


def _latency_panel(results: Results, far: bool, kind: str, x: float, y: float) -> list[str]:
    cells = {cell.latency: results.cells.get(cell) for cell in GRID if cell.far == far and cell.repository == kind}
    shown = {latency: found for latency, found in cells.items() if found is not None}
    longest = max(
        (found.median(name) for found in shown.values() for name in _RIVALS if name in found.series), default=1
    )
    panel = _Panel(x, y, _WIDTH, _HEIGHT, longest * 1.05)
    places = {latency: x + 20 + number * (_WIDTH - 40) / 3 for number, latency in enumerate(LATENCIES)}
    shapes = [text(x, y - 10, f"git {'far' if far else 'near'}, {repository(kind).title}", weight="bold")]
    shapes += _grid_lines(panel, " s")
    shapes += [text(at, y + _HEIGHT + 20, f"{ms} ms", anchor="middle", fill=FAINT) for ms, at in places.items()]
    for name in reversed(_RIVALS):
        points = [
            (places[latency], panel.height_of(found.median(name)))
            for latency, found in shown.items()
            if name in found.series
        ]
        dashes = "5 4" if name == BOUND else ""
        shapes.append(curve(points, stroke=COLOURS[name], dashes=dashes))
        shapes += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.2" fill="{COLOURS[name]}"/>' for px, py in points]
    return shapes


def draw_fleet(results: Results, longest: float = 400.0) -> str:
    """The share of a fleet's pods that are ready, over the seconds since each pod's start."""
    curves = {
        "ours, Retry-After from the backlog": (results.fleets.get(("backlog", "ours")), COLOURS["ours"], ""),
        "ours, no Retry-After": (results.fleets.get(("none", "ours")), COLOURS["ours"], "5 4"),
        "no jitter, Retry-After from the backlog": (results.fleets.get(("backlog", "no jitter")), COLOURS["naive"], ""),
        "fixed 1 s": (results.fleets.get(("none", "fixed 1 s")), COLOURS["sequential"], ""),
        "the ideal queue": (ideal(Fleet()), COLOURS["bound"], ""),
    }
    panel = _Panel(_LEFT, 150, 800, 300, 100)
    shapes = _legend(82, [(words, colour, dashes) for words, (_, colour, dashes) in list(curves.items())[:3]])
    shapes += _legend(106, [(words, colour, dashes) for words, (_, colour, dashes) in list(curves.items())[3:]])
    shapes += _grid_lines(panel, " %")
    for seconds in ticks(longest):
        at = panel.x + seconds / longest * panel.width
        shapes.append(text(at, panel.y + panel.height + 20, f"{seconds:g} s", anchor="middle", fill=FAINT))
    for outcome, colour, dashes in curves.values():
        if outcome is not None:
            steps = [(outcome.percentile(percent), percent) for percent in range(1, 100)]
            points = [
                (panel.x + seconds / longest * panel.width, panel.height_of(percent))
                for seconds, percent in steps
                if seconds <= longest
            ]
            if len(points) < len(steps):  # the others are ready later than the axis ends
                points.append((panel.x + panel.width, points[-1][1]))
            shapes.append(curve(points, stroke=colour, dashes=dashes))
    subtitle = "10,000 pods start within 10 s; the API serves 200 requests a second; simulated with the real policy"
    return picture(panel.x + panel.width + 40, panel.y + panel.height + 40, "Share of the pods ready", subtitle, shapes)
