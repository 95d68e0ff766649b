"""A run's report: made, kept, and drawn."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerutaprep import __version__
from kerutaprep.errors import NotFoundError, SettingsError, WorkDirError
from kerutaprep.events import Recorder, StepStatus
from kerutaprep.masking import Masker
from kerutaprep.report import Outcome, Report, StepReport, draw_svg, draw_text, make_report, read_report, write_report

_SECONDS = st.floats(min_value=0, max_value=1e6).map(lambda value: round(value, 3))
_WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30)
"""Of characters that XML may hold and that end no line."""
_STATUSES: tuple[StepStatus, ...] = get_args(StepStatus)
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@st.composite
def _steps(draw: st.DrawFn, total: float) -> StepReport:
    start, end = sorted(draw(st.tuples(*[st.floats(min_value=0, max_value=total)] * 2)))
    began = draw(st.booleans())
    return StepReport(
        name=draw(_WORDS),
        status=draw(st.sampled_from(_STATUSES)) if began else "cancelled",
        start=round(start, 3) if began else None,
        end=round(end, 3) if began else None,
        attempts=draw(st.integers(min_value=0, max_value=1001)),
        bytes=draw(st.integers(min_value=0, max_value=2**50)),
        detail=draw(st.none() | _WORDS),
    )


@st.composite
def _reports(draw: st.DrawFn) -> Report:
    total = draw(_SECONDS)
    return Report(
        version=draw(_WORDS),
        outcome=draw(st.sampled_from(_OUTCOMES)),
        exit_code=draw(st.integers(min_value=0, max_value=255)),
        started_at="2026-01-02T03:04:05.678Z",
        seconds=total,
        commit=draw(st.none() | st.just("0a" * 20)),
        ref=draw(st.none() | _WORDS),
        steps=draw(st.lists(_steps(total), min_size=1, max_size=8)),
    )


def _step(
    status: StepStatus, start: float | None = 0.0, end: float | None = 1.0, *, size: int = 0, detail: str | None = None
) -> StepReport:
    return StepReport(name="documents", status=status, start=start, end=end, attempts=1, bytes=size, detail=detail)


def _report(*steps: StepReport, outcome: Outcome = "failed", seconds: float = 2.0) -> Report:
    return Report(
        version="1",
        outcome=outcome,
        exit_code=66,
        started_at="2026-01-02T03:04:05.678Z",
        seconds=seconds,
        commit="0a" * 20,
        ref="main",
        steps=list(steps),
    )


def _texts(picture: str) -> list[str]:
    root = ET.fromstring(picture)  # noqa: S314 - a picture that this package drew a moment ago
    return [element.text or "" for element in root.iter() if element.text]


@given(_reports(), st.integers(min_value=1, max_value=300))
def test_a_text_keeps_to_its_width(report: Report, width: int) -> None:
    """A waterfall has a line for each step, none wider than the terminal, and one for the run."""
    lines = draw_text(report, width).split("\n")
    assert len(lines) == len(report["steps"]) + 1
    assert max(map(len, lines)) <= width
    assert report["outcome"][:width] in lines[-1]
    assert f"exit code {report['exit_code']}" in draw_text(report, 300)


@pytest.mark.parametrize("status", ["failed", "cancelled", "skipped"])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_text_shows_what_did_not_succeed(status: StepStatus, width: int) -> None:
    """A step that failed, was stopped or had nothing to do is told from one that succeeded."""
    line, _ = draw_text(_report(_step(status)), width).splitlines()
    assert line.startswith("documents ")
    assert line.endswith(status)
    assert status not in draw_text(_report(_step("succeeded"), outcome="succeeded"), width)


def test_a_text_shows_what_never_started() -> None:
    """A step that never started has no bar."""
    line, _ = draw_text(_report(_step("cancelled", None, None)), 80).splitlines()
    assert "never started" in line
    assert line.split() == ["documents", "never", "started", "cancelled"]


def test_a_text_shows_sizes_and_the_commit() -> None:
    """Bytes are written as people read them, and the run's commit and ref are named."""
    line, last = draw_text(_report(_step("succeeded", size=5 * 1024), outcome="succeeded"), 80).splitlines()
    assert line.endswith("5.0 KiB")
    assert last == "succeeded in 2.00 s, exit code 66, commit 0a0a0a0a0a0a of main"


def test_bars_lie_where_the_time_was() -> None:
    """Two steps that follow each other have bars of which one begins where the other ends."""
    first, second, _ = draw_text(_report(_step("succeeded", 0.0, 1.0), _step("succeeded", 1.0, 2.0)), 81).splitlines()
    assert first.count("█") == second.count("█") == 20
    assert second.index("█") == first.rindex("█") + 1


@given(_reports(), st.text(st.characters(exclude_categories=["C"])))
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
    texts = _texts(draw_svg(_report(_step(status, size=2048, detail="<gone> & lost"))))
    assert f"1.00 s · 2.0 KiB · {status}" in texts
    assert "<gone> & lost" in texts
    assert "failed in 2.00 s" in texts


def test_a_picture_shows_what_never_started() -> None:
    """A step that never started is said to be so in the picture."""
    assert "never started" in _texts(draw_svg(_report(_step("cancelled", None, None))))


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.9, 7.0, 61.5, 1800.0, 1e6])
def test_a_picture_has_a_legible_axis(seconds: float) -> None:
    """The time axis of a run of any length has at most eleven marks, the first of them at the start."""
    marks = [
        text
        for text in _texts(draw_svg(_report(_step("failed", 0.0, seconds), seconds=seconds), "x"))
        if text[-2:] == " s"
    ]
    assert "0 s" in marks
    assert len(marks) <= 11 + 1


@settings(deadline=None)
@given(_reports())
def test_a_report_is_read_as_it_was_written(report: Report) -> None:
    """A report comes back from its file as it was."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "prep.json"
        write_report(report, path)
        assert read_report(path) == report
        assert json.loads(path.read_text(encoding="utf-8")) == report


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"null",
        b"[]",
        b"{}",
        b'"report"',
        b"{",
        b'{"steps": [], "seconds": 1}',
        b'{"steps": [{}], "seconds": 1, "outcome": "failed", "exit_code": 1, "commit": null}',
        b'{"steps": 5, "seconds": "x"}',
    ],
)
def test_garbage_is_no_report(tmp_path: Path, content: bytes) -> None:
    """A file that is no report is named as that."""
    path = tmp_path / "prep.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"prep\.json is no report of kerutaprep"):
        read_report(path)


def test_an_unknown_status_is_no_report(tmp_path: Path) -> None:
    """A report that a program of another kind wrote is named as that."""
    path = tmp_path / "prep.json"
    path.write_text(json.dumps(_report(_step("succeeded"))).replace("succeeded", "exploded"))
    with pytest.raises(SettingsError, match="is no report"):
        read_report(path)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    """A file that is not there, or is a directory, is an error that names it."""
    with pytest.raises(SettingsError, match=r"prep\.json can't be read: No such file"):
        read_report(tmp_path / "prep.json")
    with pytest.raises(SettingsError, match="can't be read: Is a directory"):
        read_report(tmp_path)


def test_a_disk_that_refuses_a_report_is_the_work_dir_s_error(tmp_path: Path) -> None:
    """A report that can't be written is an error of the work dir."""
    with pytest.raises(WorkDirError, match=r"prep\.json failed"):
        write_report(_report(), tmp_path / "missing" / "prep.json")


def test_a_report_tells_what_each_step_did() -> None:
    """A report has every step in the plan's order, with what became of it and without secrets."""
    recorder = Recorder(Masker(["s3cret"]), None, lambda _line: None)
    recorder.add(["clone", "documents", "script", "exclude", "install"])
    for name in ("clone", "documents", "script", "exclude"):
        recorder.steps[name].begin()
    recorder.steps["clone"].received(7)
    recorder.steps["clone"].attempt(2)
    recorder.steps["clone"].finish()
    recorder.steps["script"].skip("there is none")
    recorder.steps["script"].finish()
    recorder.steps["documents"].fail(NotFoundError("s3cret is not there"))
    recorder.steps["exclude"].cancel()
    report = make_report(recorder, "failed", 66, commit=None, ref="main")
    assert [(step["name"], step["status"], step["detail"]) for step in report["steps"]] == [
        ("clone", "succeeded", None),
        ("documents", "failed", "*** is not there"),
        ("script", "skipped", "there is none"),
        ("exclude", "cancelled", None),
        ("install", "cancelled", None),
    ]
    clone, *_, install = report["steps"]
    assert (clone["attempts"], clone["bytes"]) == (2, 7)
    assert clone["start"] is not None
    assert clone["end"] is not None
    assert 0 <= clone["start"] <= clone["end"] <= report["seconds"]
    assert (install["start"], install["end"], install["attempts"]) == (None, None, 0)
    assert (report["version"], report["outcome"], report["exit_code"]) == (__version__, "failed", 66)
    assert (report["commit"], report["ref"]) == (None, "main")
    assert report["started_at"].endswith("Z")
    assert abs((datetime.fromisoformat(report["started_at"]) - recorder.started_at).total_seconds()) < 0.001
