"""One step as a line of the live display: its bar, how much, how fast, which attempt, how long."""

from __future__ import annotations

import re
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from kerutaprep.events import format_bytes
from kerutaprep.terminal.waterfall import columns, cut, pad, printable

if TYPE_CHECKING:
    from kerutaprep.events import StepRecord

_SECONDS = 9
_FACTS = (6, 11, 13)
"""Columns of percentage, bytes and rate, the space before them counted."""
_NARROWEST, _WIDEST_BAR, _LEAST_NOTE = 8, 40, 11
_RATE_WINDOW = 3.0
"""Seconds over which a rate is taken."""
_GITS_FIGURES = re.compile(r" [0-9]{1,3} %(?:, (?P<size>[0-9.]+ [A-Za-z]+) \| (?P<rate>[0-9.]+ [A-Za-z]+/s))?")
"""What ends the state of a step whose git says how far it is."""


class Layout(NamedTuple):
    """The columns of a line; what a terminal has no room for has none."""

    width: int
    names: int
    bar: int
    facts: int
    """How many of percentage, bytes and rate are shown."""
    note: int


def layout_for(width: int, names: list[str]) -> Layout:
    """Share a terminal's columns out: name, bar and seconds always; then percentage, bytes, rate; then what it does."""
    longest = min(max(map(columns, names), default=0), max(8, width // 4))
    left = width - 1 - longest - 1 - _SECONDS
    facts = next((count for count in (3, 2, 1) if sum(_FACTS[:count]) + _NARROWEST <= left), 0)
    left -= sum(_FACTS[:facts])
    note = max(0, left - max(_NARROWEST, min(_WIDEST_BAR, left // 2)))
    note = note if note >= _LEAST_NOTE else 0
    return Layout(width, longest, max(1, min(_WIDEST_BAR, left - note)), facts, note)


def draw_line(record: StepRecord, layout: Layout, rate: float | None, *, blocks: bool) -> Text:
    """One step's line as it stands now."""
    colour = _colour(record)
    fraction = _fraction(record)
    line = Text(no_wrap=True, overflow="crop", end="")
    line.append(
        pad(printable(record.name, blocks=blocks), layout.names), "" if record.start is not None else "bright_black"
    )
    line.append(" ")
    line.append_text(_bar(record, layout.bar, fraction, blocks=blocks))
    facts = _facts(record, fraction, rate)[: layout.facts]
    for fact, width in zip(facts, _FACTS, strict=False):
        line.append(f"{fact:>{width}}")
    line.append(f"{f'{_seconds(record):.1f} s' if record.start is not None else '':>{_SECONDS}}")
    if layout.note:
        line.append(cut(f"  {printable(_note(record), blocks=blocks)}", layout.note), colour)
    line.truncate(layout.width)
    return line


def _facts(record: StepRecord, fraction: float | None, rate: float | None) -> tuple[str, str, str]:
    """Percentage, bytes and rate; of a clone under way git's own figures."""
    percentage = f"{fraction:.0%}" if fraction is not None else ""
    found = _GITS_FIGURES.search(record.state) if record.running else None
    if found and found["size"]:
        return percentage, found["size"], found["rate"]
    return percentage, format_bytes(record.bytes) if record.bytes else "", f"{format_bytes(rate)}/s" if rate else ""


def _bar(record: StepRecord, room: int, fraction: float | None, *, blocks: bool) -> Text:
    colour = _colour(record)
    full, rest = ("━", "─") if blocks else ("=", "-")
    if record.start is None:
        return Text(rest * room, "bright_black")
    if not record.running:
        return Text(full * room, colour)
    if fraction is not None:
        done = round(min(1.0, max(0.0, fraction)) * room)
        return Text.assemble((full * done, colour), (rest * (room - done), "bright_black"))
    piece = max(1, room // 4)
    at = int(_seconds(record) * 12) % (2 * (room - piece) or 1)
    before = min(at, 2 * (room - piece) - at)
    pieces = (rest * before, "bright_black"), (full * piece, colour), (rest * (room - piece - before), "bright_black")
    return Text.assemble(*pieces)


def _colour(record: StepRecord) -> str:
    if record.start is None:
        return "bright_black"
    if record.running:
        return "cyan"
    return {"succeeded": "green", "failed": "red", "cancelled": "yellow", "skipped": "bright_black"}[record.status]


def _fraction(record: StepRecord) -> float | None:
    return record.measure() if record.running else None


def _seconds(record: StepRecord) -> float:
    if record.start is None or record.end is None:
        return record.seconds or 0.0
    return record.end - record.start


def _note(record: StepRecord) -> str:
    if record.start is None:
        return "waiting"
    if not record.running:
        return record.status
    state = _GITS_FIGURES.sub("", record.state)
    return ", ".join([f"attempt {record.attempts}"] * (record.attempts > 1) + [state] * (state != "running"))


class Rates:
    """How many bytes a second each step receives, from what is seen whenever it is asked."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = defaultdict(deque)

    def of(self, record: StepRecord) -> float | None:
        """Over the last seconds while a step runs, over all of its time afterwards; None where it receives nothing."""
        if not record.bytes:
            return None
        if not record.running:
            return record.bytes / max(_seconds(record), 1e-3)
        now, seen = time.monotonic(), self._seen[record.name]
        seen.append((now, record.bytes))
        while now - seen[0][0] > _RATE_WINDOW:
            seen.popleft()
        since, before = seen[0]
        return (record.bytes - before) / (now - since) if now > since else None
