"""Runs commands: the package's only spawner.

A command gets a session of its own and a variable in its environment by which every descendant is known, also one that
made a session of its own or lost its parent. However a call ends, none of them is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from kerutaprep.spawn import GRACE_PERIOD, MARKER, OWNER, Spawned, environment_of, marks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Child = subprocess.Popen[bytes] | Spawned

_CHUNK = 64 * 1024
_POLL = 0.02
_DRAIN = 1.0


class IdleError(Exception):
    """A command gave no sign of life for too long; it is stopped by then."""


awaited: set[int] = set()
"""The process ids whose exit status somebody in this process waits for; who reaps orphans leaves these alone."""


async def run_process(  # noqa: PLR0913 - one runner for every command; each argument is one of a command's own properties
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    owner: str = "",
    on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None] | None = None,
    cwd: Path | None = None,
    umask: int = -1,
    stop_leftovers: bool = False,
    idle_timeout: float | None = None,
    on_start: Callable[[], None] | None = None,
    child: Child | None = None,
) -> int:
    """Run a command to its end and pass on what it writes as it is written.

    On cancellation the command and all its descendants get SIGTERM, and SIGKILL after the grace period; when this
    returns or raises, none is left.

    Args:
        command: program and arguments; the program is looked up on the environment's PATH.
        environment: the whole of it.
        owner: a name under which a later process finds what this one left, should it be killed.
        on_stdout: called with the bytes of each read.
        on_stderr: likewise; None joins it with stdout, in the order written.
        cwd: the working directory, None for the caller's.
        umask: the file mode creation mask, -1 for the caller's.
        stop_leftovers: stop what the command left running, and don't wait for its output.
        idle_timeout: seconds without a sign of life (nothing written, nothing read, no processor time used by it or a
            descendant) after which it is stopped.
        on_start: called once it is started.
        child: the command itself, where it was started before.

    Returns:
        the exit status; negative for the number of the signal that ended it.

    Raises:
        OSError: the command can't be started.
        IdleError: it gave no sign of life for too long.
    """
    if child is None:
        environment = {**environment, **marks(owner)}
        child = subprocess.Popen(  # noqa: ASYNC220 - starting is quick; what follows is awaited on file descriptors
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if on_stderr is None else subprocess.PIPE,
            cwd=cwd,
            env=environment,
            umask=umask,
            start_new_session=True,
        )
    marker = child.marker if isinstance(child, Spawned) else environment[MARKER]
    awaited.add(child.pid)
    members = partial(_family, child.pid, f"{MARKER}={marker}")
    try:
        async with anyio.create_task_group() as pumps:
            pumps.start_soon(_pump, child.stdout, on_stdout)
            if on_stderr is not None:
                pumps.start_soon(_pump, child.stderr, on_stderr)
            if on_start is not None:
                on_start()
            idle = await _idles(child, members, idle_timeout)
            if idle or stop_leftovers:
                await stop(members, child)
            pumps.cancel_scope.deadline = anyio.current_time() + _DRAIN
    except BaseException:
        with anyio.CancelScope(shield=True):
            await stop(members, child)
        raise
    finally:
        awaited.discard(child.pid)
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    if idle:
        raise IdleError(f"no sign of life for {idle_timeout:g} s")
    return child.wait()


async def _idles(child: Child, members: Callable[[], set[int]], idle_timeout: float | None) -> bool:
    """Wait for a child's end; True where it was not waited for any longer, since it gave no sign of life."""
    async with anyio.create_task_group() as watch:
        if idle_timeout is not None:
            watch.start_soon(_watch, members, idle_timeout, watch.cancel_scope)
        await _exited(child)
        watch.cancel_scope.cancel()
        return False
    return True


async def _watch(members: Callable[[], set[int]], idle_timeout: float, patience: anyio.CancelScope) -> None:
    """Cancel a scope once nothing has changed about a family of processes for too long."""
    before, since = -1, anyio.current_time()
    while anyio.current_time() - since < idle_timeout:
        await anyio.sleep(min(idle_timeout / 4, 1.0))
        if (now := sum(map(_activity, members()))) != before:
            before, since = now, anyio.current_time()
    patience.cancel()


def _activity(pid: int) -> int:
    """A number that grows while a process works: its processor time and the bytes that it read and wrote (proc(5))."""
    place = Path("/proc", str(pid))
    try:
        times = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()[11:13]
        transfers = [line.split()[1] for line in (place / "io").read_text().splitlines()[:2]]
    except OSError:
        return 0
    return sum(map(int, times + transfers))


async def _pump(pipe: object, sink: Callable[[bytes], None]) -> None:
    descriptor = pipe.fileno()  # type: ignore[attr-defined]  # Popen types its pipes as optional; these were asked for
    os.set_blocking(descriptor, False)
    while True:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            await anyio.wait_readable(descriptor)
            continue
        if not data:
            return
        sink(data)
        await anyio.lowlevel.checkpoint()


async def _exited(child: Child) -> None:
    try:
        descriptor = os.pidfd_open(child.pid)
    except OSError:  # an old kernel or a sandbox without pidfd_open(2)
        while child.poll() is None:  # noqa: ASYNC110 - there is nothing else to wait for
            await anyio.sleep(_POLL)
        return
    try:
        await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)
    child.wait()


def _family(root: int, marker: str) -> set[int]:
    """A command's root and everything that descends from it, found by session, group, parents and marker."""
    processes = list(_processes())
    related = {p.pid for p in processes if root in (p.pid, p.session, p.group)}
    marked = {p.pid for p in processes if p.pid not in related and marker.encode() in environment_of(p.pid)}
    return _living(processes, _with_descendants(processes, related | marked))


def _with_descendants(processes: list[_Process], found: set[int]) -> set[int]:
    while children := {p.pid for p in processes if p.parent in found} - found:
        found = found | children
    return found


def _living(processes: list[_Process], pids: set[int]) -> set[int]:
    return pids & {p.pid for p in processes if p.state not in "ZX"}


class _Process:
    __slots__ = ("group", "parent", "pid", "session", "state")

    def __init__(self, pid: int, stat: str) -> None:
        # The command's name stands in parentheses and may hold any character (proc(5)).
        self.state, parent, group, session = stat.rpartition(")")[2].split()[:4]
        self.pid, self.parent, self.group, self.session = pid, int(parent), int(group), int(session)


def _processes() -> Iterator[_Process]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path("/proc", entry.name, "stat").read_text(errors="replace")
            except OSError:
                continue
            yield _Process(int(entry.name), stat)


async def stop(members: Callable[[], set[int]], child: Child | None = None) -> None:
    """Stop processes: SIGTERM to each, SIGKILL after the grace period to whoever is left.

    Args:
        members: finds the living ones; asked again and again, since a process may start another meanwhile.
        child: our own child among them, which is waited for.
    """
    deadline = time.monotonic() + GRACE_PERIOD
    told: set[int] = set()
    while living := members():
        late = time.monotonic() >= deadline
        for pid in living if late else living - told:
            _signal(pid, signal.SIGKILL if late else signal.SIGTERM)
        told |= living
        if child is not None:
            child.poll()
        if time.monotonic() >= deadline + GRACE_PERIOD:
            break  # not even SIGKILL ends a process that waits for a dead disk; nothing more can be done
        await anyio.sleep(_POLL)
    if child is not None and child.poll() is None:
        with anyio.move_on_after(GRACE_PERIOD):
            await _exited(child)


async def stop_abandoned(owner: str, ours: set[int]) -> None:
    """Stop what a killed process started for ``owner`` (as ``run_process`` has it) and left running.

    Args:
        owner: the name.
        ours: processes that were started for it by this process; they and their descendants are left alone.
    """
    marker = f"{OWNER}={owner}".encode()

    def abandoned() -> set[int]:
        processes = list(_processes())
        spared = _with_descendants(processes, set(ours))
        others = (p for p in processes if p.state not in "ZX" and p.pid not in spared)
        return {p.pid for p in others if marker in environment_of(p.pid)}

    await stop(abandoned)


async def stop_descendants() -> None:
    """Stop all descendants of this process; for a program that owns the process, not for a library's call."""
    await stop(descendants)


def descendants() -> set[int]:
    """The living descendants of this process."""
    processes = list(_processes())
    return _living(processes, _with_descendants(processes, {os.getpid()}) - {os.getpid()})


def reap_orphans() -> None:
    """Reap every child of this process that ended and that nobody waits for; for a program that adopts orphans."""
    ours = os.getpid()
    for process in list(_processes()):
        if process.parent == ours and process.state == "Z" and process.pid not in awaited:
            try:
                os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:
                continue


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)  # a stopped process would not get to see it
    except (ProcessLookupError, PermissionError):
        return  # gone meanwhile, or another user's, which is not ours to end
