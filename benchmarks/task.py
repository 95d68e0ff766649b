"""One preparation to be done: what every rival is given, what it runs, and what must be there afterwards."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.scenarios import DOCUMENT, FILES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.fakes import Servers
    from benchmarks.scenarios import Scenario

TIMEOUT = 60.0
"""Seconds for each process and each request."""
_GRACE = 10.0


class BenchmarkError(Exception):
    """There is nothing to compare: a rival failed, or did not do the work."""


def clean_environment() -> dict[str, str]:
    """The environment of every process: the machine's own, without proxies and without settings of git or ours."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KERUTA_", "GIT_")) and not name.lower().endswith("_proxy")
    }


@dataclass(frozen=True)
class Task:
    """One preparation of one fresh work directory."""

    scenario: Scenario
    servers: Servers
    place: Path
    """A new directory: the work directory is in it, and what does not belong there beside it."""
    environment: Mapping[str, str]

    @property
    def work_dir(self) -> Path:
        """The directory to prepare, empty to begin with."""
        return self.place / "work"

    @property
    def output(self) -> Path:
        """What the processes print."""
        return self.place / "output"

    @property
    def phases(self) -> Path:
        """Where a script may write when its phases ended."""
        return self.place / "phases"

    def run(self, *command: str) -> None:
        """Run a process in the work directory to its end.

        Raises:
            BenchmarkError: it failed, or took too long.
        """
        with (
            self.output.open("ab") as output,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                cwd=self.work_dir,
                start_new_session=True,
            ) as process,
        ):
            try:
                ended = _wait(process)
            finally:
                _stop(process)
        if not ended or process.returncode:
            how = f"failed with exit code {process.returncode}" if ended else f"took more than {TIMEOUT:g} s"
            raise BenchmarkError(f"{command[0]} {how}:\n{self.output.read_text(errors='replace')[-2000:]}")

    def verify(self, status: str) -> None:
        """Check that the work was done.

        Args:
            status: what ``git status --porcelain`` must print.

        Raises:
            BenchmarkError: it was not.
        """
        expected = {name: text.encode() for name, text in FILES.items()}
        expected[".keruta/README.md"] = DOCUMENT
        expected[".keruta/install.sh"] = self.scenario.script
        expected[".keruta/installed"] = b"done\n"
        for name, content in expected.items():
            self.expect(name, content)
        found = self._git_status()
        if found != status:
            raise BenchmarkError(f"git status is {found!r}, not {status!r}")

    def expect(self, name: str, content: bytes) -> None:
        """Check a file of the work directory.

        Raises:
            BenchmarkError: it is missing or another.
        """
        path = self.work_dir / name
        if not path.is_file() or path.read_bytes() != content:
            raise BenchmarkError(f"{name} is {'not what was served' if path.exists() else 'missing'}")

    def _git_status(self) -> str:
        return subprocess.run(
            ["git", "status", "--porcelain"],
            capture_output=True,
            check=True,
            text=True,
            timeout=TIMEOUT,
            env=dict(self.environment),
            cwd=self.work_dir,
        ).stdout


def _wait(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a process; ``Popen.wait`` with a time limit only looks every 50 ms, too coarse for a measurement."""
    descriptor = os.pidfd_open(process.pid)
    try:
        ended, _, _ = select.select([descriptor], [], [], TIMEOUT)
    finally:
        os.close(descriptor)
    if ended:
        process.wait()
    return bool(ended)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
