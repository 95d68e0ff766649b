"""Starts a command before the program is loaded, and ends it where the program never gets that far.

Such a child is as one that ``process`` starts: a session of its own, the marks in its environment, its output in pipes.
"""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import FileIO

MARKER = "KERUTAPREP_PROCESS"
"""A variable in the environment of a command, by whose value every descendant is known."""
OWNER = "KERUTAPREP_OWNER"
"""Another, by which a later process finds what a killed one left."""
GRACE_PERIOD = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_POLL = 0.01


def marks(owner: str) -> dict[str, str]:
    """The variables that mark one command and its descendants."""
    return {MARKER: os.urandom(16).hex(), OWNER: owner}


class Spawned:
    """A command that runs; of ``subprocess.Popen`` it has what ``process`` uses.

    Args:
        command: program and arguments; the program is looked up on this process's PATH.
        environment: the whole of it, with ``marks``.
        umask: the file mode creation mask, -1 for this process's own.

    Raises:
        OSError: the command can't be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], umask: int = -1) -> None:
        self.marker = environment[MARKER]
        self.returncode: int | None = None
        stdout, stdout_end = os.pipe()
        stderr, stderr_end = os.pipe()
        self.stdout, self.stderr = _reader(stdout), _reader(stderr)
        before = os.umask(umask) if umask != -1 else None
        try:
            # Not subprocess: to import it takes longer than to start git.
            self.pid = os.posix_spawnp(
                command[0],
                tuple(command),
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, stdout_end, 1),
                    (os.POSIX_SPAWN_DUP2, stderr_end, 2),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
            )
        except OSError:
            self.stdout.close()
            self.stderr.close()
            raise
        finally:
            if before is not None:
                os.umask(before)
            os.close(stdout_end)
            os.close(stderr_end)

    def poll(self) -> int | None:
        """The exit status where it has ended, negative for the number of a signal; else None."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        """Wait for its end and give the exit status."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def stop(self) -> None:
        """End it and its descendants: SIGTERM, SIGKILL after the grace period; blocks until they are gone."""
        deadline = time.monotonic() + GRACE_PERIOD
        told: set[int] = set()
        while living := self._family():
            late = time.monotonic() >= deadline
            for pid in living if late else living - told:
                _signal(pid, signal.SIGKILL if late else signal.SIGTERM)
            told |= living
            if time.monotonic() >= deadline + GRACE_PERIOD:
                break  # not even SIGKILL ends a process that waits for a dead disk
            time.sleep(_POLL)
        self.poll()
        self.stdout.close()
        self.stderr.close()

    def _family(self) -> set[int]:
        """Those alive, found by the mark in their environment, in whatever session they are."""
        mark = f"{MARKER}={self.marker}".encode()
        marked = {int(name) for name in os.listdir("/proc") if name.isdigit() and mark in environment_of(int(name))}
        return marked | ({self.pid} if self.poll() is None else set())


def environment_of(pid: int) -> list[bytes]:
    """The environment with which a process was started (proc(5)); nothing for one that has ended."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)  # a stopped process would not get to see it
    except (ProcessLookupError, PermissionError):
        return  # gone meanwhile


def _reader(descriptor: int) -> FileIO:
    return open(descriptor, "rb", buffering=0)
