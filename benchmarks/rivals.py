"""Who prepares the work directory: ours, three rivals, and the bound that no order of the work can beat."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command import BenchmarkError, Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.task import Task

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Rival:
    """One program that does the whole task."""

    name: str
    title: str
    start: Callable[[Task], Ended]

    def measure(self, task: Task) -> Ended:
        """Do the task, and verify what was done.

        Raises:
            BenchmarkError: it failed, or the work is not done.
        """
        try:
            ended = self.start(task)
            task.verify()
        except BenchmarkError as error:
            raise BenchmarkError(f"{self.name}: {error}") from error
        return ended


def run_ours(task: Task, *options: str, prefix: tuple[str, ...] = (), **variables: str) -> Ended:
    """Run kerutaprep, as a process of the Python that runs the benchmark."""
    return task.run(
        *(*prefix, sys.executable, "-m", "kerutaprep", "init"),
        *("--repository-id", task.repository_id, "--repository-url", task.clone_url, "--api-url", task.api_url),
        *("--work-dir", str(task.work_dir), *options),
        KERUTA_DOCUMENT_ID=",".join(task.documents),
        **variables,
    )


def run_shell(task: Task, name: str, prefix: tuple[str, ...] = (), **variables: str) -> Ended:
    """Run one of the shell scripts."""
    (document,) = task.documents
    addresses = (task.clone_url, task.script_url, task.document_url(document))
    return task.run(*prefix, "sh", str(_HERE / name), *addresses, str(task.work_dir), **variables)


def run_naive(task: Task, prefix: tuple[str, ...] = ()) -> Ended:
    """Run the naive program."""
    (document,) = task.documents
    return task.run(
        *(*prefix, sys.executable, str(_HERE / "naive.py")),
        NAIVE_CLONE_URL=task.clone_url,
        NAIVE_SCRIPT_URL=task.script_url,
        NAIVE_DOCUMENT_URL=task.document_url(document),
        NAIVE_WORK_DIR=str(task.work_dir),
    )


def run_clone(task: Task) -> Ended:
    """The clone alone."""
    return task.run("git", "clone", "--depth", "1", "--single-branch", task.clone_url, str(task.work_dir))


def run_curl(task: Task, url: str, name: str) -> Ended:
    """One download alone, into a file beside the work directory."""
    return task.run("curl", "-sfL", "-o", str(task.place / name), url)


@dataclass(frozen=True)
class Bound:
    """The parts of a task, each measured alone."""

    clone: float
    script: float
    document: float
    install: float

    @property
    def seconds(self) -> float:
        """The longest of what does not wait for each other, and the installation."""
        return max(self.clone, self.script, self.document) + self.install


def measure_bound(task: Task) -> Bound:
    """Do each part of a task alone, one after the other."""
    clone = run_clone(task)
    script = run_curl(task, task.script_url, "install.sh")
    document = run_curl(task, task.document_url(task.documents[0]), "README.md")
    folder = task.work_dir / ".keruta"
    folder.mkdir()
    for name in ("install.sh", "README.md"):
        (task.place / name).rename(folder / name)
    (folder / "install.sh").chmod(0o755)
    install = task.run(str(folder / "install.sh"))
    task.verify("?? .keruta/\n")
    return Bound(clone.seconds, script.seconds, document.seconds, install.seconds)


OURS = Rival("ours", "keruta-agent init", run_ours)
PARALLEL = Rival("parallel", "parallel.sh", lambda task: run_shell(task, "parallel.sh"))
SEQUENTIAL = Rival("sequential", "sequential.sh", lambda task: run_shell(task, "sequential.sh"))
NAIVE = Rival("naive", "naive.py", run_naive)
RIVALS = (OURS, PARALLEL, SEQUENTIAL, NAIVE)
BOUND = "bound"
