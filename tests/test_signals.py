"""Real signals to the real program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.fakes import Gate, Stage, alive

pytestmark = pytest.mark.anyio

_UNSHARE = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]


def _can_unshare() -> bool:
    return shutil.which("unshare") is not None and subprocess.run([*_UNSHARE, "true"], check=False).returncode == 0


async def _appears(path: Path) -> str:
    while not path.exists() or not path.read_text().endswith("\n"):
        await anyio.sleep(0.01)
    return path.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_stops_script_and_descendants(stage: Stage, number: signal.Signals, code: int) -> None:
    """The script, its child and a daemon with a session of its own are gone; the exit code and report say why."""
    stage.content.scripts["shop"] = (
        b"#!/bin/sh\nsleep 600 &\necho $! > child\nsetsid sh -c 'echo $$ > daemon; exec sleep 600' &\n"
        b"echo $$ > script\nwait\n"
    )
    async with await anyio.open_process(stage.command(), stderr=subprocess.PIPE) as program:
        pids = [int(await _appears(stage.work / name)) for name in ("child", "daemon", "script")]
        program.send_signal(number)
        assert program.stderr is not None
        stderr = b"".join([chunk async for chunk in program.stderr]).decode()
        assert await program.wait() == code
    assert not any(alive(pid) for pid in pids)
    assert stderr.rstrip().rpartition("\n")[2].startswith(f"kerutaprep: stopped by {number.name}")
    report = json.loads(stage.keruta("prep.json").read_text())
    assert (report["outcome"], report["exit_code"]) == ("cancelled", code)


async def test_a_signal_during_the_clone_leaves_nothing_half_done(stage: Stage) -> None:
    """SIGTERM while git waits for the server leaves no clone and no part; the next run succeeds."""
    gate = Gate()
    stage.git.on("git-upload-pack", Gate(opened=gate.opened, arrived=gate.arrived))
    async with await anyio.open_process(stage.command(), stderr=subprocess.DEVNULL) as program:
        await gate.arrived.wait()
        program.send_signal(signal.SIGTERM)
        assert await program.wait() == 143
    gate.opened.set()
    assert not (stage.work / ".git").exists()
    assert not list(stage.keruta("").glob(".kerutaprep-part-*"))
    again = await anyio.run_process(stage.command(), check=False)
    assert again.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_stops_the_demo(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """The demo ends by a signal as a run does, with its code and its last line."""
    command = [sys.executable, "-m", "kerutaprep", "demo", str(tmp_path / "demo")]
    async with await anyio.open_process(command, stderr=subprocess.PIPE) as program:
        assert program.stderr is not None
        said = b""
        while b"preparing" not in said:
            said += await program.stderr.receive()
        program.send_signal(number)
        said += b"".join([chunk async for chunk in program.stderr])
        assert await program.wait() == code
    assert said.decode().rstrip().rpartition("\n")[2].startswith(f"kerutaprep: stopped by {number.name}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_during_the_imports(stage: Stage, number: signal.Signals, code: int) -> None:
    """A signal that comes while modules are still being imported ends the program as any other, with a last line."""
    slow = stage.root / "slow"
    slow.mkdir()
    os.mkfifo(stage.root / "reached")
    (slow / "pydantic_settings.py").write_text(
        f"open({str(stage.root / 'reached')!r}, 'w').close()\nimport time\ntime.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(slow)}
    async with await anyio.open_process(stage.command(), stderr=subprocess.PIPE, env=environment) as program:
        await anyio.to_thread.run_sync((stage.root / "reached").read_text)
        program.send_signal(number)
        assert await program.wait() == code
        assert program.stderr is not None
        assert f"stopped by {number.name}".encode() in await program.stderr.receive()
    assert not stage.work.exists()


async def test_a_signal_while_it_waits_for_the_lock(stage: Stage) -> None:
    """A run that waits for another one can be stopped, and touches nothing."""
    gate = Gate()
    stage.api.on("/script", gate)
    first = stage.command()
    async with await anyio.open_process(first, stderr=subprocess.DEVNULL) as holder:
        await gate.arrived.wait()
        async with await anyio.open_process(stage.command(), stderr=subprocess.PIPE) as waiting:
            assert waiting.stderr is not None
            said = b""
            while b"waiting for another run" not in said:
                said += await waiting.stderr.receive()
            waiting.send_signal(signal.SIGTERM)
            assert await waiting.wait() == 143
        gate.opened.set()
        assert await holder.wait() == 0


@pytest.mark.skipif(not _can_unshare(), reason="needs the right to make a PID namespace")
async def test_as_pid_1_orphans_are_reaped_and_signals_obeyed(stage: Stage) -> None:
    """As PID 1 an orphan that ends is no zombie, and SIGTERM ends the run with 143."""
    stage.content.scripts["shop"] = (
        b"#!/bin/sh\n(sh -c 'exit 0' & sh -c 'exit 0' & exec sleep 0.2) &\nwait\n"
        b"for try in 1 2 3 4 5 6 7 8 9 10; do zombies=$(grep -l '^State:.Z' /proc/[0-9]*/status | wc -l)\n"
        b"[ $zombies = 0 ] && break; sleep 0.1; done\necho $zombies > zombies.new; mv zombies.new zombies\nsleep 600\n"
    )
    async with await anyio.open_process([*_UNSHARE, *stage.command()], stderr=subprocess.DEVNULL) as program:
        assert await _appears(stage.work / "zombies") == "0\n"
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text()
        os.kill(int(children), signal.SIGTERM)
        assert await program.wait() == 143
