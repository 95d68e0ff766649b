"""A run as a waterfall of text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kerutaprep.terminal.style import Style
from kerutaprep.terminal.waterfall import columns, draw_text
from tests.reports import a_report, a_step, any_report

if TYPE_CHECKING:
    from kerutaprep.events import StepStatus
    from kerutaprep.report import Report

_SGR = re.compile(r"\x1b\[[0-9]+m")


@given(any_report(), st.integers(min_value=1, max_value=300), st.booleans(), st.booleans())
def test_a_text_keeps_to_its_width(report: Report, width: int, colour: bool, blocks: bool) -> None:
    """A waterfall has a line for each step, then reasons, and one for the run; none is wider than the terminal."""
    lines = _SGR.sub("", draw_text(report, Style(width, colour, blocks))).split("\n")
    assert len(lines) >= len(report["steps"]) + 1
    assert max(map(columns, lines)) <= width
    assert blocks or all(map(str.isascii, lines))
    wide = draw_text(report, Style(300, colour, blocks)).split("\n")
    assert report["outcome"] in wide[-1]
    assert f"exit code {report['exit_code']}" in wide[-1]


@given(st.text(st.characters(categories=["L", "N", "P", "S"], max_codepoint=0xFFFF)))
def test_columns_are_a_terminals(text: str) -> None:
    """A width is never less than what a terminal's own table says, but for characters that the table does not know."""
    assert columns(text) >= cell_len(text) or any(ord(character) > 0x2000 for character in text)


@pytest.mark.parametrize(("text", "width"), [("文書", 4), ("é", 1), ("ﾃｽﾄ", 3), ("abc", 3), ("", 0)])
def test_japanese_takes_two_columns_a_character(text: str, width: int) -> None:
    """Full-width characters take two columns, half-width and combining ones what a terminal gives them."""
    assert columns(text) == width == cell_len(text)


@pytest.mark.parametrize("status", ["failed", "cancelled", "skipped"])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_text_shows_what_did_not_succeed(status: StepStatus, width: int) -> None:
    """A step that failed, was stopped or had nothing to do is told from one that succeeded."""
    line, *_ = draw_text(a_report(a_step(status)), Style(width)).splitlines()
    assert line.startswith("documents ")
    assert line.endswith(status)
    assert status not in draw_text(a_report(a_step("succeeded"), outcome="succeeded"), Style(width))


def test_a_text_shows_what_never_started() -> None:
    """A step that never started has no bar."""
    line, _ = draw_text(a_report(a_step("cancelled", None, None)), Style()).splitlines()
    assert line.split() == ["documents", "never", "started"]


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_a_text_says_why_a_step_failed(width: int) -> None:
    """The whole reason stands below the bars, broken at spaces, whatever the width."""
    reason = "document 'task-1': HTTP 404 (NOT_FOUND: no such document): not found"
    _, *below, last = draw_text(a_report(a_step("failed", detail=reason)), Style(width)).splitlines()
    assert f"documents failed: {reason}" in " ".join(below)
    assert last


def test_a_reason_moves_no_cursor() -> None:
    """Control characters of a report that came from elsewhere don't reach the terminal."""
    text = draw_text(a_report(a_step("failed", detail="\x1b[2Jgone\r\x9b1m\x07"), seconds=1), Style())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "gone" in text


def test_a_text_shows_sizes_attempts_and_the_commit() -> None:
    """Bytes are written as people read them, a second attempt is told, and the run's commit and ref are named."""
    step = a_step("succeeded", bytes=5 * 1024, attempts=3)
    line, last = draw_text(a_report(step, outcome="succeeded"), Style()).splitlines()
    assert line.endswith("5.0 KiB  3 attempts")
    assert last == "succeeded in 2.00 s, exit code 66, commit 0a0a0a0a0a0a of main"


@pytest.mark.parametrize(("blocks", "glyph"), [(True, "█"), (False, "#")])
def test_bars_lie_where_the_time_was(blocks: bool, glyph: str) -> None:
    """Two steps that follow each other have bars of which one begins where the other ends."""
    report = a_report(a_step("succeeded", 0.0, 1.0), a_step("succeeded", 1.0, 2.0))
    first, second, _ = draw_text(report, Style(81, blocks=blocks)).splitlines()
    assert first.count(glyph) == second.count(glyph) == 25
    assert second.index(glyph) == first.rindex(glyph) + 1


@pytest.mark.parametrize(("status", "code"), [("succeeded", 32), ("failed", 31), ("cancelled", 33), ("skipped", 90)])
def test_colours_say_the_status(status: StepStatus, code: int) -> None:
    """Each status has a colour of its own, and every colour is ended on its line."""
    for line in draw_text(a_report(a_step(status), outcome="failed"), Style(colour=True)).splitlines():
        assert line.count("\x1b[") == 2 * line.count("\x1b[0m")
    assert f"\x1b[{code}m" in draw_text(a_report(a_step(status)), Style(colour=True)).splitlines()[0]
    assert "\x1b" not in draw_text(a_report(a_step(status)), Style())
