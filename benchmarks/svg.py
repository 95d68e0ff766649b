"""The little of SVG 1.1 that the pictures are made of."""

from __future__ import annotations

from html import escape

INK, FAINT, GRID = "#1c2733", "#5a6672", "#e3e8ee"
COLOURS = {"ours": "#2f6fb0", "parallel": "#2f7d5b", "sequential": "#b06a12", "naive": "#a33a5a", "bound": "#7b8794"}


def text(  # noqa: PLR0913 - an element's attributes
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    fill: str = INK,
    size: int = 13,
    weight: str = "normal",
    backdrop: bool = False,
) -> str:
    """A text; with a backdrop, lines behind it keep off its letters."""
    start = f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    body = f"{escape(words)}</text>"
    halo = f'{start} stroke="#ffffff" stroke-width="5" stroke-linejoin="round" fill="#ffffff">{body}\n'
    return f'{halo if backdrop else ""}{start} fill="{fill}">{body}'


def line(  # noqa: PLR0913 - an element's attributes
    x1: float, y1: float, x2: float, y2: float, *, stroke: str = GRID, dashes: str = ""
) -> str:
    """A straight line."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"{dashed}/>'


def curve(points: list[tuple[float, float]], *, stroke: str, dashes: str = "") -> str:
    """A line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2.2"{dashed}/>'


def ticks(longest: float) -> list[float]:
    """Between three and eight round numbers from 0 to the end."""
    unit = 0.01
    while longest / unit > 7:
        unit *= 2.5 if f"{unit:e}".startswith("2") else 2
    return [round(number * unit, 6) for number in range(int(longest / unit) + 1)]


def picture(width: float, height: float, title: str, subtitle: str, shapes: list[str]) -> str:
    """A whole picture."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="system-ui, \'DejaVu Sans\', sans-serif" '
            'font-size="13">',
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            text(16, 30, title, size=18, weight="bold"),
            text(16, 52, subtitle, fill=FAINT),
            *shapes,
            "</svg>",
            "",
        ]
    )
