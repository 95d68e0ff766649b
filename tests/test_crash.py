"""Killed at some moment, a run's successor ends with the same result."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.fakes import DOCUMENT, FILES, Gate, Stage, run_program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

_SPY = """\
#!/bin/sh
for word in "$@"; do
  if [ "$word" = {command} ] && [ ! -e {flag} ]; then touch {flag}; {before}kill -9 $(cat {pid}); exit 1; fi
done
exec {git} "$@"
"""


async def _kill_at(stage: Stage, tmp_path: Path, command: str, *, half: bool = False) -> None:
    """Kill the program at the moment at which it calls a git command, the command done or not begun."""
    git = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip() + "/git"
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir(exist_ok=True)
    before = f'{git} "$@"; ' if half else ""
    words = {"command": command, "flag": tmp_path / "flag", "pid": tmp_path / "pid", "git": git}
    spy.write_text(_SPY.format(**words, before=before))
    spy.chmod(0o755)
    environment = {"PATH": f"{spy.parent}:/usr/local/bin:/usr/bin:/bin"}
    async with await anyio.open_process(stage.command(), stderr=subprocess.DEVNULL, env=environment) as program:
        (tmp_path / "pid").write_text(str(program.pid))
        assert await program.wait() == -signal.SIGKILL


async def _assert_the_next_run_succeeds(stage: Stage) -> None:
    again = await run_program(stage.command())
    assert again.code == 0, again.stderr
    for name, text in FILES.items():
        assert (stage.work / name).read_text() == text
    assert stage.keruta("README.md").read_bytes() == DOCUMENT
    assert stage.run_git("status", "--porcelain") == ""
    stage.run_git("fsck", "--strict")
    assert not list((stage.work / ".git").rglob("*.lock"))
    assert not list(stage.keruta("").glob(".kerutaprep-part-*"))
    assert json.loads(stage.keruta("prep.json").read_text())["outcome"] == "succeeded"


@pytest.fixture
def quiet(stage: Stage) -> Stage:
    """A stage whose script changes nothing."""
    stage.content.scripts["shop"] = b"#!/bin/sh\ntrue\n"
    return stage


@pytest.mark.parametrize("half", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("command", ["init", "fetch", "update-ref", "ls-tree", "checkout"])
async def test_killed_at_a_git_command(quiet: Stage, tmp_path: Path, command: str, half: bool) -> None:
    """SIGKILL before or after any git command leaves nothing that the next run does not overcome."""
    await _kill_at(quiet, tmp_path, command, half=half)
    await _assert_the_next_run_succeeds(quiet)


async def test_killed_with_half_of_the_files_written(quiet: Stage, tmp_path: Path) -> None:
    """A checkout that was killed half-way, with a truncated file and a stale lock, is finished."""
    await _kill_at(quiet, tmp_path, "checkout")
    (quiet.work / "src").mkdir()
    (quiet.work / "src" / "basket.py").write_text("bas")
    (quiet.work / ".git" / "index.lock").touch()
    await _assert_the_next_run_succeeds(quiet)


async def test_killed_while_documents_arrive(quiet: Stage) -> None:
    """SIGKILL during a download leaves parts only, which the next run removes."""
    gate = Gate()
    quiet.api.on("/content", gate)
    async with await anyio.open_process(quiet.command(), stderr=subprocess.DEVNULL) as program:
        await gate.arrived.wait()
        program.kill()
        await program.wait()
    gate.opened.set()
    await _assert_the_next_run_succeeds(quiet)
