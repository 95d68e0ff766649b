"""podman with storage and settings of its own: the machine's other images and containers are not seen, nor touched."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.abc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IMAGE = "localhost/keruta-agent"

_STORAGE = """\
[storage]
driver = "{1}"
graphroot = "{0}/{1}"
runroot = "{0}/run"
"""
# What works as root without systemd, under either version of cgroups, and reaches servers on loopback.
_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=9000:9000"]
netns = "host"
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "{0}/tmp"
static_dir = "{0}/{1}/libpod"
volume_path = "{0}/{1}/volumes"
"""


class Ended(NamedTuple):
    """A container that ended."""

    code: int
    stdout: str
    stderr: str


class Podman:
    """Runs podman's commands.

    Args:
        directory: where everything of its own lies.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        storage, containers = directory / "storage.conf", directory / "containers.conf"
        driver = "overlay" if _has_overlay(directory) else "vfs"
        storage.write_text(_STORAGE.format(directory, driver))
        containers.write_text(_CONTAINERS.format(directory, driver))
        own = {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(containers)}
        self.directory = directory
        self._environment = {**os.environ, **own}

    def succeeds(self, *words: str) -> bool:
        """Whether a short command exits with 0; what it says is shown."""
        ran = subprocess.run(["podman", *words], env=self._environment, stdout=2, check=False, timeout=60)
        return ran.returncode == 0

    def do(self, *words: str, seconds: float = 60) -> str:
        """Run a command that has to succeed, its stderr ours, and give what it wrote."""
        command = ["podman", *words]
        ran = subprocess.run(
            command, env=self._environment, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds
        )
        return ran.stdout

    async def run(self, *words: str, seconds: float = 60) -> Ended:
        """Run a container while servers answer it, and wait for its end; none outlives this call."""
        with anyio.fail_after(seconds):
            async with self.running(*words) as process:
                return await _ended(process)

    @asynccontextmanager
    async def running(self, *words: str, name: str = "under-test") -> AsyncIterator[anyio.abc.Process]:
        """A container that runs meanwhile."""
        command = ["podman", "run", "--rm", "--name", name, *words]
        try:
            async with await anyio.open_process(command, env=self._environment, stdin=subprocess.DEVNULL) as process:
                yield process
        finally:
            self.do("rm", "--force", "--ignore", "--time", "0", name)

    def remove_leftovers(self) -> None:
        """Remove what a run that was killed may have left."""
        self.do("pod", "rm", "--force", "--all", "--time", "0")
        self.do("rm", "--force", "--all", "--time", "0")
        self.do("volume", "rm", "--force", "--all")
        self.do("secret", "rm", "--all")


def _has_overlay(directory: Path) -> bool:
    """Whether an overlay can be mounted there; vfs, which copies every layer, works anywhere else."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        for name in ("lower", "upper", "work", "merged"):
            Path(place, name).mkdir()
        options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, f"{place}/merged"]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return False
        subprocess.run(["umount", f"{place}/merged"], check=True)
        return True


async def _ended(process: anyio.abc.Process) -> Ended:
    texts = {}

    async def read(name: str, stream: anyio.abc.ByteReceiveStream) -> None:
        texts[name] = b"".join([chunk async for chunk in stream]).decode()

    assert process.stdout is not None
    assert process.stderr is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, "stdout", process.stdout)
        tasks.start_soon(read, "stderr", process.stderr)
    return Ended(await process.wait(), texts["stdout"], texts["stderr"])
