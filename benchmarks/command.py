"""Runs one process to its end and says what it alone took, not what its children did."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT = 120.0
"""Seconds for each process."""
_GRACE = 10.0
_LOOK = 0.02
"""Seconds between two looks at the process's peak memory, which is gone once it has ended."""
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchmarkError(Exception):
    """There is nothing to compare: a process failed, or did not do the work."""


@dataclass(frozen=True)
class Ended:
    """A process that ended well."""

    began: float
    """Seconds since the epoch."""
    seconds: float
    """From its start to its end."""
    cpu: float
    """Seconds of processor time, user and system, without its children's."""
    peak: int
    """Bytes of its own resident memory at most."""


def run(command: Sequence[str], *, environment: Mapping[str, str], directory: Path, output: Path) -> Ended:
    """Run a process to its end.

    Args:
        command: its words.
        environment: all of its variables.
        directory: where it runs.
        output: the file to which what it prints is added.

    Raises:
        BenchmarkError: it failed, or took longer than ``TIMEOUT``.
    """
    with output.open("ab") as printed:
        began, start = time.time(), time.perf_counter()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        ) as process:
            try:
                peak = _watch(process.pid, start + TIMEOUT)
                seconds = time.perf_counter() - start
                cpu = _cpu_seconds(process.pid)  # still there: nobody has waited for it yet
            finally:
                _stop(process)
    if peak is None or process.returncode:
        how = f"took more than {TIMEOUT:g} s" if peak is None else f"failed with exit code {process.returncode}"
        raise BenchmarkError(f"{command[0]} {how}:\n{output.read_text(errors='replace')[-2000:]}")
    return Ended(began, seconds, cpu, peak)


def _watch(pid: int, until: float) -> int | None:
    """Wait for a process's end, without reaping it.

    Returns:
        its peak memory in bytes; None where it has not ended in time.
    """
    descriptor, peak = os.pidfd_open(pid), 0
    try:
        while time.perf_counter() < until:
            ended, _, _ = select.select([descriptor], [], [], _LOOK)
            if ended:
                return peak
            peak = max(peak, _peak_memory(pid))
    finally:
        os.close(descriptor)
    return None


def _peak_memory(pid: int) -> int:
    # Not wait4's ru_maxrss: that of a child begins with its parent's, which is ours.
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def _cpu_seconds(pid: int) -> float:
    """User and system time, of all its threads and without its children, to a clock tick; proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)  # what it left running, too
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
