"""A run as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerutaprep.terminal.picture import draw_svg
from kerutaprep.terminal.waterfall import columns
from tests.reports import a_report, a_step, any_report

if TYPE_CHECKING:
    from kerutaprep.events import StepStatus
    from kerutaprep.report import Report


def _texts(picture: str) -> list[str]:
    root = ET.fromstring(picture)  # noqa: S314 - a picture that this package drew a moment ago
    return [element.text or "" for element in root.iter() if element.text]


@given(any_report(), st.text(st.characters(exclude_categories=["C"])))
def test_a_picture_is_well_formed(report: Report, title: str) -> None:
    """A picture is XML whatever names and details hold, and names every step."""
    texts = _texts(draw_svg(report, title))
    for step in report["steps"]:
        assert step["name"] in texts
        assert step["start"] is None or (step["detail"] or step["status"]) in texts
    assert not title or title in texts


@pytest.mark.parametrize("status", ["failed", "cancelled", "skipped"])
def test_a_picture_shows_what_did_not_succeed(status: StepStatus) -> None:
    """A step's status, size and reason are in the picture."""
    texts = _texts(draw_svg(a_report(a_step(status, bytes=2048, detail="<gone> & lost"))))
    assert f"1.00 s · 2.0 KiB · {status}" in texts
    assert "<gone> & lost" in texts
    assert "failed in 2.00 s" in texts


def test_a_picture_shows_what_never_started() -> None:
    """A step that never started is said to be so in the picture."""
    assert "never started" in _texts(draw_svg(a_report(a_step("cancelled", None, None))))


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.9, 7.0, 61.5, 1800.0, 1e6])
def test_a_picture_has_a_legible_axis(seconds: float) -> None:
    """The time axis of a run of any length has at most eleven marks, the first of them at the start."""
    marks = [
        text
        for text in _texts(draw_svg(a_report(a_step("failed", 0.0, seconds), seconds=seconds), "x"))
        if text[-2:] == " s"
    ]
    assert "0 s" in marks
    assert len(marks) <= 11 + 1


def _numbers(element: ET.Element, *names: str) -> list[float]:
    return [float(element.attrib[name]) for name in names]


@given(any_report())
def test_nothing_is_drawn_beyond_the_edge(report: Report) -> None:
    """Every bar and every word lies inside of the picture, however long the words and wherever the bar ends."""
    root = ET.fromstring(draw_svg(report))  # noqa: S314 - drawn by this package
    width, height = _numbers(root, "width", "height")
    for shape in root:
        if shape.tag.endswith("rect"):
            x, y, wide, high = _numbers(shape, "x", "y", "width", "height") if "x" in shape.attrib else [0] * 4
            assert 0 <= x <= x + wide <= width
            assert 0 <= y <= y + high <= height
        elif shape.tag.endswith("text"):
            x, y = _numbers(shape, "x", "y")
            needed = columns(shape.text or "") * 7
            anchor = {"end": needed, "middle": needed / 2}.get(shape.attrib.get("text-anchor", "start"), 0)
            assert x - anchor >= 0
            assert x - anchor + needed <= width
            assert y <= height


def test_a_reason_is_legible_without_pointing_at_it() -> None:
    """Why a step failed is written below the bars, in as many lines as it needs, up to four."""
    reason = "document 'task-1': " + "not there, " * 20
    texts = _texts(draw_svg(a_report(a_step("failed", detail=reason))))
    below = [text for text in texts if text.startswith("documents: ")]
    assert len(below) == 1
    assert " ".join(texts).count("not there") == 2 * 20  # once in the bar's title, once below


def test_attempts_are_drawn() -> None:
    """A step that was tried again says so."""
    assert "1.00 s · 3 attempts" in _texts(draw_svg(a_report(a_step("succeeded", attempts=3))))
