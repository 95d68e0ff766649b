"""Who prepares the work directory: the rivals, ours the first of them."""

from __future__ import annotations

import http.client
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.phases import overlap, report_of
from benchmarks.scenarios import DOCUMENT, DOCUMENT_ID, REPOSITORY
from benchmarks.task import TIMEOUT, BenchmarkError, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

Action = Callable[[Task], None]


@dataclass(frozen=True)
class Rival:
    """One way to prepare a work directory."""

    name: str
    title: str
    stages: tuple[tuple[Action, ...], ...]
    """What is timed: stages follow each other, and of a stage's actions, each run alone, the longest counts."""
    needs: tuple[str, ...] = ()
    """The programs without which it can't run."""
    status: str = ""
    """What ``git status --porcelain`` prints afterwards."""
    check: Action = lambda _task: None
    """What else must hold afterwards."""

    def missing(self) -> list[str]:
        """The programs that this machine has not."""
        return [program for program in self.needs if shutil.which(program) is None]

    def measure(self, task: Task) -> float:
        """Do the task, verify what was done, and give the seconds that it took.

        Raises:
            BenchmarkError: it failed, or the work is not done.
        """
        task.work_dir.mkdir()
        try:
            seconds = sum(_longest(stage, task) for stage in self.stages)
            task.verify(self.status)
            self.check(task)
        except BenchmarkError as error:
            raise BenchmarkError(f"{self.name}: {error}") from error
        return seconds


def _longest(stage: Iterable[Action], task: Task) -> float:
    return max(_timed(action, task) for action in stage)


def _timed(action: Action, task: Task) -> float:
    start = time.perf_counter()
    action(task)
    return time.perf_counter() - start


def _run_ours(task: Task) -> None:
    task.run(
        *(sys.executable, "-m", "kerutaprep", "init"),
        *("--repository-id", REPOSITORY, "--document-id", DOCUMENT_ID),
        *("--repository-url", task.servers.clone_url, "--api-url", task.servers.api_url),
        *("--work-dir", str(task.work_dir)),
    )


def _check_ours(task: Task) -> None:
    task.expect(f".keruta/documents/{DOCUMENT_ID}", DOCUMENT)
    common, least = overlap(report_of(task)), min(task.scenario.api_delay, task.scenario.clone_delay) / 2
    if common < least:
        raise BenchmarkError(f"clone, documents and script overlap by {common:.2f} s, not by {least:g} s or more")


def _run_sequential(task: Task) -> None:
    servers = task.servers
    script = str(Path(__file__).parent / "sequential.sh")
    task.run("sh", script, servers.clone_url, servers.script_url, servers.document_url, str(task.work_dir))


def _clone(task: Task) -> None:
    task.run("git", "clone", "--depth", "1", "--single-branch", task.servers.clone_url, str(task.work_dir))


def _download(url: str, path: Path) -> None:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=TIMEOUT)
    try:
        connection.request("GET", address.path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise BenchmarkError(f"{url} was answered {answer.status}")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(body)


def _download_script(task: Task) -> None:
    path = task.work_dir / ".keruta" / "install.sh"
    _download(task.servers.script_url, path)
    path.chmod(0o755)


def _download_document(task: Task) -> None:
    _download(task.servers.document_url, task.work_dir / ".keruta" / "README.md")


def _install(task: Task) -> None:
    task.run(str(task.work_dir / ".keruta" / "install.sh"))


OURS = Rival("ours", "keruta-agent init", ((_run_ours,),), check=_check_ours)
SEQUENTIAL = Rival("sequential", "one after the other (shell)", ((_run_sequential,),), needs=("curl",))
BOUND = Rival(
    "bound",
    "bound: the longest alone + install",
    ((_clone, _download_script, _download_document), (_install,)),
    status="?? .keruta/\n",
)
RIVALS = (OURS, SEQUENTIAL, BOUND)
