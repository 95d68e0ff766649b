"""Puts the results of a full run into ``docs/performance.md``: its figures between markers, its pictures beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.results import Results

_DOCS = Path(__file__).parent.parent / "docs"
_PAGE = _DOCS / "performance.md"


def publish(results: Results, pictures: Mapping[str, str]) -> None:
    """Write the page's figures anew, and the pictures.

    Args:
        results: of a full run.
        pictures: SVG by file name.
    """
    blocks = {
        "machine": f"{tables.machine_line(results)}.",
        "goals": tables.goals_table(results.verdicts()),
        "grid": tables.grid_table(results),
        "shell": tables.shell_wins(results),
        "others": tables.others_table(results),
        "start": tables.startup_table(results),
        "faults": tables.faults_table(results),
        "fleet": tables.fleet_table(results),
    }
    page = _PAGE.read_text(encoding="utf-8")
    for name, text in blocks.items():
        page = fill(page, name, text)
    _PAGE.write_text(page, encoding="utf-8")
    for name, picture in pictures.items():
        path = _DOCS / "pictures" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(picture, encoding="utf-8")


def fill(page: str, name: str, text: str) -> str:
    """Put a text between the markers ``<!-- NAME -->`` and ``<!-- end of NAME -->``.

    Raises:
        ValueError: the page does not have them, once and in this order.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    filled, times = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL
    )
    if times != 1:
        raise ValueError(f"the page has {times} places for {name}, not one")
    return filled
