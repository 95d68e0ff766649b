"""Runs on a volume that is too small: each ends with 74, and the next one, given room, succeeds."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread

from tests.torture.kills import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.torture.scene import Scene

_ENOUGH = "64m"
_PAGE = 4096


class DiskCase(NamedTuple):
    """A volume, by what it has room for."""

    name: str
    least: int
    most: int
    """Its size is drawn between these; of an existing clone's volume, what is free."""
    existing: bool = False


CASES = (
    DiskCase("disk full in downloads and pack", 64 << 10, 1 << 20),
    DiskCase("disk full in checkout", 1 << 20, 8 << 20),
    DiskCase("disk full in an update", 8 << 10, 2 << 20, existing=True),
)


def can_mount(directory: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    if os.geteuid() != 0:
        return False
    directory.mkdir()
    result = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], capture_output=True, check=False)
    if result.returncode == 0:
        subprocess.run(["umount", str(directory)], check=True)
    return result.returncode == 0


@contextmanager
def _volume(directory: Path) -> Iterator[None]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ENOUGH}", "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _resize(directory: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(directory)], check=True)


def _size(case: DiskCase, scene: Scene) -> int:
    """A size of either order of magnitude is as likely."""
    low, high = case.least.bit_length(), case.most.bit_length()
    size = min(case.most, max(case.least, int(2 ** scene.rng.uniform(low - 1, high))))
    if case.existing:
        facts = os.statvfs(scene.work)
        size += (facts.f_blocks - facts.f_bfree) * facts.f_frsize
    return -(-size // _PAGE) * _PAGE


async def disk_case(scene: Scene, case: DiskCase) -> Outcome:
    """Run on a small volume, then with room."""
    volume = scene.directory / "volume"
    with _volume(volume):
        scene.work = volume / "work"
        if case.existing:
            await anyio.to_thread.run_sync(scene.use_clone)
        _resize(volume, str(size := _size(case, scene)))
        ended = await scene.run()
        problems = [] if ended.code == 74 else [f"with {size} bytes it ended with {ended.code}, and not with 74"]
        problems += await anyio.to_thread.run_sync(scene.problems_of_failure, ended) if ended.code else []
        parts = ", parts left" if scene.left_parts() else ""
        _resize(volume, _ENOUGH)
        problems += [f"with room, then: {problem}" for problem in await scene.recover()]
        if problems:
            problems.append(f"stderr: {ended.stderr[-1500:]}")
        return Outcome(problems, f"exit {ended.code}{parts}")
