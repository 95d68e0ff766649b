"""Killed at some moment, a run's successor ends with the same result."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.fakes import DOCUMENT, FILES, Gate, Stage, alive, run_program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

_SPY = """\
#!/bin/sh
for word in "$@"; do
  if [ "$word" = {command} ] && [ ! -e {flag} ]; then touch {flag}; {before}
    while [ ! -e {pid} ]; do sleep 0.01; done; kill -9 $(cat {pid}); exit 1; fi
done
exec {git} "$@"
"""


async def _kill_at(stage: Stage, tmp_path: Path, command: str, *arguments: str, half: bool = False) -> None:
    """Kill the program at the moment at which it calls a git command, the command done or not begun."""
    git = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip() + "/git"
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir(exist_ok=True)
    before = f'{git} "$@"; ' if half else ""
    words = {"command": command, "flag": tmp_path / "flag", "pid": tmp_path / "pid", "git": git}
    spy.write_text(_SPY.format(**words, before=before))
    spy.chmod(0o755)
    environment = {"PATH": f"{spy.parent}:/usr/local/bin:/usr/bin:/bin"}
    async with await anyio.open_process(
        stage.command(*arguments), stderr=subprocess.DEVNULL, env=environment
    ) as program:
        (tmp_path / "pid.new").write_text(str(program.pid))
        (tmp_path / "pid.new").rename(tmp_path / "pid")
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
@pytest.mark.parametrize("command", ["fetch", "ls-tree", "checkout"])
@pytest.mark.parametrize("given", [False, True], ids=["looked-up", "given"])
async def test_killed_at_a_git_command(quiet: Stage, tmp_path: Path, command: str, half: bool, given: bool) -> None:
    """SIGKILL before or after any git command, an early fetch too, leaves nothing that a next run does not overcome."""
    await _kill_at(quiet, tmp_path, command, *(["--repository-url", quiet.repository_url] if given else []), half=half)
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


@pytest.fixture
async def cloned(quiet: Stage) -> tuple[Stage, str, str]:
    """An existing clone, and what upstream changes: the commits before and after."""
    quiet.commit_files({"gone": "gone\n", "same": "same\n"})
    before = (await run_and_check(quiet)).strip()
    after = quiet.commit_files({"README.md": "# A better shop\n" * 50, "new/file": "new\n" * 50, "gone": None})
    return quiet, before, after


async def run_and_check(stage: Stage) -> str:
    """Run the program and give the commit that is checked out."""
    ended = await run_program(stage.command())
    assert ended.code == 0, ended.stderr
    return stage.run_git("rev-parse", "HEAD")


def _half_checked_out(stage: Stage, tmp_path: Path, before: str) -> None:
    """Make what a checkout leaves that was killed in the middle: some files new, one half, the index from before."""
    stage.run_git("reset", "-q", "--soft", before)
    stage.run_git("read-tree", before)
    (stage.work / "README.md").write_text(("# A better shop\n" * 50)[:100])
    (stage.work / ".git" / "index.lock").touch()
    assert (tmp_path / "flag").exists()


async def test_killed_where_the_repository_tracks_our_names(quiet: Stage, tmp_path: Path) -> None:
    """A fresh clone's recovery leaves alone what is Keruta's, or outside of the sparse paths."""
    quiet.commit_files({".keruta/README.md": "own\n", "far/away": "far\n"})
    await _kill_at(quiet, tmp_path, "checkout")
    quiet.keruta("README.md").write_bytes(DOCUMENT)
    again = await run_program(quiet.command())
    assert again.code == 0, again.stderr
    assert quiet.keruta("README.md").read_bytes() == DOCUMENT
    assert not quiet.keruta("kept").exists()
    assert quiet.run_git("status", "--porcelain") == ""


async def test_killed_in_a_sparse_clone(quiet: Stage, tmp_path: Path) -> None:
    """A file of somebody's that lies outside of the sparse paths is none of the checkout's."""
    quiet.commit_files({"far/away": "far\n"})
    await _kill_at(quiet, tmp_path, "checkout", "--sparse-path", "src")
    (quiet.work / "far").mkdir()
    (quiet.work / "far" / "away").write_text("mine\n")
    again = await run_program(quiet.command("--sparse-path", "src"))
    assert again.code == 0, again.stderr
    assert (quiet.work / "far" / "away").read_text() == "mine\n"


@pytest.mark.parametrize("half", [False, True], ids=["before", "after"])
async def test_killed_at_the_checkout_of_an_update(cloned: tuple[Stage, str, str], tmp_path: Path, half: bool) -> None:
    """An update that is killed at its checkout is finished by the next run."""
    stage, _, after = cloned
    await _kill_at(stage, tmp_path, "checkout", half=half)
    assert (await run_and_check(stage)).strip() == after
    assert stage.run_git("status", "--porcelain") == ""
    assert not (stage.work / "gone").exists()
    assert (stage.work / "new" / "file").exists()


async def test_a_half_written_update_is_finished(cloned: tuple[Stage, str, str], tmp_path: Path) -> None:
    """Half-written files are no uncommitted work; an edit to a file the update was not changing is."""
    stage, before, after = cloned
    await _kill_at(stage, tmp_path, "checkout", half=True)
    _half_checked_out(stage, tmp_path, before)
    (stage.work / "same").write_text("mine\n")
    assert (await run_and_check(stage)).strip() == after
    assert (stage.work / "README.md").read_text() == "# A better shop\n" * 50
    assert (stage.work / "same").read_text() == "mine\n"
    assert stage.run_git("status", "--porcelain") == " M same\n"


async def test_an_edit_between_two_runs_is_kept_aside(cloned: tuple[Stage, str, str], tmp_path: Path) -> None:
    """What somebody wrote into a file that the update was changing is not lost, nor does it stop the next run."""
    stage, before, after = cloned
    await _kill_at(stage, tmp_path, "checkout", half=True)
    _half_checked_out(stage, tmp_path, before)
    (stage.work / "README.md").write_text("my words\n")
    assert (await run_and_check(stage)).strip() == after
    (kept,) = stage.keruta("kept").glob("*/README.md")
    assert kept.read_text() == "my words\n"
    assert str(kept.relative_to(stage.work)) in stage.keruta("prep.log").read_text()


@pytest.mark.parametrize(
    "lock", ["index", "HEAD", "config", "shallow", "packed-refs", "refs/remotes/origin/main", "refs/heads/main"]
)
async def test_locks_of_a_killed_git_are_removed(cloned: tuple[Stage, str, str], tmp_path: Path, lock: str) -> None:
    """A lock that a git left that was killed beside its run does not stop the next one."""
    stage, _, after = cloned
    await _kill_at(stage, tmp_path, "fetch")
    (stage.work / ".git" / f"{lock}.lock").touch()
    assert (await run_and_check(stage)).strip() == after
    assert not (stage.work / ".git" / f"{lock}.lock").exists()


async def test_a_lock_of_somebody_elses_is_left_alone(cloned: tuple[Stage, str, str]) -> None:
    """Where no run was killed, a lock is that of somebody at work."""
    stage, _, _ = cloned
    lock = stage.work / ".git" / "index.lock"
    lock.touch()
    await run_program(stage.command())
    assert lock.exists()


async def test_killed_between_the_two_renames_of_a_replacement(cloned: tuple[Stage, str, str]) -> None:
    """A reset that replaces another's clone, killed when there is none, is done again."""
    stage, _, after = cloned
    stage.run_git("remote", "set-url", "origin", "https://example.org/other.git")
    kill = (
        "import os, sys, pathlib; rename = pathlib.Path.rename\n"
        "def killing(self, target):\n"
        "    result = rename(self, target)\n"
        "    if str(target).endswith('replaced.git'): os.kill(os.getpid(), 9)\n"
        "    return result\n"
        "pathlib.Path.rename = killing\n"
        "from kerutaprep.__main__ import main; main()"
    )
    python, _, _, *words = stage.command("--on-existing", "reset")
    killed = await run_program([python, "-c", kill, *words])
    assert killed.code == -signal.SIGKILL
    assert not (stage.work / ".git").exists()
    again = await run_program(stage.command("--on-existing", "reset"))
    assert again.code == 0, again.stderr
    assert stage.run_git("rev-parse", "HEAD").strip() == after
    assert stage.run_git("status", "--porcelain") == ""


async def test_commits_made_since_are_not_thrown_away(cloned: tuple[Stage, str, str], tmp_path: Path) -> None:
    """Where somebody cleaned up after a killed run and went on, the journal counts for nothing."""
    stage, before, _ = cloned
    await _kill_at(stage, tmp_path, "checkout")
    stage.run_git("reset", "-q", "--hard", before)
    stage.run_git("commit", "-q", "--allow-empty", "-m", "Mine")
    mine = stage.run_git("rev-parse", "HEAD")
    assert await run_and_check(stage) == mine


async def test_what_is_behind_a_symlink_is_none_of_ours(cloned: tuple[Stage, str, str], tmp_path: Path) -> None:
    """A directory that somebody replaced by a symlink is not followed, whatever the killed update had below it."""
    stage, _, _ = cloned
    await _kill_at(stage, tmp_path, "checkout")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine\n")
    (stage.work / "new").symlink_to(outside)
    await run_program(stage.command())
    assert (outside / "file").read_text() == "mine\n"
    assert (stage.work / "new").is_symlink()


async def test_a_directory_in_a_files_place_is_kept_aside(cloned: tuple[Stage, str, str], tmp_path: Path) -> None:
    """Whatever somebody put where the killed update had a file is found again."""
    stage, _, after = cloned
    await _kill_at(stage, tmp_path, "checkout")
    (stage.work / "README.md").unlink()
    (stage.work / "README.md").mkdir()
    (stage.work / "README.md" / "mine").write_text("mine\n")
    assert (await run_and_check(stage)).strip() == after
    (kept,) = stage.keruta("kept").rglob("mine")
    assert kept.read_text() == "mine\n"


@pytest.mark.parametrize("content", ["", "{", "null", "[1]", '["x", ["y", null, null], [[], []], false]'])
async def test_a_journal_that_makes_no_sense_stops_nothing(cloned: tuple[Stage, str, str], content: str) -> None:
    """A journal that can't be read, or names what is not there, is dropped."""
    stage, _, after = cloned
    (stage.work / ".git" / "kerutaprep-checkout").write_text(content)
    assert (await run_and_check(stage)).strip() == after


async def test_killed_between_index_and_head(quiet: Stage, tmp_path: Path) -> None:
    """Files and index written, HEAD not: the next run finishes, also where a directory became a file."""
    before = quiet.commit_files({"was/directory": "x\n"})
    await run_and_check(quiet)
    after = quiet.commit_files({"was/directory": None, "was": "a file by now\n"})
    await _kill_at(quiet, tmp_path, "checkout", half=True)
    quiet.run_git("update-ref", "refs/heads/main", before)
    assert (await run_and_check(quiet)).strip() == after
    assert (quiet.work / "was").read_text() == "a file by now\n"
    assert quiet.run_git("status", "--porcelain") == ""


async def test_killed_again_while_it_recovers(cloned: tuple[Stage, str, str], tmp_path: Path) -> None:
    """A recovery that is killed is recovered from."""
    stage, before, after = cloned
    await _kill_at(stage, tmp_path, "checkout", half=True)
    _half_checked_out(stage, tmp_path, before)
    for command in ("restore", "checkout"):
        (tmp_path / "flag").unlink()
        await _kill_at(stage, tmp_path, command)
    assert (await run_and_check(stage)).strip() == after
    assert stage.run_git("status", "--porcelain") == ""


async def test_what_a_killed_run_left_running_is_stopped(quiet: Stage) -> None:
    """The script of a run that was killed does not go on beside the next run's."""
    quiet.content.scripts["shop"] = b"#!/bin/sh\necho $$ > pid.new; mv pid.new pid; sleep 600\n"
    async with await anyio.open_process(quiet.command(), stderr=subprocess.DEVNULL) as program:
        while not (quiet.work / "pid").exists():
            await anyio.sleep(0.01)
        program.kill()
        await program.wait()
    orphan = int((quiet.work / "pid").read_text())
    assert alive(orphan)
    quiet.content.scripts["shop"] = b"#!/bin/sh\nrm pid\n"
    await _assert_the_next_run_succeeds(quiet)
    assert not alive(orphan)
