"""A run's report: made and kept."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings

from kerutaprep import __version__
from kerutaprep.errors import NotFoundError, SettingsError, WorkDirError
from kerutaprep.events import Recorder
from kerutaprep.masking import Masker
from kerutaprep.report import Report, make_report, read_report, write_report
from tests.reports import a_report, a_step, any_report


@settings(deadline=None)
@given(any_report())
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
        json.dumps(a_report(a_step("succeeded", float("nan")))).encode(),
        json.dumps(a_report(a_step("succeeded"), seconds=float("inf"))).encode(),
        json.dumps(a_report(a_step("succeeded", -1.0))).encode(),
        json.dumps(a_report(a_step("succeeded", bytes="many"))).encode(),
        json.dumps(a_report(a_step("succeeded", detail=["x"]))).encode(),
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
    path.write_text(json.dumps(a_report(a_step("succeeded"))).replace("succeeded", "exploded"))
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
        write_report(a_report(), tmp_path / "missing" / "prep.json")


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
