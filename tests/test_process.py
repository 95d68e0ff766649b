"""Commands: their output, their end, and everything they started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from kerutaprep import process
from kerutaprep.process import run_process
from tests.fakes import alive

pytestmark = pytest.mark.anyio

_DAEMON = """\
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
os.wait()
"""


def _ignore(_data: bytes) -> None:
    return


async def _wait_for(path: Path) -> str:
    """What a file holds, once it holds something; bounded by the test's time-out."""
    while not path.exists() or not path.read_text():
        await anyio.sleep(0.01)
    return path.read_text().strip()


async def test_output_arrives_as_it_is_written(tmp_path: Path) -> None:
    """A line is passed on while the command still runs."""
    go = tmp_path / "go"
    os.mkfifo(go)
    seen = bytearray()
    first = anyio.Event()

    def take(data: bytes) -> None:
        seen.extend(data)
        first.set()

    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            command = ["/bin/sh", "-c", f"echo one; read x < {go}; echo two"]
            assert await run_process(command, environment=dict(os.environ), on_stdout=take) == 0

        tasks.start_soon(run)
        await first.wait()
        assert bytes(seen) == b"one\n"
        await anyio.to_thread.run_sync(go.write_text, "go\n")
    assert bytes(seen) == b"one\ntwo\n"


async def test_both_streams_are_kept_apart_or_joined() -> None:
    """With a sink for stderr the streams are apart, without they are one, in order."""
    script = ["/bin/sh", "-c", "echo out; echo err >&2; echo out"]
    out, err, joined = bytearray(), bytearray(), bytearray()
    environment = dict(os.environ)
    await run_process(script, environment=environment, on_stdout=out.extend, on_stderr=err.extend)
    await run_process(script, environment=environment, on_stdout=joined.extend)
    assert (bytes(out), bytes(err), bytes(joined)) == (b"out\nout\n", b"err\n", b"out\nerr\nout\n")


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -9 $$", -9)])
async def test_the_exit_status_is_given(script: str, status: int) -> None:
    """A status is given as it is, a signal as its negative number."""
    assert (await run_process(["/bin/sh", "-c", script], environment=dict(os.environ), on_stdout=_ignore)) == status


async def test_a_missing_program_is_an_os_error() -> None:
    """What can't be started raises at once."""
    with pytest.raises(FileNotFoundError):
        await run_process(["no-such-program"], environment=dict(os.environ), on_stdout=_ignore)


async def test_cancellation_tells_a_command_to_stop(tmp_path: Path) -> None:
    """A cancelled command gets SIGTERM and the time to clean up, and so does its child."""
    started, ended = tmp_path / "started", tmp_path / "ended"
    script = (
        f"trap 'echo parent >> {ended}; exit' TERM; (trap 'echo child >> {ended}; exit' TERM; echo $$ > {started}; "
        "while :; do sleep 0.01; done) & wait"
    )
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await run_process(["/bin/sh", "-c", script], environment=dict(os.environ), on_stdout=_ignore)

        tasks.start_soon(run)
        await _wait_for(started)
        tasks.cancel_scope.cancel()
    assert sorted(ended.read_text().split()) == ["child", "parent"]


async def test_a_command_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace period, SIGKILL."""
    monkeypatch.setattr(process, "GRACE_PERIOD", 0.2)
    started = tmp_path / "started"
    script = f"trap '' TERM; echo $$ > {started}; while :; do sleep 0.01; done"
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await run_process(["/bin/sh", "-c", script], environment=dict(os.environ), on_stdout=_ignore)

        tasks.start_soon(run)
        pid = int(await _wait_for(started))
        tasks.cancel_scope.cancel()
    assert not alive(pid)


async def test_a_daemon_is_stopped_with_its_command(tmp_path: Path) -> None:
    """A descendant with a session of its own and no living parent is found and stopped on cancellation."""
    note = tmp_path / "pid"
    command = [sys.executable, "-c", f"{_DAEMON}\ntime.sleep(600)", str(note)]
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await run_process(command, environment=dict(os.environ), on_stdout=_ignore)

        tasks.start_soon(run)
        pid = int(await _wait_for(note))
        tasks.cancel_scope.cancel()
    assert not alive(pid)


async def test_leftovers_are_stopped_and_not_waited_for(tmp_path: Path) -> None:
    """A background process that holds the output open neither delays the end nor survives it."""
    note = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {note}; {sys.executable} -c '{_DAEMON}' {note}2; echo done"
    seen = bytearray()
    status = await run_process(
        ["/bin/sh", "-c", script], environment=dict(os.environ), on_stdout=seen.extend, stop_leftovers=True
    )
    assert (status, bytes(seen)) == (0, b"done\n")
    assert not alive(int(note.read_text()))
    daemon = Path(f"{note}2")
    assert not daemon.exists() or not daemon.read_text() or not alive(int(daemon.read_text()))


async def test_another_command_is_left_alone(tmp_path: Path) -> None:
    """Stopping one command does not touch another of the same process."""
    started = tmp_path / "started"
    go = tmp_path / "go"
    os.mkfifo(go)
    statuses: list[int] = []

    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            script = f"echo $$ > {started}; read x < {go}"
            statuses.append(
                await run_process(["/bin/sh", "-c", script], environment=dict(os.environ), on_stdout=_ignore)
            )

        tasks.start_soon(run)
        await _wait_for(started)
        with anyio.move_on_after(0.1):
            await run_process(["sleep", "600"], environment=dict(os.environ), on_stdout=_ignore)
        await anyio.to_thread.run_sync(go.write_text, "go\n")
    assert statuses == [0]
