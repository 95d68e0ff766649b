"""The report command: what it draws, and where to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from kerutaprep.errors import SettingsError
from kerutaprep.terminal.drawing import draw_report
from tests.reports import a_report, a_step

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A run's report that failed."""
    path = tmp_path / "prep.json"
    path.write_text(json.dumps(a_report(a_step("failed", detail="it is not there"))))
    return path


def _run(*words: str, **environment: str) -> str:
    command = [sys.executable, "-m", "kerutaprep", "report", *words]
    known = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "COLUMNS"))}
    return subprocess.run(command, capture_output=True, check=True, env={**known, **environment}).stdout.decode()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_text_is_as_wide_as_the_terminal_says(report: Path, columns: int) -> None:
    """COLUMNS is obeyed; what goes into a pipe has no colours."""
    text = _run(str(report), COLUMNS=str(columns))
    assert max(map(len, text.splitlines())) == columns
    assert "it is not there" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"LANG": "en_US.UTF-8", "PYTHONIOENCODING": "ascii"}])
def test_where_blocks_can_t_be_shown_it_is_ascii(report: Path, environment: dict[str, str]) -> None:
    """A locale or an encoding without block characters gets a waterfall of ASCII."""
    assert _run(str(report), **environment).isascii()
    assert "▓" in _run(str(report), LC_ALL="C.UTF-8")


def test_picture_and_trace_are_written_together(report: Path) -> None:
    """Both files are whole, nothing else is left beside them, and stdout stays empty."""
    picture, trace = report.with_name("run.svg"), report.with_name("run.json")
    assert draw_report([str(report), "--svg", str(picture), f"--trace={trace}"]) == ""
    assert ET.fromstring(picture.read_text()).tag.endswith("svg")  # noqa: S314 - drawn by this package
    assert json.loads(trace.read_text())["traceEvents"]
    assert sorted(path.name for path in report.parent.iterdir()) == ["prep.json", "run.json", "run.svg"]


def test_a_dash_is_stdout(report: Path) -> None:
    """A drawing for the file - goes to stdout."""
    assert json.loads(_run("--trace", "-", str(report)))["traceEvents"]


def test_a_link_s_target_is_what_is_replaced(report: Path) -> None:
    """A picture goes where a symbolic link leads; the link stays."""
    link, target = report.with_name("link.svg"), report.with_name("target.svg")
    target.write_text("older")
    link.symlink_to(target)
    draw_report([str(report), "--svg", str(link)])
    assert link.is_symlink()
    assert target.read_text().startswith("<svg")


def test_a_pipe_is_written_to(report: Path) -> None:
    """What is no regular file is written to as it is, not replaced."""
    pipe = report.with_name("pipe")
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    draw_report([str(report), "--svg", str(pipe)])
    reader.join(30)
    assert read[0].startswith("<svg")
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--svg"], "--svg: its file is missing"),
        (["--trace="], "--trace: its file is missing"),
        (["--png", "x"], "report takes a FILE"),
        (["a", "b"], "report takes a FILE"),
        (["--svg", "missing/run.svg"], "can't be written: No such file or directory"),
    ],
)
def test_wrong_words_are_named(report: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    """What is missing, unknown, too much or can't be written is a message of its own; no part of a file is left."""
    monkeypatch.chdir(report.parent)
    report.parent.joinpath(".keruta").mkdir()
    report.rename(".keruta/prep.json")
    with pytest.raises(SettingsError, match=message):
        draw_report(words)
    assert [path.name for path in report.parent.iterdir()] == [".keruta"]
