"""One preparation to be done: what every rival is given, and what must be there afterwards."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command import TIMEOUT, BenchmarkError, Ended, run
from benchmarks.content import (
    DOCUMENT,
    DOCUMENT_ID,
    HUGE_BYTES,
    HUGE_ID,
    NO_SCRIPT,
    SCRIPT,
    TASK,
    WIDE,
    WIDE_ID,
    Repository,
    many_documents,
    small,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.servers import Servers

_SAMPLE = 1000
"""Files of a larger repository whose bytes are compared; of the others the size is."""


def clean_environment() -> dict[str, str]:
    """The environment of every process: the machine's own, without proxies and without settings of git or ours."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KERUTA_", "GIT_", "PYTHON", "BENCHMARK_")) and not name.lower().endswith("_proxy")
    }


@dataclass(frozen=True)
class Task:
    """One preparation of one fresh work directory."""

    servers: Servers
    place: Path
    """A directory of its own: the work directory is in it, and what does not belong there beside it."""
    environment: Mapping[str, str]
    repository: Repository = field(default_factory=small)
    remote: str = ""
    """The served repository's name where it is not the repository's own."""
    far: bool = False
    narrow: bool = False
    documents: tuple[str, ...] = (DOCUMENT_ID,)
    has_script: bool = True

    @property
    def work_dir(self) -> Path:
        """The directory to prepare, empty to begin with."""
        return self.place / "work"

    @property
    def phases(self) -> Path:
        """Where a script may write when its phases began and ended."""
        return self.place / "phases"

    @property
    def api_url(self) -> str:
        """The API's."""
        return self.servers.api_url(narrow=self.narrow)

    @property
    def clone_url(self) -> str:
        """The repository's."""
        return self.servers.clone_url(self.remote or self.repository.name, far=self.far)

    @property
    def repository_id(self) -> str:
        """The API's name of it."""
        return TASK if self.has_script else NO_SCRIPT

    @property
    def script_url(self) -> str:
        """The install script's."""
        return f"{self.api_url}/api/v1/repositories/{self.repository_id}/script"

    def document_url(self, document_id: str) -> str:
        """A document's."""
        return f"{self.api_url}/api/v1/documents/{document_id}/content"

    @contextmanager
    def fresh(self) -> Iterator[Task]:
        """The same task with an empty work directory, which is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.place) as place:
            task = replace(self, place=Path(place))
            task.work_dir.mkdir()
            yield task

    def run(self, *command: str, **variables: str) -> Ended:
        """Run a process in the work directory to its end.

        Raises:
            BenchmarkError: it failed, or took too long.
        """
        environment = {**self.environment, **variables}
        return run(command, environment=environment, directory=self.work_dir, output=self.place / "output")

    def verify(self, status: str = "") -> None:
        """Check that the work was done.

        Args:
            status: what ``git status --porcelain`` must print.

        Raises:
            BenchmarkError: it was not.
        """
        for name, text in self._sample():
            self.expect(name, text.encode())
        for name, text in self.repository.files.items():
            self._expect_size(name, len(text))  # they are ASCII
        if self.documents:
            self.expect_document(".keruta/README.md", self.documents[0])
        if self.has_script:
            self.expect(".keruta/install.sh", SCRIPT)
            self.expect(".keruta/installed", b"done\n")
        found = self.git("status", "--porcelain")
        if found != status:
            raise BenchmarkError(f"git status is {found[:500]!r}, not {status!r}")

    def _sample(self) -> list[tuple[str, str]]:
        files = list(self.repository.files.items())
        return random.sample(files, min(_SAMPLE, len(files)))

    def expect_document(self, name: str, document_id: str) -> None:
        """Check that a file holds a document.

        Raises:
            BenchmarkError: it is missing or another.
        """
        if document_id == HUGE_ID:
            self._expect_size(name, HUGE_BYTES)
            return
        known = {DOCUMENT_ID: DOCUMENT, WIDE_ID: WIDE}
        self.expect(name, known[document_id] if document_id in known else many_documents()[document_id])

    def expect(self, name: str, content: bytes) -> None:
        """Check a file of the work directory.

        Raises:
            BenchmarkError: it is missing or another.
        """
        path = self.work_dir / name
        if not path.is_file() or path.read_bytes() != content:
            raise BenchmarkError(f"{name} is {'not what was served' if path.exists() else 'missing'}")

    def _expect_size(self, name: str, size: int) -> None:
        try:
            found = (self.work_dir / name).stat().st_size
        except FileNotFoundError:
            raise BenchmarkError(f"{name} is missing") from None
        if found != size:
            raise BenchmarkError(f"{name} has {found} bytes, not {size}")

    def git(self, *words: str) -> str:
        """What a git command says in the work directory."""
        return subprocess.run(
            ["git", *words],
            capture_output=True,
            check=True,
            text=True,
            timeout=TIMEOUT,
            env=dict(self.environment),
            cwd=self.work_dir,
        ).stdout
