"""What the program shows: records on stderr, and the pod's termination log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerutaprep.lastwords import say_last, write_termination_log
from kerutaprep.terminal.console import JSONFormatter, TextFormatter

_MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def _record(message: str, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord("kerutaprep", logging.INFO, __file__, 1, "%s", (message,), None)
    record.__dict__ |= {"created": _MOMENT.timestamp(), **fields}
    return record


@given(st.text())
def test_a_json_record_is_one_line(message: str) -> None:
    """Whatever a message holds, its record is one JSON object on one line and gives the message back."""
    line = JSONFormatter().format(_record(message))
    assert "\n" not in line
    assert "\r" not in line
    assert json.loads(line)["message"] == message


def test_a_json_record_has_the_event() -> None:
    """A record has its time as RFC 3339 writes it, its level, and what is known of the step; nothing else."""
    line = JSONFormatter().format(
        _record("finished", event="finished", step="clone", seconds=1.5, attempt=0, bytes=0, request_id=None, other=1)
    )
    assert json.loads(line) == {
        "time": "2026-01-02T03:04:05.678Z",
        "level": "INFO",
        "logger": "kerutaprep",
        "event": "finished",
        "step": "clone",
        "seconds": 1.5,
        "attempt": 0,
        "bytes": 0,
        "message": "finished",
    }


@given(st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_a_json_time_can_be_read_back(moment: datetime) -> None:
    """Every time has a zone and milliseconds."""
    time = json.loads(JSONFormatter().format(_record("x", created=moment.timestamp())))["time"]
    assert time.endswith("Z")
    assert abs((datetime.fromisoformat(time) - moment).total_seconds()) < 0.0011


def test_an_exception_is_in_the_record() -> None:
    """A record with an exception is still one line of JSON, and a text record shows it below."""
    error = LookupError("where\nis it")
    record = _record("failed", exc_info=(LookupError, error, None))
    line = JSONFormatter().format(record)
    assert "\n" not in line
    assert "LookupError: where\nis it" in json.loads(line)["exception"]
    first, *rest = TextFormatter().format(record).splitlines()
    assert first.endswith("failed")
    assert rest[-2:] == ["LookupError: where", "is it"]


def test_a_text_record_is_one_line() -> None:
    """A line of text has the time, the level, the step and the message."""
    line = TextFormatter().format(_record("finished", event="finished", step="clone"))
    assert line.split() == ["2026-01-02T03:04:05.678Z", "INFO", "clone", "finished"]


def test_the_script_s_output_is_marked() -> None:
    """What install.sh wrote can't be taken for what the program says."""
    formatter = TextFormatter()
    assert formatter.format(_record("done", event="output", step="install")).endswith("| done")
    assert "|" not in formatter.format(_record("done", event="note", step="install"))


_PROGRAM = """\
import logging
from kerutaprep.terminal.console import configure_logging

configure_logging("INFO", "json")
logging.getLogger("kerutaprep").debug("quiet")
logging.getLogger("kerutaprep.x").info("ours")
logging.getLogger("other").info("quiet")
logging.getLogger("other").warning("theirs")
"""


def test_records_go_to_stderr() -> None:
    """Our records are shown from the level on, other libraries' from WARNING on, all on stderr."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, check=True)
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["ours", "theirs"]
    assert done.stdout == b""


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_last_line_is_one_line(message: str) -> None:
    """Whatever failed, it is said in one line that names the program."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as stderr:
        patch.setattr(sys, "stderr", stderr)
        say_last(f"failed: {message}")
        stderr.seek(0)
        text = stderr.read()
    assert text.endswith("\n")
    assert text.startswith("kerutaprep: failed:")
    assert len(text.splitlines()) == 1


_ANY_SIZE = st.builds(
    lambda text, count, rest: text * count + rest, st.text(min_size=1), st.integers(0, 2000), st.text()
)


@settings(deadline=None)
@given(_ANY_SIZE)
def test_the_termination_log_is_cut_on_a_character_border(message: str) -> None:
    """The log gets the message's beginning: at most 4096 bytes, as many as whole characters allow, always UTF-8."""
    with tempfile.NamedTemporaryFile() as log:
        write_termination_log(message, log.name)
        data = Path(log.name).read_bytes()
    sent = message.encode(errors="replace")
    assert sent.startswith(data)
    assert data.decode().encode() == data
    assert min(len(sent), 4096 - 3) <= len(data) <= 4096


@pytest.mark.parametrize(("size", "character"), [(4096, "x"), (4096, "é"), (4095, "€"), (4096, "🙂")])
def test_the_termination_log_is_as_long_as_it_may_be(tmp_path: Path, size: int, character: str) -> None:
    """No more of a message is cut off than must be."""
    log = tmp_path / "log"
    write_termination_log(character * 5000, str(log))
    assert log.stat().st_size == size


def test_the_termination_log_is_written_in_place(tmp_path: Path) -> None:
    """The log is a bind mount: it stays the same file, through a link too, and holds nothing of what it held before."""
    log, link = tmp_path / "log", tmp_path / "link"
    log.write_text("an earlier and longer message")
    link.symlink_to(log)
    before = log.stat()
    write_termination_log("ready", str(link))
    assert log.read_text() == "ready"
    assert (log.stat().st_ino, log.stat().st_mode) == (before.st_ino, before.st_mode)
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "log"]


def test_a_termination_log_that_can_t_be_written_harms_nothing(tmp_path: Path) -> None:
    """A log in a directory that is not there, or that is a directory, is left out."""
    write_termination_log("ready", str(tmp_path / "missing" / "log"))
    write_termination_log("ready", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_full_termination_log_harms_nothing() -> None:
    """A log that takes no byte is left out."""
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names of descriptors
    write_termination_log("ready", "/dev/full")
    assert len(os.listdir("/proc/self/fd")) <= len(before)  # noqa: PTH208 - names of descriptors


@pytest.mark.skipif(Path("/dev/termination-log").exists(), reason="this is a pod: its log is not ours to write")
def test_kubernetes_s_termination_log_is_not_made() -> None:
    """Outside of a pod nothing is left where a pod has its log."""
    write_termination_log("ready", None)
    assert not Path("/dev/termination-log").exists()
